"""Times of leases in tests: as in production, but shorter."""

from typing import Final

#: Seconds that membership and leases last.
TTL: Final = 0.8
#: Seconds between two renewals.
INTERVAL: Final = 0.1
