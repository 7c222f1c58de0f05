"""The cookie with the session id, for load balancers that stick clients to servers by it."""

from typing import Any


def session_cookie(setting: str | dict[str, Any] | None, sid: str) -> dict[str, str]:
    """Return the header of the cookie.

    Args:
        setting: None for none, its name, or a dict with `name` and its attributes, each a
            string, a boolean or a callable that returns one.
        sid: Session id.
    """
    if setting is None:
        return {}
    if isinstance(setting, str):
        setting = {"name": setting, "path": "/", "SameSite": "Lax"}
    parts = [f"{setting.get('name', 'io')}={sid}"]
    for attribute, given in setting.items():
        value = given() if callable(given) else given
        if attribute == "name" or value is False:
            continue
        parts.append(attribute if value is True else f"{attribute}={value}")
    return {"Set-Cookie": "; ".join(parts)}
