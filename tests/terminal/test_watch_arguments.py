import pytest
from typer.testing import CliRunner

from stockstream.cli import app


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["A/B"], "'A/B' is not a symbol"),
        ([","], "name at least one symbol"),
        (["AAPL", "--url", "localhost:8000"], "is not the address of a server"),
        (["AAPL", "--url", "ftp://localhost"], "is not the address of a server"),
        ([], "Missing argument"),
    ],
)
def test_what_cannot_be_watched_is_refused_in_a_clear_line(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(app, ["watch", *arguments], env={"COLUMNS": "200"})

    assert result.exit_code == 2
    assert told in result.output
    assert "Traceback" not in result.output


def test_help_teaches_by_examples() -> None:
    result = CliRunner().invoke(app, ["watch", "--help"], env={"COLUMNS": "200"})

    assert result.exit_code == 0
    assert "stockstream watch AAPL MSFT" in result.output
    assert "--url" in result.output
