import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stockstream import __version__
from stockstream.config import (
    ENV_PREFIX,
    LogFormat,
    ProviderName,
    Settings,
    load_settings,
    unknown_variables,
)
from stockstream.errors import ConfigError
from stockstream.model import Symbol

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def refusal(flags: Mapping[str, Any], file: Path | None = None) -> str:
    """Return the one line with which settings are refused."""
    with pytest.raises(ConfigError) as caught:
        load_settings(flags, file)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_without_any_setting_the_documented_defaults_hold() -> None:
    settings = load_settings({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.provider is ProviderName.SIMULATED
    assert (settings.update_interval, settings.batch_size) == (1.0, 100)
    assert (settings.max_subscriptions, settings.max_subscriptions_per_client) == (10_000, 500)
    assert (settings.subscription_timeout, settings.redis_url) == (5.0, None)
    assert (settings.ping_interval, settings.ping_timeout) == (25.0, 60.0)
    assert (settings.metrics_interval, settings.max_latency_ms) == (10.0, 1_000.0)
    assert (settings.max_error_rate, settings.max_memory_mb) == (0.05, 512.0)
    assert settings.max_message_rate is None
    assert settings.cors_origins == ()
    assert settings.log_format is LogFormat.AUTO


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    file.write_text("port = 1\nbatch_size = 1\nhost = '0.0.0.0'\n")
    monkeypatch.setenv("STOCKSTREAM_PORT", "2")
    monkeypatch.setenv("STOCKSTREAM_BATCH_SIZE", "2")
    settings = load_settings({"port": "3", "batch_size": None}, file)
    assert (settings.port, settings.batch_size, settings.host) == (3, 2, "0.0.0.0")


def test_an_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOCKSTREAM_PORT", "")
    assert load_settings({}).port == 8000


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOCKSTREAM_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1")
    settings = load_settings(
        {"symbols": "aapl, BRK.B,,^gspc", "cors_origins": "https://a.example/,http://b.example:1"}
    )
    assert settings.symbols == ("AAPL", "BRK.B", "^GSPC")
    assert settings.cors_origins == ("https://a.example", "http://b.example:1")
    assert settings.trusted_proxies == ("10.0.0.0/8", "192.0.2.1/32")


def test_lists_are_lists_in_the_file(file: Path) -> None:
    file.write_text('symbols = ["aapl", "MSFT"]')
    assert load_settings({}, file).symbols == ("AAPL", "MSFT")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "http"),
        ("port", "70000"),
        ("provider", "crystal_ball"),
        ("symbols", "AAPL,not a symbol"),
        ("replay_speed", "-1"),
        ("replay_loop", "perhaps"),
        ("simulated_change_probability", "1.5"),
        ("update_interval", "0"),
        ("update_interval", "nan"),
        ("batch_size", "0"),
        ("batch_size", "1.5"),
        ("max_subscriptions", "none"),
        ("subscription_timeout", "-1"),
        ("cors_origins", "charts.example.com"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("ping_interval", "inf"),
        ("max_error_rate", "5"),
        ("log_level", "loud"),
        ("node_id", "x" * 200),
    ],
)
def test_a_bad_value_is_refused_by_name_with_what_is_allowed(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_flag = refusal({name: value})
    monkeypatch.setenv(ENV_PREFIX + name.upper(), value)
    by_variable = refusal({})
    for line in (by_flag, by_variable):
        assert line.startswith(f"setting {name.upper()} has the value ")
        said, _, allowed = line.rpartition("': ") if "': " in line else line.rpartition(": ")
        assert value.rpartition(",")[2] in said
        assert len(allowed) > 10


DERIVED = '{"x_usd": {"kind": "convert", "of": "005930.ks", "by": "KRW=X", "inverse": true}}'


def test_derived_symbols_are_tables_in_the_file_and_json_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    file.write_text(
        '[derived.x_usd]\nkind = "convert"\nof = "005930.ks"\nby = "KRW=X"\ninverse = true'
    )
    by_file = load_settings({}, file)
    monkeypatch.setenv("STOCKSTREAM_DERIVED", DERIVED)
    by_variable = load_settings({})
    assert by_file.derived == by_variable.derived
    assert list(by_file.derived) == ["X_USD"]
    assert by_file.shown()["derived"] == "X_USD"


def test_reference_data_are_tables_in_any_script(file: Path) -> None:
    file.write_text('[reference."005930.ks"]\nname = "삼성전자"\nprevious_close = 71000', "utf-8")
    reference = load_settings({}, file).reference
    assert list(reference) == ["005930.KS"]
    row = reference[Symbol("005930.KS")]
    assert (row.name, row.currency, row.previous_close) == ("삼성전자", None, 71_000.0)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("derived", "{", "DERIVED has the value '{': must be JSON"),
        ("derived", "[]", "DERIVED has the value []: must be tables"),
        (
            "derived",
            '{"X": {"kind": "mean", "of": "A", "count": 0}}',
            "DERIVED.X.COUNT has the value 0",
        ),
        ("reference", '{"X": {"currency": "₩"}}', "REFERENCE.X.CURRENCY has the value '₩'"),
        (
            "reference",
            '{"X": {"previous_close": -1}}',
            "REFERENCE.X.PREVIOUS_CLOSE has the value -1",
        ),
        ("reference", '{"X": {"sector": "IT"}}', "REFERENCE.X.SECTOR has the value 'IT'"),
    ],
)
def test_a_bad_table_is_refused_by_field_and_value(
    name: str, value: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV_PREFIX + name.upper(), value)
    assert refusal({}).startswith(f"setting {named}")


def test_replay_needs_a_recording() -> None:
    line = refusal({"provider": "replay"})
    assert "REPLAY_FILE" in line
    assert "recording" in line


@pytest.mark.parametrize(
    ("key", "hint"), [("prot", "port"), ("PROT", "port"), ("redis_ulr", "redis_url")]
)
def test_an_unknown_key_in_the_file_is_refused_with_a_hint(key: str, hint: str, file: Path) -> None:
    file.write_text(f"{key} = '{SECRET}'")
    line = refusal({}, file)
    assert f"setting {key} " in line
    assert line.endswith(f"there is no such setting; did you mean {hint}?")
    # It may have been meant for a secret.
    assert SECRET not in line


def test_an_unknown_key_like_no_other_is_refused_without_a_hint(file: Path) -> None:
    file.write_text("[xyzzy]\nplugh = 1")
    assert refusal({}, file).endswith("there is no such setting")


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    line = refusal({}, file)
    assert str(file) in line
    assert "No such file" in line


@pytest.mark.parametrize("content", [b"port = ", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_named(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    line = refusal({}, file)
    assert str(file) in line
    assert "not TOML" in line


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://:{SECRET}@example:6379/1", "redis://:***@example:6379/1"),
        (f"rediss://user:{SECRET}@example", "rediss://user:***@example"),
        (f"redis://user:a@{SECRET}@example", "redis://user:***@example"),
        (
            f"unix:///run/redis.sock?db=1&password={SECRET}",
            "unix:///run/redis.sock?db=1&password=***",
        ),
        ("redis://example:6379", "redis://example:6379"),
    ],
)
def test_the_password_of_redis_is_not_shown(url: str, shown: str) -> None:
    settings = load_settings({"redis_url": url})
    assert settings.redis_url == url
    assert settings.shown()["redis_url"] == shown


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@example",
        f":{SECRET}@example:6379",
        f"redis://user:{SECRET}",
        f"redis://:{SECRET}@[::1",
        f"redis://:{SECRET}@example:port",
        f"redis://example?password={SECRET}&db=x",
    ],
)
def test_the_password_of_redis_is_not_shown_where_its_url_is_refused(url: str) -> None:
    line = refusal({"redis_url": url})
    assert line.startswith("setting REDIS_URL ")
    assert "redis://" in line
    assert SECRET not in line


def test_every_setting_is_shown_and_explained() -> None:
    settings = load_settings({"symbols": "AAPL,MSFT"})
    shown = settings.shown()
    assert shown["symbols"] == "AAPL,MSFT"
    assert shown["redis_url"] == "none"
    assert shown["provider"] == "simulated"
    assert set(shown) == set(Settings.model_fields)
    assert all(field.description for field in Settings.model_fields.values())


def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, in an environment of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    return subprocess.run(
        [sys.executable, "-m", "stockstream", *args],
        env={**inherited, "COLUMNS": "300", **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_serve_refuses_a_bad_setting_in_one_line() -> None:
    done = run("serve", "--port", "http")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("stockstream: setting PORT has the value 'http': ")


def test_config_shows_the_settings_in_force() -> None:
    done = run("config", STOCKSTREAM_PORT="4711", STOCKSTREAM_REDIS_URL=f"redis://:{SECRET}@h")
    assert (done.returncode, done.stderr) == (0, "")
    values = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if line}
    assert values["PORT"] == "4711"
    assert values["REDIS_URL"] == "redis://:***@h"
    assert SECRET not in done.stdout


def test_more_symbols_than_may_stream_are_refused_at_the_start() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({"symbols": "AAPL,MSFT", "max_symbols": 1})
    assert str(caught.value) == "setting SYMBOLS has the value 2: more than MAX_SYMBOLS"


def test_a_long_value_is_shown_whole_on_a_narrow_terminal() -> None:
    done = run("config", STOCKSTREAM_CORS_ORIGINS=f"https://{'x' * 60}.example", COLUMNS="60")
    assert done.stdout.count("x") >= 60
    assert "…" not in done.stdout


def test_a_variable_that_sets_nothing_is_named_with_a_hint() -> None:
    done = run("config", STOCKSTREAM_PROT=SECRET)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line == "stockstream: STOCKSTREAM_PROT sets nothing; did you mean STOCKSTREAM_PORT?"


def test_variables_of_settings_and_of_others_are_not_complained_of() -> None:
    assert unknown_variables({"STOCKSTREAM_PORT": "1", "stockstream_host": "h", "PATH": "/"}) == []


def test_the_version_is_told() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"stockstream {__version__}\n")


def test_config_refuses_a_bad_setting_in_one_line(file: Path) -> None:
    file.write_text("batch_sise = 5")
    done = run("config", "--config", str(file))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "did you mean batch_size?" in line


def test_history_is_where_it_is_said_else_with_documents_in_postgresql_else_in_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("STOCKSTREAM_HISTORY_URL", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")

    def found(**settings: str) -> str:
        return load_settings(settings).history()

    assert found() == "sqlite:////state/stockstream/history-simulated.db"
    assert found(database_url="sqlite:////documents.db") == found()
    assert found(database_url="postgresql://db/all") == "postgresql://db/all"
    both = {"database_url": "postgresql://db/all", "history_url": "memory"}
    assert found(**both) == "memory"


@pytest.mark.parametrize("url", ["mysql://db/all", "history.db", "sqlite:///", "none"])
def test_a_history_that_can_be_nowhere_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"HISTORY_URL.*must be sqlite:///path or .*, or memory"):
        load_settings({"history_url": url})


@pytest.mark.parametrize("calendars", ["XNYS", "=XNYS", ".KS="])
def test_calendars_need_a_suffix_and_a_name(calendars: str) -> None:
    with pytest.raises(ConfigError, match=r"CALENDARS.*must be suffixes with calendars"):
        load_settings({"calendars": calendars})
