from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.errors import InvalidPayloadError
from stockstream.wire.requests import (
    StockDataRequest,
    SubscribeRequest,
    UnsubscribeRequest,
    decode_request,
)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (None, "payload"),
        (5, "payload"),
        ([], "payload"),
        ({}, "events"),
        ({"events": "AAPL"}, "events"),
        ({"events": []}, "events"),
        ({"events": [1]}, r"events\[0\]"),
        ({"events": ["a" * 1_000_000]}, r"events\[0\]"),
        ({"events": ["a"] * 100_000}, "events"),
        ({"events": ["a"], "maxRate": 0}, "maxRate"),
        ({"events": ["a"], "maxRate": "fast"}, "maxRate"),
        ({"events": ["a"], "since": []}, "since"),
        ({"events": ["a"], "since": {"a": {"epoch": 1, "seq": 1}}}, r"since\[...\].epoch"),
    ],
)
def test_the_error_names_the_field_that_is_wrong(payload: Any, field: str) -> None:
    with pytest.raises(InvalidPayloadError, match=field) as refused:
        decode_request(SubscribeRequest, payload)
    assert refused.value.code == "invalid_payload"
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("limit", [0, -1, 1_001, 1.5, "5", None, True])
def test_a_limit_is_a_number_of_bars(limit: object) -> None:
    with pytest.raises(InvalidPayloadError, match="limit"):
        decode_request(StockDataRequest, {"symbol": "AAPL", "limit": limit})


def test_what_was_left_out_has_its_documented_default() -> None:
    request = decode_request(StockDataRequest, {"symbol": "AAPL"})
    assert (request.timeframe, request.limit) == ("1d", 100)


def test_fields_that_nobody_knows_do_no_harm() -> None:
    payload = {"events": ["a"], "__proto__": {}, "constructor": 1}
    assert decode_request(UnsubscribeRequest, payload).events == ["a"]


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json | st.fixed_dictionaries({"events": json, "since": json, "maxRate": json}))
def test_any_payload_is_understood_or_refused(payload: Any) -> None:
    for kind in (SubscribeRequest, UnsubscribeRequest, StockDataRequest):
        with suppress(InvalidPayloadError):
            assert isinstance(decode_request(kind, payload), kind)
