"""Who a client is, and what it may do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class UserRole(StrEnum):
    """What somebody may do beside watching prices."""

    #: Owns documents: watchlists, alerts, drawings.
    USER = "user"
    #: Sees measurements, alerts and statistics of the service.
    OPS = "ops"
    #: Brings quotes in.
    FEED = "feed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user, as a token told or as the settings have it."""

    #: Stable name of the user; documents belong to it.
    user: str
    roles: frozenset[UserRole]
    #: When its token expires, in ms since the epoch; None: it never does.
    expires_at: int | None = None

    def may(self, role: UserRole | None) -> bool:
        """Return whether it has a role; everybody has None."""
        return role is None or role in self.roles


#: The one user of a server that asks nobody who he is.
LOCAL_USER: Final = Identity(user="local", roles=frozenset(UserRole))
