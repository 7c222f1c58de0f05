"""The sessions of exchanges, from ``exchange_calendars``.

That library and what it stands on take a second to import and 80 MB: a process of its own does it,
once for each calendar, and prints plain numbers.
"""

import asyncio
import contextlib
import sys
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from stockstream.core.spans import SessionDays
from stockstream.errors import ConfigError, UnavailableError

#: Seconds that the other process may take.
_TIMEOUT: Final = 60.0
#: Older days are those of UTC.
_FIRST_YEAR: Final = "1990-01-01"
_AHEAD: Final = timedelta(days=400)
_UNKNOWN: Final = 3


class _Printed(msgspec.Struct):
    dates: list[int]
    closes: list[int]


async def load_sessions(calendar: str) -> SessionDays:
    """Return the trading days of a calendar of that name, from 1990 to a year from now.

    Cancelling ends the other process.

    Raises:
        ConfigError: there is no such calendar.
        UnavailableError: it can't be computed now.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "ignore", "-m", __name__, calendar),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            printed, complaint = await process.communicate()
    except TimeoutError:
        raise UnavailableError(f"no trading days of {calendar} in {_TIMEOUT:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode == _UNKNOWN:
        raise ConfigError("CALENDARS", calendar, "must be a calendar of exchange_calendars")
    if process.returncode != 0:
        reason = complaint.decode(errors="replace").strip().rpartition("\n")[2]
        raise UnavailableError(f"no trading days of {calendar}: {reason[:200]}")
    sessions = msgspec.json.decode(printed, type=_Printed)
    return SessionDays(sessions.dates, sessions.closes)


def _compute(name: str) -> _Printed:
    # Only in the process that is made for it.
    from exchange_calendars import errors, get_calendar  # noqa: PLC0415

    end = (datetime.now(UTC) + _AHEAD).date().isoformat()
    try:
        calendar = get_calendar(name, start=_FIRST_YEAR, end=end)
    except errors.InvalidCalendarName:
        sys.exit(_UNKNOWN)
    except ValueError:
        # It does not reach that far back, or ahead: take what there is.
        calendar = get_calendar(name)
    return _Printed(
        dates=[session.value // 1_000_000 for session in calendar.sessions],
        closes=[close.value // 1_000_000 for close in calendar.closes],
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_compute(sys.argv[1])))
