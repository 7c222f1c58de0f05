"""The names of everything of ours in Redis, all in one hash slot."""

from typing import Final

_PREFIX: Final = "stockstream:{q}"

#: Sorted set: node, scored with the time in ms at which its membership ends.
NODES: Final = f"{_PREFIX}:nodes"
#: Hash: node -> role of a member, and of those who have not been cleared away yet.
ROLES: Final = f"{_PREFIX}:roles"
#: Hash: partition -> "token node end_ms".
LEASES: Final = f"{_PREFIX}:leases"
#: The last fencing token that was given.
TOKEN: Final = f"{_PREFIX}:token"
#: The offset of the last update.
OFFSET: Final = f"{_PREFIX}:offset"
#: An offset after which nothing was lost by Redis as a whole.
ORIGIN: Final = f"{_PREFIX}:origin"
#: Hash: node -> version of its demand.
DEMAND_VERSIONS: Final = f"{_PREFIX}:demand"

#: What private ids are made with, and the name of the one order: "order secret".
RECOVERY: Final = f"{_PREFIX}:recovery"


#: Channel that python-socketio's managers speak on, of our nodes and of other programs. It is not
#: ours to name, and the only one outside of our hash slot.
ROOMS: Final = "socketio"


def session(sid: str) -> str:
    """The session of a client: "node guard record"."""
    return f"{_PREFIX}:session:{sid}"


def state(symbol: str) -> str:
    """The current value of a symbol and where its numbers stand, in one string (commit.lua)."""
    return f"{_PREFIX}:state:{symbol}"


def log(symbol: str) -> str:
    """Sorted set of a symbol's last updates: "offset payload", scored with the offset."""
    return f"{_PREFIX}:log:{symbol}"


def demand(node: str) -> str:
    """Set: the symbols that the node's clients want."""
    return f"{_PREFIX}:demand:{node}"


def value(symbol: str) -> str:
    """The documented current value of a symbol (section 4.1)."""
    return f"stock:{symbol}:current"


def history(symbol: str) -> str:
    """The documented sorted set of a symbol's last updates (section 4.1)."""
    return f"stock:{symbol}:timeseries"


class Channels:
    """Names of channels. They carry the database's number, since Redis has one set for all.

    Args:
        db: number of the database that the keys are in.
    """

    def __init__(self, db: int) -> None:
        prefix = f"{_PREFIX}:{db}" if db else _PREFIX
        #: Followed by a symbol: its updates.
        self.quotes_prefix = f"{prefix}:quotes:"
        #: Changes of demand.
        self.demand = f"{prefix}:demand"
        #: Word that members or leases have changed.
        self.members = f"{prefix}:members"
        #: New versions of users' documents.
        self.documents = f"{prefix}:documents"
        #: Followed by a node: sessions that another node has taken over from it.
        self.sessions_prefix = f"{prefix}:sessions:"
        self._canary_prefix = f"{prefix}:canary:"

    def quotes(self, symbol: str) -> str:
        """Updates of the symbol, a line each: "offset payload"."""
        return self.quotes_prefix + symbol

    def canary(self, node: str) -> str:
        """What the node sends to itself: the offset of the last update."""
        return self._canary_prefix + node
