"""JSON in and out: strictly first, then leniently, since an answer may carry a session that was paid for."""

import json
import math
import re
import threading
from itertools import accumulate
from typing import Any, Final, cast

import attrs

from descope_native.converters import replace_half_pairs
from descope_native.models import Drift, refuse_constant

_MAX_NESTING: Final = 4000
"""How deep an answer may nest in a thread, whose stack may be of 512 KiB. Python's JSON parser takes 100
bytes of it for each level, and some versions end the process where there are no more."""

_NO_BRACKETS: Final = bytes(octet for octet in range(256) if octet not in b"[]{}")
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # one level down; as a signed char, one up


def _integer_or_infinity(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return math.inf


encode_json: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_read_json: Final = json.JSONDecoder(parse_constant=refuse_constant).raw_decode
_read_json_of_any_size: Final = json.JSONDecoder(
    parse_constant=refuse_constant, parse_int=_integer_or_infinity
).raw_decode


def _may_be_on_a_small_stack() -> bool:
    return threading.current_thread() is not threading.main_thread()


def _nests_too_deep(body: bytes) -> bool:
    if body.count(b"[") + body.count(b"{") <= _MAX_NESTING:
        return False
    outside_strings = body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2]
    steps = b"".join(outside_strings).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > _MAX_NESTING


def decode_json(body: bytes) -> Any:
    """One JSON value in UTF-8. Raises ValueError or RecursionError."""
    if len(body) > _MAX_NESTING and _may_be_on_a_small_stack() and _nests_too_deep(body):
        raise RecursionError
    text = body.decode().strip(" \t\n\r")
    try:
        value, end = _read_json(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python makes no number of more than 4,300 digits; to JSON it is one
        value, end = _read_json_of_any_size(text)
    if end != len(text):
        raise ValueError
    return value


def _decode_leniently(body: bytes) -> tuple[Any, list[Drift]]:
    """A JSON value that `decode_json` refuses but whose meaning is plain, and what was odd about it.

    A token never profits: one with a replaced or a control character is no token. Raises ValueError or
    RecursionError.
    """
    drift: list[Drift] = []

    def read_constant(name: str) -> float:
        drift.append(Drift("body", "JSON", name))
        return float(name)

    encoding = json.detect_encoding(body).removesuffix("-sig")
    if encoding != "utf-8":
        drift.append(Drift("body", "UTF-8", encoding.upper()))
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        text = body.decode(encoding, "replace")
        drift.append(Drift("body", encoding.upper(), "other bytes"))
    text = text.strip(" \t\n\r")
    if text[:1] == "\ufeff":
        text = text.lstrip(" \t\n\r\ufeff")
        drift.append(Drift("body", "UTF-8", "a byte order mark"))
    if len(text) > _MAX_NESTING and _may_be_on_a_small_stack() and _nests_too_deep(text.encode()):
        raise RecursionError
    numbers: dict[str, Any] = {"parse_constant": read_constant, "parse_int": _integer_or_infinity}
    try:
        value, end = json.JSONDecoder(**numbers).raw_decode(text)
    except json.JSONDecodeError:
        value, end = json.JSONDecoder(strict=False, **numbers).raw_decode(text)
        drift.append(Drift("body", "JSON", "control characters"))
    if end != len(text):
        raise ValueError
    return value, list(dict.fromkeys(drift))


_BACKSLASH: Final = ord("\\")
_HALF_PAIR_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def decode_answer(body: bytes, cls: type[attrs.AttrsInstance]) -> tuple[Any, list[Drift]]:
    """Strictly first, so that an answer as documented pays nothing. Raises as `decode_json` does."""
    drift: list[Drift] = []
    try:
        answer: Any = decode_json(body)
    except ValueError:
        answer, drift = _decode_leniently(body)
        body = body.replace(b"\0", b"")  # it may have been UTF-16
    if _BACKSLASH in body and _HALF_PAIR_ESCAPE.search(body) and type(answer) is dict:
        replaced, half_pairs = replace_half_pairs(cls, cast("dict[str, Any]", answer))
        return replaced, [*drift, *half_pairs]
    return answer, drift
