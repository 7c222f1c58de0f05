"""What is known of an instrument beside its prices."""

from typing import Annotated

import msgspec
from msgspec import Meta


class Reference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reference data of one symbol; what is unknown is None."""

    #: As people call it, in any script: 삼성전자.
    name: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    #: Of the price: KRW, or GBp for pence.
    currency: Annotated[str, Meta(pattern=r"^[A-Za-z0-9]{2,10}$")] | None = None
    #: Where it is traded: KRX, XKRX.
    exchange: Annotated[str, Meta(min_length=1, max_length=50)] | None = None
    #: Last price of the trading day before the first one that is seen here.
    previous_close: Annotated[float, Meta(ge=1e-12, le=1e15)] | None = None
