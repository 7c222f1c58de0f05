"""A change that was made on one content, on another one."""

from dataclasses import dataclass
from typing import Any

from stockstream.core.merging import ABSENT, merge
from stockstream.wire.canonical import canonical, parse


@dataclass(frozen=True, slots=True)
class Rebased:
    """What a document becomes; canonical JSON of an object, None where there is no document."""

    #: What both sides changed is as the change has it.
    ours: str | None
    #: What both sides changed is as it was there.
    theirs: str | None

    @property
    def clashes(self) -> bool:
        """Whether both sides changed anything, and not to the same."""
        return self.ours != self.theirs


def rebase(before: str | None, after: str | None, now: str | None) -> Rebased:
    """Return what ``now`` becomes when it is changed as ``before`` was changed to ``after``.

    All are canonical JSON of an object, None where there is no document.
    """
    if before == now:
        return Rebased(after, after)
    if before == after:
        return Rebased(now, now)
    sides = _value(before), _value(after), _value(now)
    return Rebased(
        _body(merge(*sides, lambda clash: clash.client)),
        _body(merge(*sides, lambda clash: clash.server)),
    )


def _body(value: Any) -> str | None:
    return None if value is ABSENT else canonical(value)


def _value(body: str | None) -> Any:
    return ABSENT if body is None else parse(body)
