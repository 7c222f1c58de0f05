"""The queue and the view, against the server's own rules, without a network."""

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.client.offline.items import ItemState
from stockstream.client.offline.replica import BATCH_SIZE
from stockstream.client.offline.rules import DELETIONS_KEPT
from stockstream.core.syncing import Quota
from stockstream.errors import QueueFullError
from stockstream.model.document import DocumentKey
from stockstream.wire.canonical import parse
from tests.client.offline.server import Device, ServerRules

LIST, NOTE = DocumentKey("watchlist", "main"), DocumentKey("note", "n1")


def seen(device: Device, key: DocumentKey = LIST) -> Any:
    body = device.replica.body(key)
    return None if body is None else parse(body)


async def settled(*devices: Device) -> None:
    """Let everybody send and learn until nobody has anything to say."""
    while any([await device.send() for device in devices]):
        pass
    for device in devices:
        await device.catch_up()


async def test_changes_of_one_document_are_sent_one_after_the_other_on_what_became_of_each() -> (
    None
):
    server = ServerRules()
    one, other = Device(server), Device(server)
    one.edit(LIST, {"a": 1, "b": 1})
    await settled(one, other)
    other.edit(LIST, {"a": 1, "b": 2})
    await settled(other)
    one.edit(LIST, {"a": 2, "b": 1})
    one.edit(LIST, {"a": 3, "b": 1})
    assert len(one.replica.batch(10)) == 1
    await settled(one)

    # The second change did not know of b = 2, and does not undo it.
    assert seen(one) == {"a": 3, "b": 2}
    assert await server.bodies() == {LIST: one.replica.body(LIST)}


async def test_a_change_is_one_of_what_its_user_saw() -> None:
    server = ServerRules(strategy="manual")
    one, other = Device(server), Device(server)
    one.edit(LIST, {"a": 1, "b": 1})
    await settled(one, other)
    saw = other.rules.seen(LIST)
    one.edit(LIST, {"a": 2, "b": 1})
    await settled(one, other)
    other.commit(other.rules.change(LIST, '{"a":1,"b":2}', item_id="x", timestamp=0, seen=saw))
    assert seen(other) == {"a": 2, "b": 2}
    await settled(other)
    assert await server.bodies() == {LIST: '{"a":2,"b":2}'}

    saw = other.rules.seen(LIST)
    one.edit(LIST, {"a": 3, "b": 2})
    await settled(one, other)
    # Of what both touched the server decides, although its newest version was known.
    other.commit(other.rules.change(LIST, '{"a":4,"b":2}', item_id="y", timestamp=0, seen=saw))
    await settled(other)
    assert list(other.replica.conflicts) == ["y"]


async def test_a_change_on_one_that_was_settled_meanwhile_is_made_on_what_became_of_it() -> None:
    server = ServerRules()
    one, other = Device(server), Device(server)
    one.edit(LIST, {"a": 1})
    await settled(one, other)
    other.edit(LIST, {"a": 1, "b": 1})
    await settled(other)
    one.edit(LIST, {"a": 2})
    saw = one.rules.seen(LIST)
    await settled(one)
    one.commit(one.rules.change(LIST, '{"a":2,"c":1}', item_id="x", timestamp=0, seen=saw))
    await settled(one)
    assert await server.bodies() == {LIST: '{"a":2,"b":1,"c":1}'}


async def test_a_chain_that_touches_what_others_changed_leaves_it_to_the_server() -> None:
    server = ServerRules(strategy="manual")
    one, other = Device(server), Device(server)
    one.edit(LIST, {"a": 1})
    await settled(one, other)
    other.edit(LIST, {"a": 1, "b": 9})
    await settled(other)
    one.edit(LIST, {"a": 2})
    one.edit(LIST, {"a": 2, "b": 5})
    await settled(one)

    (conflict,) = one.replica.open_conflicts()
    assert list(conflict.conflicting_fields) == ["b"]
    assert conflict.client_data is not None
    assert conflict.client_data["b"] == 5
    assert conflict.server_data == {"a": 2, "b": 9}
    assert seen(one) == {"a": 2, "b": 9}


async def test_deciding_a_conflict_settles_it() -> None:
    server = ServerRules(strategy="manual")
    one, other = Device(server), Device(server)
    for number, device in enumerate((one, other)):
        device.edit(LIST, {"a": number})
    await settled(one, other)
    (conflict,) = other.replica.open_conflicts()
    body = '{"a":7}'
    other.commit(
        other.rules.change(
            LIST, body, item_id="decision", timestamp=0, resolves=conflict.conflict_id
        )
    )
    assert other.replica.open_conflicts() == []
    await settled(other, one)

    assert (seen(one), seen(other)) == ({"a": 7}, {"a": 7})
    assert other.replica.conflicts == {}


async def test_what_is_refused_is_taken_back_and_those_behind_it_are_made_without_it() -> None:
    server = ServerRules(quota=Quota(size=1_500))
    device = Device(server)
    device.edit(LIST, {"a": 1})
    await settled(device)
    device.edit(LIST, {"a": 2, "text": "x" * 2_000})
    device.edit(LIST, {"a": 2, "b": 1, "text": "x" * 2_000})
    await device.send()

    assert seen(device) == {"a": 1, "b": 1}
    failed = [i for i in device.replica.items.values() if i.state is ItemState.FAILED]
    assert [item.code for item in failed] == ["quota_exceeded"]
    await settled(device)
    assert parse((await server.bodies())[LIST] or "") == {"a": 1, "b": 1}


async def test_a_failed_change_is_sent_again_as_it_was() -> None:
    server = ServerRules(quota=Quota(documents=1))
    device = Device(server)
    device.edit(LIST, {"a": 1})
    await settled(device)
    device.edit(NOTE, {"text": "x"})
    device.edit(NOTE, {"text": "x", "n": 2})
    await settled(device)
    assert seen(device, NOTE) is None
    server.service._rules.quota = Quota()
    device.commit(device.rules.retry())
    await settled(device)

    assert seen(device, NOTE) == {"text": "x", "n": 2}
    assert not device.replica.items
    assert await server.bodies() == {key: device.replica.body(key) for key in (LIST, NOTE)}


async def test_a_change_that_is_taken_out_leaves_those_behind_it() -> None:
    server = ServerRules()
    device = Device(server)
    device.edit(LIST, {"c": 3})
    await settled(device)
    first = device.edit(LIST, {"a": 1, "c": 3})
    device.edit(LIST, {"a": 1, "b": 2, "c": 3})
    device.commit(device.rules.remove(first))
    device.commit(device.rules.remove("nobody"))
    await settled(device)

    assert seen(device) == {"b": 2, "c": 3}


async def test_news_that_are_older_than_what_is_known_are_passed_over() -> None:
    server = ServerRules()
    one, other = Device(server), Device(server)
    for number in range(3):
        one.edit(LIST, {"a": number})
    await settled(one)
    for news in (server.news[2], server.news[0], server.news[1], server.news[2]):
        other.commit(other.rules.learn([news]))

    assert seen(other) == {"a": 2}


async def test_the_queue_is_bounded() -> None:
    device = Device(ServerRules())
    for number in range(1_000):
        device.edit(DocumentKey("note", f"n{number}"), {"n": number})
    with pytest.raises(QueueFullError, match="1,000 changes"):
        device.edit(NOTE, {})


async def test_so_are_its_characters_and_those_of_a_batch() -> None:
    device = Device(ServerRules())
    big = {"text": "x" * 60_000}
    for number in range(16):
        device.edit(DocumentKey("note", f"n{number}"), big)
    with pytest.raises(QueueFullError, match="characters"):
        device.edit(NOTE, big)

    batch = device.replica.batch(100)
    assert sum(len(item.body or "") for item in batch) <= BATCH_SIZE
    assert [item.order for item in batch] == list(range(1, len(batch) + 1))


async def test_old_deletions_are_forgotten_but_where_something_waits() -> None:
    server = ServerRules()
    device = Device(server)
    for key in (LIST, NOTE):
        device.edit(key, {"a": 1})
        device.edit(key, None)
    await settled(device)
    device.edit(NOTE, {"a": 2})
    deleted = device.replica.held[LIST].version.timestamp
    device.commit(device.rules.forget(deleted + DELETIONS_KEPT))
    assert set(device.replica.held) == {LIST, NOTE}
    device.commit(device.rules.forget(deleted + DELETIONS_KEPT + 60_000))

    assert set(device.replica.held) == {NOTE}
    device.edit(LIST, {"a": 3})
    await settled(device)
    assert (seen(device), seen(device, NOTE)) == ({"a": 3}, {"a": 2})


async def test_what_is_gone_after_beginning_anew_is_gone() -> None:
    server = ServerRules()
    device = Device(server)
    device.edit(LIST, {"a": 1})
    await settled(device)
    device.commit(device.rules.relearn([], cursor="c"))

    assert device.replica.document(LIST) is None


@given(seed=st.integers(0, 2**32), strategy=st.sampled_from([None, "client_wins", "server_wins"]))
def test_whatever_happens_devices_and_server_end_with_the_same(
    seed: int, strategy: str | None
) -> None:
    """Each device changes a field of its own, and sometimes one that all of them change."""
    asyncio.run(_devices(Random(seed), strategy))


async def _devices(random: Random, strategy: str | None) -> None:
    server = ServerRules()
    devices = [Device(server) for _ in range(3)]
    own: dict[tuple[int, DocumentKey], int] = {}
    for step in range(random.randint(5, 40)):
        number = random.randrange(3)
        if random.random() < 0.4:
            key = random.choice((LIST, NOTE))
            data = dict(seen(devices[number], key) or {}) | {f"own{number}": step}
            if random.random() < 0.3:
                data["shared"] = step
            devices[number].edit(key, data, strategy)
            own[number, key] = step
        else:
            await _something_else(devices[number], random)
    await settled(*devices)

    bodies = await server.bodies()
    for device in devices:
        assert not device.replica.items
        held = list(device.replica.keys())
        assert {key: device.replica.body(key) for key in held} == bodies
        for item_id, key in device.confirmed.items():
            assert item_id in await server.made_by(key)
    for (number, key), step in own.items():
        # A field that one device alone touched is always kept.
        assert parse(bodies[key] or "{}")[f"own{number}"] == step


async def _something_else(device: Device, random: Random) -> None:
    match random.randrange(6):
        case 0 | 1 | 2:
            await device.send(lost=random.random() < 0.3, twice=random.random() < 0.3)
        case 3:
            await device.catch_up()
        case 4 if device.server.news:
            device.commit(device.rules.learn([random.choice(device.server.news)]))
        case 5:
            device.restart()
