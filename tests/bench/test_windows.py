from rich.console import Console

from tests.bench import windows


def test_pandas_agrees_with_each_statistic() -> None:
    assert windows.disagreements(3_000) == []


def test_each_length_of_each_statistic_has_a_cost() -> None:
    console = Console(record=True, width=100)
    costs = windows.measure(1, 100, console)
    windows.show(costs, console)
    shown = console.export_text()
    assert all(name in shown for name in windows.STATISTICS)
    assert all(cost > 0 for rounds in costs.values() for cost in rounds)
