"""The verdict finds what it is there to find."""

from collections import defaultdict

import pytest

from tests.chaos.crowd import ChaosCrowd, Update, Watcher
from tests.chaos.faults import Happened
from tests.chaos.market import Asked, Market
from tests.chaos.nodes import INTERVAL
from tests.chaos.verdict import judge

COUNT = 40


def price(number: int) -> float:
    return 100.0 + number


def market(*nodes: str) -> Market:
    """Return one that was asked at every interval, by so many nodes one after another."""
    each = COUNT // len(nodes)
    answers = [Asked(n * INTERVAL, nodes[n // each], price(n)) for n in range(COUNT)]
    return Market(paths={}, answers=defaultdict(list, {"A": answers}))


def updates(*, but: int | None = None) -> list[Update]:
    """Return those that a client gets, except for one."""
    made = [Update("e", n + 1, price(n), n == 0, n * INTERVAL + 0.01) for n in range(COUNT)]
    return [update for n, update in enumerate(made) if n != but]


def crowd(*seen: list[Update]) -> ChaosCrowd:
    watchers = [Watcher(n, updates=defaultdict(list, {"A": each})) for n, each in enumerate(seen)]
    return ChaosCrowd(watchers)


def faults(*seen: list[Update], nodes: tuple[str, ...] = ("n0",)) -> list[str]:
    return judge(market(*nodes), crowd(*seen), []).faults


def test_nothing_is_wrong_where_everybody_has_everything() -> None:
    assert not faults(updates(), updates())
    assert not faults(updates(), nodes=("n0", "n1"))


def test_gap_of_one_client_is_found() -> None:
    (fault,) = faults(updates(), updates(but=20))
    assert fault.startswith("client 1, A: a gap")


def test_update_that_comes_twice_is_found() -> None:
    twice = updates()
    twice.insert(21, twice[20])
    assert any(fault.startswith("client 0, A: a duplicate") for fault in faults(twice))


def test_updates_in_disorder_are_found() -> None:
    swapped = updates()
    swapped[20], swapped[21] = swapped[21], swapped[20]
    assert any("disorder" in fault for fault in faults(swapped))


def test_change_that_nobody_was_told_of_is_found() -> None:
    renumbered = [
        update._replace(seq=number) for number, update in enumerate(updates(but=20), start=1)
    ]
    (fault,) = faults(renumbered, renumbered)
    assert fault == "A: 120.0, told to n0 at 5.000, was lost"


def test_change_that_went_down_with_its_node_is_excused() -> None:
    renumbered = [
        update._replace(seq=number) for number, update in enumerate(updates(but=20), start=1)
    ]
    killed = Happened("kill -9 of an owner", "n0", began=5.1, ended=6.0, symbols=["A"])
    assert not judge(market("n0"), crowd(renumbered), [killed]).faults


def test_price_that_the_market_never_told_is_found() -> None:
    wrong = updates()
    wrong[20] = wrong[20]._replace(price=1.0)
    assert any("the market never told" in fault for fault in faults(wrong))


def test_two_clients_that_disagree_about_a_number_are_found() -> None:
    other = updates()
    other[20] = other[20]._replace(price=price(19))
    assert any("was 119.0 and 120.0" in fault for fault in faults(updates(), other))


def test_symbol_that_two_nodes_ask_for_is_found() -> None:
    twice = market("n0")
    twice.answers["A"] = sorted(
        [*twice.answers["A"], *(a._replace(at=a.at + 0.1) for a in twice.answers["A"])]
    )
    verdict = judge(twice, crowd(updates()), [])
    assert any("was asked for 80 times" in fault for fault in verdict.faults)


@pytest.mark.parametrize("seconds", [0.4, 2.0])
def test_failover_is_the_time_until_another_node_asks(seconds: float) -> None:
    died = COUNT / 2 * INTERVAL - seconds
    killed = Happened("kill -9 of an owner", "n0", began=died, ended=9.0, symbols=["A"])
    verdict = judge(market("n0", "n1"), crowd(updates()), [killed])
    assert verdict.failover[killed.name] == [pytest.approx(seconds)]
