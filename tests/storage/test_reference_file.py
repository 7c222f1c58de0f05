from pathlib import Path

import pytest

from stockstream.core import reference
from stockstream.errors import ConfigError
from stockstream.model import Symbol
from stockstream.model.reference import Reference
from stockstream.storage import reference_file
from stockstream.storage.reference_file import load_reference

HEADER = "symbol,name,currency,exchange,previous_close\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "listing.csv"


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_reference(path)
    line = str(caught.value)
    assert line.startswith(f"setting REFERENCE_FILE has the value '{path}': ")
    assert "\n" not in line
    return line


def test_each_line_is_a_symbol_and_blank_is_unknown(file: Path) -> None:
    file.write_text(
        HEADER + '005930.ks,삼성전자,KRW,KRX,71000\nBRK.B,"Berkshire, B",USD,,\n', "utf-8"
    )
    assert load_reference(file) == {
        Symbol("005930.KS"): Reference(
            name="삼성전자", currency="KRW", exchange="KRX", previous_close=71_000.0
        ),
        Symbol("BRK.B"): Reference(name="Berkshire, B", currency="USD"),
    }


def test_a_spreadsheets_mark_and_columns_that_are_missing_do_not_matter(file: Path) -> None:
    file.write_text("\ufeffsymbol,currency\r\nAAPL,USD\r\n", "utf-8")
    assert load_reference(file) == {Symbol("AAPL"): Reference(currency="USD")}


def test_no_file_says_nothing() -> None:
    assert load_reference(None) == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the first line must name symbol"),
        ("name\nApple\n", "the first line must name symbol"),
        ("symbol,sector\nAAPL,IT\n", "the first line must name symbol"),
        (HEADER + "AAPL,,,,1\nM SFT,,,,1\n", "line 3: setting REFERENCE_FILE.M SFT "),
        (HEADER + "AAPL,,,,cheap\n", "line 2: "),
        (HEADER + "AAPL,,,,nan\n", "line 2: setting REFERENCE_FILE.AAPL.PREVIOUS_CLOSE "),
        (HEADER + "AAPL,,$,,\n", "line 2: setting REFERENCE_FILE.AAPL.CURRENCY "),
        (HEADER + "AAPL,,,,1,2\n", "line 2 has too many fields"),
        (HEADER + ",Apple,,,\n", "line 2: "),
    ],
)
def test_a_line_that_can_not_be_is_named(content: str, said: str, file: Path) -> None:
    file.write_text(content, "utf-8")
    assert said in refusal(file)


def test_a_file_that_is_not_there_or_no_text_is_named(file: Path) -> None:
    assert "No such file" in refusal(file)
    file.write_bytes(HEADER.encode() + b"AAPL,\xff\xfe,,,\n")
    assert "UTF-8" in refusal(file)


def test_more_than_there_may_be_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_file, "MAX_ROWS", 2)
    assert reference.MAX_ROWS > 2
    file.write_text("symbol\nA\nB\nC\n")
    assert "more than 2 symbols" in refusal(file)
