"""Events of a test, without a bus that would make them."""

from stockstream.model.event import Event, Priority


def event(number: int, priority: Priority = Priority.MEDIUM, *, kind: str = "kind") -> Event[int]:
    return Event(
        id=f"{kind}-{number}",
        type=kind,
        timestamp=1_000 + number,
        source="test",
        data=number,
        priority=priority,
    )
