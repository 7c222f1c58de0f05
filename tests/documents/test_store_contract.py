"""What every store of documents keeps to; see :class:`stockstream.document_ports.DocumentStore`."""

import asyncio

import pytest
from msgspec import UNSET
from sqlalchemy import text

from stockstream.document_ports import DocumentStore
from stockstream.errors import StoreUnavailableError
from stockstream.model.document import (
    DocumentPosition,
    SyncStatus,
)
from stockstream.storage.documents.database import Database
from stockstream.storage.documents.migrate import SCHEMA
from stockstream.storage.documents.store import SqlDocumentStore
from stockstream.wire.canonical import checksum
from stockstream.wire.sync_replies import history_reply
from tests.documents.changes import NOW, USER, Changes, rules
from tests.documents.storing import NOTE, apply, data, everything


async def test_a_new_document_has_version_1_and_the_checksum_of_its_data(
    store: DocumentStore, changes: Changes
) -> None:
    outcome = await apply(store, changes({"b": 1, "a": "x"}, base=0))
    assert outcome.status is SyncStatus.APPLIED
    assert outcome.document is not None
    version = outcome.document.version
    assert (version.version, version.author, version.timestamp) == (1, USER, NOW)
    assert version.checksum == checksum('{"a":"x","b":1}')
    assert list(await everything(store)) == [outcome.document]


async def test_a_change_that_is_sent_again_is_not_applied_again(
    store: DocumentStore, changes: Changes
) -> None:
    first = changes({"a": 1}, base=0)
    await apply(store, first, changes({"a": 2}, base=1))
    again = await apply(store, first)
    assert again.status is SyncStatus.DUPLICATE
    assert data(again.document) == {"a": 2}
    assert not again.changed
    history = await store.history(USER, NOTE, 10)
    assert history is not None
    assert [data(each) for each in history.versions] == [{"a": 2}, {"a": 1}]


async def test_the_same_change_twice_in_a_batch_counts_once(
    store: DocumentStore, changes: Changes
) -> None:
    change = changes({"a": 1}, base=0)
    outcomes = await store.apply(USER, [change, change], rules())
    assert [each.status for each in outcomes] == [SyncStatus.APPLIED, SyncStatus.DUPLICATE]


async def test_an_id_does_not_stand_for_other_data_or_another_document(
    store: DocumentStore, changes: Changes
) -> None:
    await apply(store, changes({"a": 1}, item_id="i"))
    for other in (changes({"a": 2}, item_id="i"), changes({"a": 1}, item_id="i", document="e")):
        outcome = await apply(store, other)
        assert outcome.refusal is not None
        assert outcome.refusal.message.startswith("id: ")
    assert [data(each) for each in await everything(store)] == [{"a": 1}]


async def test_a_version_from_the_future_is_refused_and_named(
    store: DocumentStore, changes: Changes
) -> None:
    await apply(store, changes({"a": 1}))
    outcome = await apply(store, changes({"a": 2}, base=2))
    assert outcome.status is SyncStatus.REFUSED
    assert outcome.refusal is not None
    assert outcome.refusal.code == "invalid_payload"
    assert outcome.refusal.message == "baseVersion: is 2, but version 1 is the newest"
    assert [each.version.version for each in await everything(store)] == [1]


async def test_changes_of_different_fields_are_merged_where_the_base_is_kept(
    store: DocumentStore, changes: Changes
) -> None:
    await apply(store, changes({"a": 1, "b": 1}), changes({"a": 2, "b": 1}, base=1))
    outcome = await apply(store, changes({"a": 1, "b": 2}, base=1))
    assert outcome.status is SyncStatus.MERGED
    assert data(outcome.document) == {"a": 2, "b": 2}
    assert outcome.unmerged == ()


async def test_each_change_of_a_batch_knows_what_the_one_before_it_did(
    store: DocumentStore, changes: Changes
) -> None:
    batch = [changes({"n": n}, base=n) for n in range(4)]
    late = changes({"n": 0, "late": True}, base=1)
    outcomes = await store.apply(USER, [*batch, late], rules())
    assert [each.status for each in outcomes[:4]] == [SyncStatus.APPLIED] * 4
    assert data(outcomes[4].document) == {"n": 3, "late": True}
    assert [each.version.version for each in await everything(store)] == [5]


async def test_a_deleted_document_is_a_tombstone_that_can_be_changed_back(
    store: DocumentStore, changes: Changes
) -> None:
    await apply(store, changes({"a": 1}), changes(None, base=1))
    [tombstone] = await everything(store)
    assert (tombstone.body, tombstone.version.version) == (None, 2)
    assert tombstone.version.checksum == checksum("null")
    outcome = await apply(store, changes({"a": 3}, base=2))
    assert data(outcome.document) == {"a": 3}


async def test_both_sides_of_a_manual_conflict_wait_until_the_user_decides(
    store: DocumentStore, changes: Changes
) -> None:
    await apply(store, changes({"a": 1}), changes({"a": 2}, base=1))
    mine = changes({"a": 3}, base=1, strategy="manual")
    outcome = await apply(store, mine)
    assert outcome.status is SyncStatus.CONFLICT
    assert not outcome.changed
    [conflict] = await store.conflicts(USER, 10)
    assert outcome.conflict == conflict
    assert (conflict.id, conflict.fields) == (mine.item_id, ("a",))
    assert (conflict.client, conflict.server) == ('{"a":3}', '{"a":2}')
    assert (conflict.server_version.version, conflict.base_version) == (2, 1)
    assert (await apply(store, mine)).conflict == conflict

    decided = await apply(store, changes({"a": 5}, resolves=mine.item_id))
    assert (decided.status, data(decided.document)) == (SyncStatus.APPLIED, {"a": 5})
    assert await store.conflicts(USER, 10) == []
    assert (await apply(store, mine)).status is SyncStatus.DUPLICATE


async def test_a_decision_that_another_device_made_differently_is_a_conflict_again(
    store: DocumentStore, changes: Changes
) -> None:
    await apply(store, changes({"a": 1}), changes({"a": 2}, base=1))
    mine = changes({"a": 3}, base=1, strategy="manual")
    await apply(store, mine, changes({"a": 4}, resolves=mine.item_id))
    other = await apply(store, changes({"a": 5}, resolves=mine.item_id, strategy="manual"))
    assert other.status is SyncStatus.CONFLICT
    assert [each.client for each in await store.conflicts(USER, 10)] == ['{"a":5}']


async def test_a_conflict_that_there_is_not_or_of_another_document_is_refused(
    store: DocumentStore, changes: Changes
) -> None:
    await apply(store, changes({"a": 1}), changes({"a": 2}, base=1))
    mine = changes({"a": 3}, base=1, strategy="manual")
    await apply(store, mine)
    await apply(store, changes({"a": 3}), user="bob")
    for user, change in (
        (USER, changes({"a": 5}, resolves="forged")),
        (USER, changes({"a": 5}, resolves=mine.item_id, document="e")),
        ("bob", changes({"a": 5}, resolves=mine.item_id)),
    ):
        outcome = await apply(store, change, user=user)
        assert outcome.refusal is not None
        assert outcome.refusal.message.startswith("resolves: ")
    assert len(await store.conflicts(USER, 10)) == 1


async def test_users_do_not_see_each_other(store: DocumentStore, changes: Changes) -> None:
    same_id = changes({"a": 1}, item_id="i")
    await apply(store, same_id)
    assert await everything(store, "bob") == ()
    assert await store.history("bob", NOTE, 10) is None
    outcome = await apply(store, changes({"b": 1}, item_id="i"), user="bob")
    assert outcome.status is SyncStatus.APPLIED
    assert [data(each) for each in await everything(store)] == [{"a": 1}]


async def test_pages_follow_the_changes_and_skip_none(
    store: DocumentStore, changes: Changes
) -> None:
    for number in range(5):
        await apply(store, changes({"n": number}, document=f"d{number}"))
    page = await store.changed_since(USER, None, limit=2)
    assert [each.key.id for each in page.documents] == ["d0", "d1"]
    assert page.more
    # What changes while a device reads comes once more, at the end.
    await apply(store, changes({"n": 9}, document="d0", base=1))
    seen: list[str] = []
    while page.more:
        page = await store.changed_since(USER, page.position, limit=2)
        seen += [each.key.id for each in page.documents]
    assert seen == ["d2", "d3", "d4", "d0"]
    assert (await store.changed_since(USER, page.position, limit=2)).documents == ()
    assert not page.reset


async def test_a_page_of_one_type_names_no_others(store: DocumentStore, changes: Changes) -> None:
    await apply(store, changes({"n": 1}), changes({"n": 2}, kind="alert"))
    page = await store.changed_since(USER, None, limit=10, kind="alert")
    assert [each.key.type for each in page.documents] == ["alert"]
    await apply(store, changes({"n": 3}, base=1))
    page = await store.changed_since(USER, page.position, limit=10, kind="alert")
    assert (page.documents, page.more) == ((), False)


async def test_a_position_of_another_database_begins_anew(
    store: DocumentStore, changes: Changes
) -> None:
    await apply(store, changes({"a": 1}))
    here = (await store.changed_since(USER, None, limit=1)).position
    for position in (
        DocumentPosition(epoch="other", seq=1),
        DocumentPosition(epoch=here.epoch, seq=7),
    ):
        page = await store.changed_since(USER, position, limit=10)
        assert page.reset
        assert len(page.documents) == 1
    assert not (await store.changed_since(USER, here, limit=10)).reset


async def test_what_was_merged_or_gave_way_is_in_the_history_as_it_was_sent(
    store: DocumentStore, changes: Changes
) -> None:
    await apply(store, changes({"a": 1}), changes({"a": 2}, base=1))
    lost = changes({"a": 3}, base=1, strategy="server_wins")
    outcome = await apply(store, lost)
    assert outcome.status is SyncStatus.SUPERSEDED
    assert [(each.client, each.server) for each in outcome.unmerged] == [("3", "2")]
    history = await store.history(USER, NOTE, 10)
    assert history is not None
    assert [(each.item_id, each.sent) for each in history.sent] == [(lost.item_id, '{"a":3}')]
    again = await apply(store, lost)
    assert again.unmerged == outcome.unmerged


async def test_every_change_that_was_taken_is_in_the_history(
    store: DocumentStore, changes: Changes
) -> None:
    same = changes({"a": 1})
    conflict = changes({"a": 2}, base=0, strategy="manual")
    first = changes({"a": 1})
    assert (await apply(store, first, same)).status is SyncStatus.APPLIED
    assert (await apply(store, conflict)).status is SyncStatus.CONFLICT
    history = await store.history(USER, NOTE, 10)
    assert history is not None
    assert [each.item_id for each in history.versions] == [first.item_id]
    assert [(each.item_id, each.sent) for each in history.sent] == [
        (conflict.item_id, '{"a":2}'),
        (same.item_id, '{"a":1}'),
    ]


async def test_a_deletion_that_gave_way_is_in_the_history(
    store: DocumentStore, changes: Changes
) -> None:
    await apply(store, changes({"a": 1}), changes({"a": 2}, base=1))
    deletion = changes(None, base=1)
    assert (await apply(store, deletion)).status is SyncStatus.SUPERSEDED
    history = await store.history(USER, NOTE, 10)
    assert history is not None
    assert [each.item_id for each in history.sent] == [deletion.item_id]
    (told,) = history_reply(NOTE, history).sent
    assert (told.deleted, told.data) == (True, UNSET)


async def test_changes_at_once_are_one_after_the_other(
    store: DocumentStore, changes: Changes
) -> None:
    await apply(store, changes({}))
    many = [changes({f"field{n}": n}, base=1) for n in range(20)]
    outcomes = await asyncio.gather(*(apply(store, change) for change in many))
    versions = [each.document.version.version for each in outcomes if each.document]
    assert sorted(versions) == list(range(2, 22))
    [document] = await everything(store)
    assert data(document) == {f"field{n}": n for n in range(20)}


async def test_who_is_cancelled_finds_all_or_nothing(
    store: DocumentStore, changes: Changes
) -> None:
    await apply(store, changes({"n": 0}, document="first"))
    for number in range(10):
        batch = [changes({"n": number}, document=f"{number}-{each}") for each in range(3)]
        task = asyncio.create_task(store.apply(USER, batch, rules()))
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # Whether it happened or not, it can be sent again.
        outcomes = await store.apply(USER, batch, rules())
        assert len({each.status for each in outcomes}) == 1
    assert len(await everything(store)) == 31


async def test_numbers_and_strings_come_back_as_they_were(
    store: DocumentStore, changes: Changes
) -> None:
    written = {
        "zero": 0,
        "nul": "\0",
        "emoji": "\U0001f4c8",
        "big": 2**53,
        "tiny": 5e-324,
        "quote": "\"'\\",
        "deep": [[[[]]]],
    }
    outcome = await apply(store, changes(written))
    [document] = await everything(store)
    assert data(document) == written
    assert outcome.document == document


async def test_tables_of_a_newer_version_are_left_alone(
    database_url: str, changes: Changes
) -> None:
    first = SqlDocumentStore(Database(database_url))
    await apply(first, changes({"a": 1}))
    newer = text(f"UPDATE {SCHEMA.version_table} SET version_num = '9999'")  # noqa: S608
    await first.database.write(lambda connection: connection.execute(newer))
    await first.aclose()
    second = SqlDocumentStore(Database(database_url))
    with pytest.raises(StoreUnavailableError, match="version 9999"):
        await apply(second, changes({"a": 2}))
    await second.aclose()
