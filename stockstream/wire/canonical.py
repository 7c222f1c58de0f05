"""JSON in the one form that everybody writes alike (RFC 8785), and its checksum.

A browser gets the same text for the same value, so both sides can compare documents by checksum:
keys in the order of their UTF-16 code units, no blanks, numbers and strings as JavaScript writes
them. As in JavaScript, every number is a double.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from json.encoder import JSONEncoder, encode_basestring
from typing import Any, Final

import msgspec

from stockstream.errors import InvalidPayloadError

#: Levels of nesting that are taken.
MAX_DEPTH: Final = 64
#: Above it not every whole number is a double.
_EXACT: Final = 2**53
_WORDS: Final = {True: "true", False: "false", None: "null"}

_WORDS_ALONE: Final = frozenset({str, bool, type(None)})
#: Between these Python writes the digits of a number that is not whole as JavaScript does.
_SMALLEST: Final = 1e-4
_LARGEST: Final = 1e16
#: The last character that UTF-16 has in one piece.
_LAST_WHOLE: Final = "\uffff"

_decode = msgspec.json.Decoder().decode
_encode = JSONEncoder(
    ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")
).encode


def canonical(value: Any, field: str = "data") -> str:
    """Return a value as canonical JSON.

    Args:
        value: what JSON can say; numbers are finite.
        field: what it is called where it is refused.

    Raises:
        InvalidPayloadError: JSON has no word for it, or it is nested too deeply.
    """
    try:
        text = _quickly(value) or "".join(_write(value, MAX_DEPTH))
        # Half a character has no UTF-8.
        text.encode()
    except _Unspeakable as error:
        raise InvalidPayloadError(f"{field}: {error}") from None
    except UnicodeEncodeError:
        raise InvalidPayloadError(f"{field}: a string ends within a character") from None
    return text


def checksum(text: str) -> str:
    """Return the checksum of canonical JSON, as documents carry it."""
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def parse(text: str) -> Any:
    """Return the value that canonical JSON stands for."""
    return _decode(text)


class _Unspeakable(Exception):
    """What JSON has no word for."""


def _quickly(value: Any) -> str | None:
    """Return what Python's own encoder writes; None where JavaScript might differ."""
    if not _is_plain((value,), MAX_DEPTH + 1):
        return None
    text = _encode(value)
    # Other orders differ only where UTF-16 needs two pieces for a character.
    return text if text.isascii() or max(text) <= _LAST_WHOLE else None


def _is_plain(values: Iterable[Any], levels: int) -> bool:
    """Return whether both languages write these values alike, but for the order of names."""
    if not levels:
        return False
    for each in values:
        kind = type(each)
        if kind in _WORDS_ALONE:
            continue
        if kind is int:
            plain = -_EXACT <= each <= _EXACT
        elif kind is float:
            plain = _SMALLEST <= abs(each) < _LARGEST and not each.is_integer()
        elif kind is dict:
            plain = all(type(key) is str for key in each) and _is_plain(each.values(), levels - 1)
        else:
            plain = kind is list and _is_plain(each, levels - 1)
        if not plain:
            return False
    return True


def _write(value: Any, levels: int) -> Iterator[str]:
    if isinstance(value, str):
        yield encode_basestring(value)
    elif value is None or isinstance(value, bool):
        yield _WORDS[value]
    elif isinstance(value, int | float):
        yield _number(value)
    elif isinstance(value, dict | list | tuple):
        if not levels:
            raise _Unspeakable(f"nested deeper than {MAX_DEPTH} levels")
        yield from (
            _object(value, levels - 1) if isinstance(value, dict) else _array(value, levels - 1)
        )
    else:
        raise _Unspeakable(f"JSON has no {type(value).__name__}")


def _object(value: dict[Any, Any], levels: int) -> Iterator[str]:
    separator = "{"
    for key in _in_order(value):
        yield f"{separator}{encode_basestring(key)}:"
        yield from _write(value[key], levels)
        separator = ","
    yield "{}" if separator == "{" else "}"


def _array(value: list[Any] | tuple[Any, ...], levels: int) -> Iterator[str]:
    separator = "["
    for each in value:
        yield separator
        yield from _write(each, levels)
        separator = ","
    yield "[]" if separator == "[" else "]"


def _in_order(value: dict[Any, Any]) -> list[str]:
    if not all(isinstance(key, str) for key in value):
        raise _Unspeakable("names of fields must be strings")
    if all(key.isascii() for key in value):
        return sorted(value)
    return sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))


def _number(value: float) -> str:
    if isinstance(value, int) and -_EXACT <= value <= _EXACT:
        return str(value)
    try:
        text = repr(float(value))
    except OverflowError:
        raise _Unspeakable("a number is too large") from None
    mantissa, _, exponent_text = text.partition("e")
    if not exponent_text:
        if not mantissa[-1].isdecimal():
            raise _Unspeakable(f"JSON has no {mantissa}")
        return "0" if value == 0 else mantissa.removesuffix(".0")
    # From here on Python and JavaScript differ in when they write an exponent, and how.
    exponent = int(exponent_text)
    sign = "-" if mantissa.startswith("-") else ""
    digits = mantissa.lstrip("-").replace(".", "")
    if 0 < exponent < 21:
        return sign + digits.ljust(exponent + 1, "0")
    if -7 < exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    return f"{mantissa.removesuffix('.0')}e{exponent:+d}"
