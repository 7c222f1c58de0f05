"""The command ``stockstream``."""

import asyncio
import os
import time
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import structlog
import typer
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stockstream import __version__
from stockstream.config import Settings, load_settings, unknown_variables
from stockstream.errors import (
    ConfigError,
    DrainTimeoutError,
    InvalidSymbolError,
    RefusedError,
    StockstreamError,
)
from stockstream.log import configure_logging
from stockstream.model import Symbol, Timeframe, parse_symbol
from stockstream.model.identity import Identity, UserRole
from stockstream.terminal.bar_files import FileFormat, give_up_stdout
from stockstream.terminal.export import Export, export, parse_moment
from stockstream.terminal.watch import watch as watch_quotes

log = structlog.get_logger(__name__)

#: Exit status of a command that SIGPIPE ended.
_BROKEN_PIPE: Final = 141
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

app = typer.Typer(
    help="Real-time stock quotes for Socket.IO clients.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - called by typer
    if wanted:
        typer.echo(f"stockstream {__version__}")
        raise typer.Exit


@app.callback()
def _commands(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Real-time stock quotes for Socket.IO clients."""


def main() -> None:
    """Run the command line; ends the process with its exit status."""
    app()


def _symbols(texts: list[str]) -> list[Symbol]:
    names = [name for text in texts for name in text.split(",") if name]
    if not names:
        raise typer.BadParameter("name at least one symbol, such as AAPL")
    try:
        return list(dict.fromkeys(parse_symbol(name) for name in names))
    except InvalidSymbolError as error:
        raise typer.BadParameter(str(error)) from error


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise typer.BadParameter(f"{text!r} is not the address of a server: http://host:port")
    return text.rstrip("/")


def _duration(text: str) -> int:
    """Return the seconds of a text such as 15m."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdecimal() or not 1 <= int(number) <= 9_999:
        raise typer.BadParameter(f"{text!r} is no duration such as 90s, 15m, 1h or 7d")
    return int(number) * _UNITS[unit]


def _option(name: str) -> Any:
    """Return the flag of a setting, with the setting's own words and default."""
    field = Settings.model_fields[name]
    note = "" if field.default in (None, False) else f" (default {field.default})"
    if field.default == ():
        note = " (several with commas)"
    elif isinstance(field.default, StrEnum):
        note = f" ({', '.join(type(field.default))}; default {field.default})"
    metavar = None if field.annotation is bool else name.rpartition("_")[2].upper()
    return typer.Option(help=f"{field.description}{note}", metavar=metavar, show_default=False)


def _settings(flags: dict[str, Any], file: Path | None) -> Settings:
    try:
        return load_settings(flags, file)
    except ConfigError as error:
        raise _failed(error) from None


def _failed(error: StockstreamError | OSError, status: int = 2) -> typer.Exit:
    typer.echo(f"stockstream: {error}", err=True)
    return typer.Exit(status)


def _moment(text: str) -> int:
    try:
        return parse_moment(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time: 2026-01-05, 2026-01-05T09:30+09:00, or ms since the epoch"
        ) from None


_Url = Annotated[str, typer.Option(help="Address of the server.", callback=_url)]
_Token = Annotated[
    str | None,
    typer.Option(
        envvar="STOCKSTREAM_TOKEN",
        help="Token that says who you are, where the server asks for one. Better set in the"
        " environment: others on this machine may see a command's arguments.",
        show_default=False,
    ),
]
_File = Annotated[
    Path | None, typer.Option("--config", help="TOML file of settings.", show_default=False)
]


@app.command(
    epilog="Examples:\n\n"
    "[bold]stockstream serve[/bold]  # a simulated market on http://127.0.0.1:8000\n\n"
    "[bold]stockstream serve --provider replay --replay-file ticks.csv.gz[/bold]  # a recording\n\n"
    "[bold]stockstream serve --redis-url redis://127.0.0.1:6379[/bold]  # values in Redis\n\n"
    "Every setting has an environment variable STOCKSTREAM_<NAME> and a key in the file too:"
    " see [bold]stockstream config[/bold]. SIGTERM and Ctrl-C drain the server and end it."
)
def serve(
    *,
    config: _File = None,
    host: Annotated[str | None, _option("host")] = None,
    port: Annotated[str | None, _option("port")] = None,
    provider: Annotated[str | None, _option("provider")] = None,
    symbols: Annotated[str | None, _option("symbols")] = None,
    replay_file: Annotated[str | None, _option("replay_file")] = None,
    replay_speed: Annotated[str | None, _option("replay_speed")] = None,
    replay_loop: Annotated[bool | None, _option("replay_loop")] = None,
    update_interval: Annotated[str | None, _option("update_interval")] = None,
    redis_url: Annotated[str | None, _option("redis_url")] = None,
    cors_origins: Annotated[str | None, _option("cors_origins")] = None,
    log_level: Annotated[str | None, _option("log_level")] = None,
    log_format: Annotated[str | None, _option("log_format")] = None,
) -> None:
    """Stream quotes to Socket.IO clients."""
    flags = dict(locals())
    settings = _settings(flags, flags.pop("config"))
    configure_logging(settings.log_level, settings.log_format)
    for sentence in unknown_variables(os.environ):
        log.warning("unknown_variable", reason=sentence)
    # Only here: the other commands start in half the time without the server's libraries.
    from stockstream.serving import serve as run_server  # noqa: PLC0415

    try:
        uvloop.run(run_server(settings))
    except ConfigError as error:
        raise _failed(error) from None
    except DrainTimeoutError as error:
        raise _failed(error, 1) from None


@app.command("config")
def show_config(config: _File = None) -> None:
    """Show the settings in force, and where each can be set."""
    settings = _settings({}, config)
    table = Table(box=None, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    # Never cut off: it may be what somebody looks for.
    table.add_column("value", overflow="fold")
    table.add_column("what it is", overflow="fold")
    for name, value in settings.shown().items():
        table.add_row(
            name.upper(), escape(value), escape(Settings.model_fields[name].description or "")
        )
    console = Console()
    console.print(table)
    for sentence in unknown_variables(os.environ):
        typer.echo(f"stockstream: {sentence}", err=True)
    console.print("\nSet one as STOCKSTREAM_<NAME>, or in lower case in the file of --config.")


@app.command(
    epilog="Examples:\n\n"
    "[bold]stockstream watch AAPL MSFT[/bold]  # a live table\n\n"
    "[bold]stockstream watch EURUSD,XAUUSD --url http://quotes.example:8000[/bold]  # elsewhere\n\n"
    "[bold]stockstream watch BTC-USD >> quotes.log[/bold]  # one line for each update\n\n"
    "Ctrl-C ends it."
)
def watch(
    symbols: Annotated[
        list[str],
        typer.Argument(help="What to watch, in either case: AAPL brk.b 005930.KS BTC-USD"),
    ],
    url: _Url = "http://127.0.0.1:8000",
    token: _Token = None,
) -> None:
    """Watch prices live in the terminal.

    Moves are coloured; a lost connection is made anew by itself.

    Where the output is not a terminal, each update is a line.
    """
    wanted = _symbols(symbols)
    try:
        asyncio.run(watch_quotes(url, wanted, token))
    except RefusedError as error:
        raise _failed(error, 1) from None


@app.command(
    "export",
    epilog="Examples:\n\n"
    "[bold]stockstream export AAPL --timeframe 1m --from 2026-01-05 --output aapl.csv[/bold]\n\n"
    "[bold]stockstream export BTC-USD --from 2026-01-01 --to 2026-02-01T00:00+09:00 "
    "--output btc.parquet[/bold]\n\n"
    "[bold]stockstream export AAPL --timeframe 1w | head[/bold]  # CSV",
)
def export_bars(
    *,
    symbol: Annotated[str, typer.Argument(help="Whose bars, in either case: AAPL brk.b ^GSPC")],
    timeframe: Annotated[Timeframe, typer.Option(help="Length of a bar.")] = Timeframe.D1,
    start: Annotated[
        int | None,
        typer.Option(
            "--from",
            parser=_moment,
            metavar="TIME",
            help="First moment: a date or time as of ISO 8601 (UTC where it names no time zone), "
            "or ms since the epoch. Without it, as far back as there are bars.",
        ),
    ] = None,
    end: Annotated[
        int | None,
        typer.Option(
            "--to",
            parser=_moment,
            metavar="TIME",
            help="Bars that start at this moment or later are left out. Without it, up to the bar "
            "that is still forming, which is left out.",
        ),
    ] = None,
    form: Annotated[
        FileFormat | None,
        typer.Option(
            "--format",
            help="How they are written; without it, as the name of the output ends, else csv.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", dir_okay=False, help="File to write; without it, standard output."
        ),
    ] = None,
    url: _Url = "http://127.0.0.1:8000",
    token: _Token = None,
) -> None:
    """Write bars of a running server as CSV or Parquet.

    They are asked for page by page over HTTP, so that any server will do, near or far; one that is
    busy or gone for a moment is asked again.

    The file is complete or not there: it takes its name at the end, and what stood there before is
    replaced only then. Times are the starts of the bars, in ms since the epoch (UTC).
    """
    (name,) = _symbols([symbol])[:1]
    form = form or _format_of(output)
    _check_output(form, output)
    end = timeframe.floor(time.time_ns() // 1_000_000) if end is None else end
    if start is not None and start > end:
        raise typer.BadParameter("--from is after --to")
    what = Export(
        url=url,
        symbol=name,
        timeframe=timeframe,
        start_ms=start,
        end_ms=end,
        form=form,
        output=output,
        token=token,
    )
    try:
        written = asyncio.run(export(what))
    except BrokenPipeError:
        # Whoever reads has seen enough, as `head` has.
        give_up_stdout()
        raise typer.Exit(_BROKEN_PIPE) from None
    except (RefusedError, OSError) as error:
        raise _failed(error, 1) from None
    if output is not None:
        typer.echo(f"{written:,} bars in {output}", err=True)


def _format_of(output: Path | None) -> FileFormat:
    suffix = output.suffix.removeprefix(".").lower() if output else ""
    return FileFormat.PARQUET if suffix == FileFormat.PARQUET else FileFormat.CSV


def _check_output(form: FileFormat, output: Path | None) -> None:
    if output is not None and not output.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {str(output.parent)!r} for --output")
    if form is not FileFormat.PARQUET:
        return
    if output is None:
        raise typer.BadParameter("parquet is no text: name a file with --output")
    if find_spec("pyarrow") is None:
        raise typer.BadParameter("parquet needs pyarrow: pip install 'stockstream[parquet]'")


@app.command(
    epilog="Examples:\n\n"
    "[bold]stockstream token --user alice[/bold]  # a user, for an hour\n\n"
    "[bold]export STOCKSTREAM_TOKEN=$(stockstream token --user me --role user --role ops)[/bold]"
    "  # for [bold]stockstream watch[/bold]\n\n"
    "In earnest an identity provider does this: see docs/operations.md."
)
def token(
    *,
    user: Annotated[str, typer.Option(help="Name of the user.")],
    role: Annotated[
        list[UserRole] | None, typer.Option(help="What the user may do; can be given again.")
    ] = None,
    expires: Annotated[
        str, typer.Option(help="How long the token is good: 90s, 15m, 1h, 7d.")
    ] = "1h",
    config: _File = None,
) -> None:
    """Make a token for development, signed with JWT_SECRET, and print it.

    Issuer and audience are those of the settings.
    """
    settings = _settings({}, config)
    if settings.jwt_secret is None:
        raise _failed(ConfigError("JWT_SECRET", None, "it is what tokens are signed with here"))
    from stockstream.core.tokens import TokenRules, issue  # noqa: PLC0415

    rules = TokenRules(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        roles_claim=settings.jwt_roles_claim,
    )
    identity = Identity(
        user=user,
        roles=frozenset(role or [UserRole.USER]),
        expires_at=(int(time.time()) + _duration(expires)) * 1000,
    )
    try:
        typer.echo(issue(identity, settings.jwt_secret.get_secret_value(), rules))
    except RefusedError as error:
        raise _failed(error) from None
    except ValueError as error:
        raise _failed(ConfigError("JWT_SECRET", "***", str(error))) from None
