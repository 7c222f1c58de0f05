"""JSON in the form that JavaScript writes."""

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockstream.errors import InvalidPayloadError
from stockstream.wire import canonical as canonical_module
from stockstream.wire.canonical import MAX_DEPTH, canonical, checksum, parse

#: What a browser does with a value: keys in order, then its own JSON.
JAVASCRIPT = """
const sorted = (value) => Array.isArray(value) ? value.map(sorted)
  : value && typeof value === "object"
    ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]))
    : value;
const lines = require("fs").readFileSync(0, "utf8").split("\\n").filter(Boolean);
const text = (line) => JSON.stringify(sorted(JSON.parse(line)));
console.log(lines.map((line) => JSON.stringify(text(line))).join("\\n"));
"""

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60)
#: Names that are no indices: of those JavaScript has an order of its own.
keys = st.text(max_size=4).filter(lambda text: not text.isdecimal() and text != "__proto__")
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=5)
@given(st.lists(values, min_size=30, max_size=60))
def test_the_text_is_what_javascript_writes(cases: list[Any]) -> None:
    lines = "\n".join(json.dumps(each) for each in cases)
    command = ["node", "-e", JAVASCRIPT]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    assert [canonical(each) for each in cases] == [
        json.loads(x) for x in done.stdout.split("\n")[:-1]
    ]


@given(values)
def test_a_text_stands_for_its_value_and_is_its_own_canonical_form(value: Any) -> None:
    text = canonical(value)
    assert canonical(parse(text)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": 1.0}, '{"a":1,"b":1}'),
        (
            [1e21, 1e20, 1e-6, 1e-7, -0.0, 5e-324],
            "[1e+21,100000000000000000000,0.000001,1e-7,0,5e-324]",
        ),
        ({"\ufb33": 1, "\U0001f600": 2, "a": 3}, '{"a":3,"\U0001f600":2,"\ufb33":1}'),
        ('\u2028<\x1f\\"', '"\u2028<\\u001f\\\\\\""'),
        (2**53 + 1, "9007199254740992"),
    ],
)
def test_numbers_keys_and_strings_are_those_of_rfc_8785(value: Any, text: str) -> None:
    assert canonical(value) == text


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 10**400, {1: 2}, "\ud800", {"\udc00": 1}, {1, 2}]
)
def test_what_json_cannot_say_is_refused_and_named(value: Any) -> None:
    with pytest.raises(InvalidPayloadError, match=r"^data: "):
        canonical({"a": value})


def test_depth_is_limited() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    canonical(deep)
    with pytest.raises(InvalidPayloadError, match="deeper"):
        canonical([deep])


def test_the_checksum_is_that_of_the_text() -> None:
    empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert checksum(canonical({})) == empty


@given(values)
def test_the_quick_way_and_the_careful_one_agree(value: Any) -> None:
    assert canonical(value) == "".join(canonical_module._write(value, MAX_DEPTH))


@given(st.floats(1e-7, 1e22) | st.floats(-1e22, -1e-7))
def test_numbers_of_every_size_are_written_the_careful_way_where_it_matters(value: float) -> None:
    assert canonical([value]) == f"[{canonical_module._number(value)}]"
