import pytest

from stockstream.core.bar_parts import BarPart
from stockstream.core.minute_columns import MinuteColumns

MINUTE = 60_000
PARTS = [
    BarPart(index * MINUTE, 1.5, 3.0, 1.0, 2.0, 10.0, index * MINUTE + 5, index * MINUTE + 59_999)
    for index in (3, 4, 9)
]


def test_minutes_are_the_same_after_being_packed() -> None:
    pages = [MinuteColumns.of(PARTS[:2]).pack(), MinuteColumns.of(PARTS[2:]).pack()]

    assert MinuteColumns.unpack(*pages).parts() == PARTS
    assert sum(map(len, pages)) == 3 * 52


def test_a_stretch_has_its_start_and_not_its_end() -> None:
    columns = MinuteColumns.of(PARTS)

    assert columns.slice(3 * MINUTE, 9 * MINUTE).parts() == PARTS[:2]
    assert columns.cut(1, 3).parts() == PARTS[1:]


def test_bytes_that_are_no_page_are_refused() -> None:
    with pytest.raises(ValueError, match="53 bytes are no page"):
        MinuteColumns.unpack(bytes(53))
