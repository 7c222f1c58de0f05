"""JSON as browsers accept it: no NaN, no Infinity, no endless nesting, in or out.

Has the functions that python-socketio wants of a JSON module.
"""

import json
import math
from typing import Any

import msgspec

from stockstream.engine.errors import EncodeError, PacketViolation

_decode = msgspec.json.Decoder().decode
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ascii_encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def dumps(value: object, **_options: object) -> str:
    """Return a value as JSON.

    Raises:
        EncodeError: it holds NaN, Infinity or something that JSON has no word for.
    """
    try:
        text = _encoder.encode(value)
        if not text.isascii() and _has_surrogate(text):
            # Half a character has no UTF-8; escaped, JavaScript gets exactly what was meant.
            text = _ascii_encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodeError(str(error)) from error
    return text


def loads(text: str | bytes, **_options: object) -> Any:
    """Return the value of a JSON text.

    Raises:
        PacketViolation: it is no JSON, or holds a number that JSON has no word for.
    """
    try:
        return _decode(text)
    except msgspec.DecodeError as error:
        if isinstance(text, str) and "\\ud" in text.lower():
            return _loads_surrogates(text)
        raise PacketViolation("malformed JSON") from error
    except RecursionError as error:
        raise PacketViolation("JSON is nested too deep") from error


def check_depth(value: object, most: int) -> None:
    """Refuse values that are nested deeper than so many levels, and numbers that are none.

    Raises:
        PacketViolation: the value is such.
    """
    level = [value]
    for _ in range(most + 1):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return
    raise PacketViolation("nested too deep")


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return [each for each in value.values() if isinstance(each, dict | list | tuple | float)]
    if isinstance(value, list | tuple):
        return [each for each in value if isinstance(each, dict | list | tuple | float)]
    if isinstance(value, float) and not math.isfinite(value):
        raise PacketViolation("not a number")
    return []


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _loads_surrogates(text: str) -> Any:
    # JavaScript may cut a string in the middle of a character, and says so as "\\ud83d".
    # msgspec refuses that, Node and the standard library take it.
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise PacketViolation("malformed JSON") from error


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
