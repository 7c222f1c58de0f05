import time
from typing import Any

import pytest
from typer.testing import CliRunner

from stockstream.cli import app
from stockstream.core.token_keys import secret_key
from stockstream.core.tokens import TokenRules, identity_of
from tests.support.tokens import ISSUER, SECRET


def run(*arguments: str, **settings: str) -> Any:
    env = {f"STOCKSTREAM_{name.upper()}": value for name, value in settings.items()}
    return CliRunner().invoke(app, ["token", *arguments], env={"COLUMNS": "200", **env})


def test_a_token_is_for_the_server_of_the_same_settings() -> None:
    settings = {"jwt_secret": SECRET, "jwt_issuer": ISSUER, "jwt_audience": "quotes"}
    before = int(time.time())
    result = run("--user", "me", "--role", "user", "--role", "ops", "--expires", "2h", **settings)
    assert result.exit_code == 0
    rules = TokenRules(issuer=ISSUER, audience="quotes")
    identity = identity_of(result.output.strip(), secret_key(SECRET), rules, before * 1000)
    assert identity.user == "me"
    assert identity.roles == {"user", "ops"}
    assert identity.expires_at is not None
    assert 0 <= identity.expires_at // 1000 - before - 7_200 < 60


@pytest.mark.parametrize(
    ("arguments", "settings", "told"),
    [
        (["--user", "me"], {}, "setting JWT_SECRET is not set"),
        (["--user", "me"], {"jwt_secret": "too short"}, "must have 32 bytes or more"),
        (["--user", "a\nb"], {"jwt_secret": SECRET}, "its sub must be"),
        (["--user", "me", "--expires", "1y"], {"jwt_secret": SECRET}, "is no duration"),
        (["--user", "me", "--expires", "0h"], {"jwt_secret": SECRET}, "is no duration"),
        (["--user", "me", "--role", "king"], {"jwt_secret": SECRET}, "king"),
        ([], {"jwt_secret": SECRET}, "--user"),
    ],
)
def test_what_makes_no_token_is_refused_in_a_clear_line(
    arguments: list[str], settings: dict[str, str], told: str
) -> None:
    result = run(*arguments, **settings)
    assert result.exit_code == 2
    assert told in result.output
    assert "Traceback" not in result.output
    assert "too short" not in result.output


def test_a_secret_is_never_shown() -> None:
    env = {"STOCKSTREAM_JWT_SECRET": SECRET, "STOCKSTREAM_TOKEN": "a.token.of"}
    result = CliRunner().invoke(app, ["config"], env={"COLUMNS": "200", **env})
    assert result.exit_code == 0
    assert "JWT_SECRET" in result.output
    assert SECRET[:8] not in result.output
    # It sets nothing of a server, and is no mistake either.
    assert "STOCKSTREAM_TOKEN" not in result.output
    assert "a.token.of" not in result.output
