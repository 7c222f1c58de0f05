from hypothesis import given
from hypothesis import strategies as st

from stockstream.client.interest import Interest
from stockstream.model import Position, StockUpdate, Symbol

AAPL = "stock_update_AAPL"


def update(seq: int, epoch: str = "e1", *, snapshot: bool = False) -> StockUpdate:
    return StockUpdate(
        symbol=Symbol("AAPL"),
        price=1.0,
        change=0.0,
        change_percent=0.0,
        volume=0.0,
        timestamp=0,
        seq=seq,
        epoch=epoch,
        snapshot=snapshot,
    )


def test_what_is_wanted_is_missing_until_it_is_held() -> None:
    interest = Interest()
    interest.want([AAPL])
    assert interest.missing() == [AAPL]
    interest.hold(AAPL)

    assert interest.missing() == []
    assert interest.surplus() == []


def test_the_last_who_wants_it_makes_it_surplus() -> None:
    interest = Interest()
    interest.want([AAPL])
    interest.want([AAPL])
    interest.hold(AAPL)
    interest.release([AAPL])
    assert interest.surplus() == []
    interest.release([AAPL])

    assert interest.surplus() == [AAPL]


def test_another_connection_goes_on_where_the_last_one_was() -> None:
    interest = Interest()
    interest.want([AAPL])
    interest.hold(AAPL)
    interest.is_news(AAPL, update(7))
    interest.disconnected()

    assert interest.missing() == [AAPL]
    assert interest.since([AAPL]) == {AAPL: Position(epoch="e1", seq=7)}


def test_who_comes_back_after_unsubscribing_begins_anew() -> None:
    interest = Interest()
    interest.want([AAPL])
    interest.hold(AAPL)
    interest.is_news(AAPL, update(7))
    interest.release([AAPL])
    interest.drop(interest.surplus())
    interest.want([AAPL])

    assert interest.since([AAPL]) == {}


def test_what_was_refused_is_asked_for_again_by_the_next_who_wants_it_and_on_reconnecting() -> None:
    interest = Interest()
    interest.want([AAPL])
    interest.refuse(AAPL)
    assert interest.missing() == []
    interest.want([AAPL])
    assert interest.missing() == [AAPL]
    interest.refuse(AAPL)
    interest.disconnected()

    assert interest.missing() == [AAPL]


def test_another_epoch_is_news_whatever_its_number() -> None:
    interest = Interest()

    assert interest.is_news(AAPL, update(7))
    assert interest.is_news(AAPL, update(1, "e2", snapshot=True))
    assert interest.since([AAPL]) == {AAPL: Position(epoch="e2", seq=1)}
    assert interest.skipped == 0


@given(st.lists(st.integers(1, 30), max_size=60))
def test_numbers_only_rise_and_every_gap_and_repetition_is_counted(seqs: list[int]) -> None:
    interest = Interest()
    seen = [seq for seq in seqs if interest.is_news(AAPL, update(seq))]

    assert seen == sorted(set(seen))
    assert len(seen) + interest.repeated == len(seqs)
    if seen:
        assert interest.skipped == seen[-1] - seen[0] + 1 - len(seen)
