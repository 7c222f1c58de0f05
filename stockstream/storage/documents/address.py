"""Where documents are kept."""

import re
from collections.abc import Mapping
from pathlib import Path


def check_database_url(text: str) -> str:
    """Return the URL of a database.

    Raises:
        ValueError: it is none that is understood.
    """
    if not re.match(r"(sqlite:///.|postgres(ql)?://)", text):
        # Its own words may repeat a password.
        raise ValueError("must be sqlite:///path or postgresql://user:password@host/name")
    return text


def default_database(environment: Mapping[str, str], name: str = "stockstream.db") -> str:
    """Return the URL of a file among what is kept for this user."""
    return f"sqlite:///{_state_directory(environment) / name}"


def _state_directory(environment: Mapping[str, str]) -> Path:
    # systemd makes one for a service, where it was asked to.
    if given := environment.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    if given := environment.get("XDG_STATE_HOME"):
        return Path(given) / "stockstream"
    try:
        return Path.home() / ".local/state/stockstream"
    except RuntimeError:
        # A user without a home: a container's.
        return Path("/var/lib/stockstream")
