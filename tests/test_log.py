import json
import subprocess
import sys

# Logging belongs to the whole process: each case has a process of its own.
_PROGRAM = """
import logging, structlog
from stockstream.config import LogFormat, LogLevel
from stockstream.log import configure_logging

configure_logging(LogLevel({level!r}), LogFormat({form!r}))
log = structlog.get_logger("stockstream.part")
{program}
"""


def logged(program: str, *, level: str = "info", form: str = "json") -> str:
    """Return what a program writes to stderr."""
    code = _PROGRAM.format(level=level, form=form, program=program)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == ""
    return done.stderr


def test_each_line_is_an_object_that_says_when_where_and_what() -> None:
    (line,) = logged("log.info('listening', url='http://x', port=8000)").splitlines()
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "listening",
        "level": "info",
        "logger": "stockstream.part",
        "url": "http://x",
        "port": 8000,
    }


def test_lines_below_the_level_are_left_out() -> None:
    program = "log.debug('a'); log.info('b'); log.warning('c'); log.error('d')"
    lines = logged(program, level="warning").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["c", "d"]


def test_what_is_bound_is_in_every_line_of_the_block() -> None:
    program = """
with structlog.contextvars.bound_contextvars(client="c1"):
    log.info("within")
    logging.getLogger("library").warning("within a library")
log.info("after")
"""
    entries = [json.loads(line) for line in logged(program).splitlines()]
    assert [entry.get("client") for entry in entries] == ["c1", "c1", None]


def test_lines_of_other_libraries_have_the_same_shape() -> None:
    (line,) = logged("logging.getLogger('aiohttp.server').warning('%s of %s', 1, 2)").splitlines()
    entry = json.loads(line)
    assert entry["event"] == "1 of 2"
    assert (entry["level"], entry["logger"]) == ("warning", "aiohttp.server")


def test_a_traceback_stays_in_its_line() -> None:
    program = """
try:
    1 / 0
except ZeroDivisionError:
    log.exception("crashed")
"""
    (line,) = logged(program).splitlines()
    entry = json.loads(line)
    assert entry["event"] == "crashed"
    assert entry["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_what_json_has_no_word_for_is_still_logged() -> None:
    (line,) = logged("log.info('odd', what=object, how={1, 2})").splitlines()
    assert "object" in json.loads(line)["what"]


def test_console_lines_are_for_people() -> None:
    text = logged("log.info('listening', port=8000)", form="console")
    assert "listening" in text
    assert "port" in text
    assert not text.lstrip().startswith("{")


def test_auto_is_json_where_there_is_no_terminal() -> None:
    (line,) = logged("log.info('listening')", form="auto").splitlines()
    assert json.loads(line)["event"] == "listening"


def test_a_line_goes_where_sys_stderr_leads_at_the_moment() -> None:
    # A progress line puts itself there to make room for others.
    program = "import io, sys; sys.stderr = room = io.StringIO(); log.info('listening')\n"
    assert logged(program) == ""
    (line,) = logged(program + "sys.__stderr__.write(room.getvalue())").splitlines()
    assert json.loads(line)["event"] == "listening"


def test_requests_that_are_no_http_leave_no_traceback() -> None:
    program = """
from aiohttp.http_exceptions import BadHttpMessage
server = logging.getLogger("aiohttp.server")
server.error("Error handling request", exc_info=BadHttpMessage("Invalid header value char"))
server.error("Error handling request", exc_info=ValueError("ours"))
"""
    (line,) = logged(program).splitlines()
    assert "ours" in line
