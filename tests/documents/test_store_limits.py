"""What stores of documents keep at most, and what they forget."""

from stockstream.document_ports import DocumentStore
from stockstream.model.document import (
    SyncStatus,
)
from tests.documents.changes import NOW, USER, Changes, rules
from tests.documents.conftest import VERSIONS
from tests.documents.storing import DAY, NOTE, apply, data, everything


async def test_so_many_past_versions_are_kept_and_a_change_on_an_older_one_is_merged_without_it(
    store: DocumentStore, changes: Changes
) -> None:
    for number in range(VERSIONS + 3):
        await apply(store, changes({"n": number}, base=number))
    history = await store.history(USER, NOTE, 100)
    assert history is not None
    assert len(history.versions) == VERSIONS + 1
    outcome = await apply(store, changes({"n": 0, "m": 1}, base=1))
    assert data(outcome.document) == {"n": VERSIONS + 2, "m": 1}
    assert [each.path for each in outcome.unmerged] == ["/n"]


async def test_limits_of_a_user_are_kept_and_deleting_still_works(
    store: DocumentStore, changes: Changes
) -> None:
    few = rules(documents=2, size=3_000)
    await apply(store, changes({"n": 1}), changes({"n": 2}, document="e"), by=few)
    third = await apply(store, changes({"n": 3}, document="f"), by=few)
    large = await apply(store, changes({"n": "x" * 3_000}, base=1), by=few)
    for outcome in (third, large):
        assert outcome.refusal is not None
        assert outcome.refusal.code == "quota_exceeded"
    assert (await apply(store, changes({"n": "x" * 2_000}, base=1), by=few)).changed
    assert (await apply(store, changes({"n": 5}, base=2), by=few)).refusal is not None
    assert (await apply(store, changes(None, base=2), by=few)).changed


async def test_past_versions_give_way_before_a_user_has_no_room(
    store: DocumentStore, changes: Changes
) -> None:
    few = rules(size=10_000)
    for number in range(15):
        document = f"d{number % 3}"
        base = number // 3
        change = changes({"n": number, "x": "x" * 700}, document=document, base=base)
        outcome = await apply(store, change, by=few)
        assert outcome.status is SyncStatus.APPLIED, outcome.refusal
    assert (await store.figures()).size < 10_000


async def test_conflicts_that_wait_are_bounded(store: DocumentStore, changes: Changes) -> None:
    few = rules(conflicts=1)
    await apply(store, changes({"a": 1}), changes({"a": 2}, base=1))
    first = changes({"a": 3}, base=1, strategy="manual")
    await apply(store, first, by=few)
    second = await apply(store, changes({"a": 4}, base=1, strategy="manual"), by=few)
    assert second.refusal is not None
    assert second.refusal.code == "quota_exceeded"
    assert (await store.figures()).conflicts == 1


async def test_what_is_old_is_forgotten_and_a_device_that_missed_it_begins_anew(
    store: DocumentStore, changes: Changes
) -> None:
    kept, gone = changes({"n": 1}, document="kept"), changes({"n": 2}, document="gone")
    await apply(store, kept, gone)
    before = (await store.changed_since(USER, None, limit=10)).position
    await apply(store, changes(None, document="gone", base=1))
    after = (await store.changed_since(USER, None, limit=10)).position
    changes.now += 10 * DAY
    young = changes({"n": 3}, document="young")
    await apply(store, young)

    assert await store.forget(NOW + DAY) == 4
    assert await store.forget(NOW + DAY) == 0
    assert {each.key.id for each in await everything(store)} == {"kept", "young"}
    assert (await store.changed_since(USER, before, limit=10)).reset
    assert not (await store.changed_since(USER, after, limit=10)).reset
    assert (await apply(store, young)).status is SyncStatus.DUPLICATE
    figures = await store.figures()
    assert (figures.users, figures.documents) == (1, 2)


async def test_an_item_whose_conflict_waits_is_not_forgotten(
    store: DocumentStore, changes: Changes
) -> None:
    await apply(store, changes({"a": 1}), changes({"a": 2}, base=1))
    mine = changes({"a": 3}, base=1, strategy="manual")
    await apply(store, mine)
    await store.forget(NOW + DAY)
    assert (await apply(store, mine)).status is SyncStatus.CONFLICT
    assert len(await store.conflicts(USER, 10)) == 1
