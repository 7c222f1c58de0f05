"""How the browser module carries a change over to a newer document."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.npm import JAVASCRIPT
from tests.support.rebase_cases import REBASED_LISTS

scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2)
lists = st.lists(scalars, max_size=4, unique_by=json.dumps)
values = st.recursive(
    scalars | lists, lambda inner: st.dictionaries(st.text("abc", max_size=1), inner, max_size=3)
)
documents = st.dictionaries(st.text("abcd", min_size=1, max_size=1), values, max_size=4)
sides = st.tuples(documents, documents, documents)

#: Node is started for each example: many cases to an example, and few examples.
FEW = settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Rebase:
    def __init__(self, module: Path) -> None:
        self._module = module

    def __call__(self, cases: Sequence[Sequence[Any]]) -> list[Any]:
        command = ["node", "rebase.mjs", str(self._module)]
        done = subprocess.run(
            command,
            cwd=JAVASCRIPT,
            input=json.dumps(cases),
            capture_output=True,
            text=True,
            check=True,
        )
        results: list[Any] = json.loads(done.stdout)
        return results


@pytest.fixture
def rebase(built_module: Path) -> Rebase:
    return Rebase(built_module)


@FEW
@given(st.lists(sides, min_size=20, max_size=40))
def test_where_one_side_changed_nothing_the_other_holds(
    rebase: Rebase, cases: list[tuple[Any, Any, Any]]
) -> None:
    assert rebase([(base, mine, base) for base, mine, _ in cases]) == [mine for _, mine, _ in cases]
    assert rebase([(base, base, theirs) for base, _, theirs in cases]) == [t for *_, t in cases]
    assert rebase([(base, both, both) for base, both, _ in cases]) == [b for _, b, _ in cases]


@FEW
@given(st.lists(sides, min_size=20, max_size=40))
def test_a_field_that_only_one_side_touched_is_kept(
    rebase: Rebase, cases: list[tuple[Any, Any, Any]]
) -> None:
    for (base, mine, theirs), result in zip(cases, rebase(cases), strict=True):
        for field in {*base, *mine, *theirs}:
            ours, others, before = (each.get(field, ...) for each in (mine, theirs, base))
            if ours == before:
                assert result.get(field, ...) == others
            elif others == before:
                assert result.get(field, ...) == ours


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "expected"), REBASED_LISTS.values(), ids=REBASED_LISTS
)
def test_lists_are_merged_by_element(
    rebase: Rebase, base: Any, mine: Any, theirs: Any, expected: Any
) -> None:
    assert rebase([({"list": base}, {"list": mine}, {"list": theirs})]) == [{"list": expected}]
