"""Literal JSON in and out, and how the service says no."""

import json
from collections.abc import Iterable
from typing import Any, Final, cast

from descope_native.transports import HttpResponse

Json = dict[str, Any]

_MAX_DEPTH: Final = 64
_DESCRIPTIONS: Final = {
    "E011001": "Request is malformed",
    "E011002": "Request is missing required arguments",
    "E011003": "Request is invalid",
    "E011004": "Request has an invalid argument",
    "E061301": "Failed to exchange code",
    "E062504": "Token expired",
    "E111119": "Unauthorized",
}


class RefusedError(ValueError):
    """The service says no."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message

    def __str__(self) -> str:
        return self.message

    def as_response(self, *headers: tuple[str, str]) -> HttpResponse:
        """The error JSON."""
        error = {
            "errorCode": self.code,
            "errorDescription": _DESCRIPTIONS[self.code],
            "errorMessage": self.message,
        }
        return json_response(error, *headers, status=self.status)


def json_response(answer: Json, *headers: tuple[str, str], status: int = 200) -> HttpResponse:
    """An answer with a JSON body."""
    return HttpResponse(status, (("Content-Type", "application/json"), *headers), dump(answer))


def dump(value: object) -> bytes:
    """Compact, as the service sends it."""
    return json.dumps(value, separators=(",", ":")).encode()


def parse_object(body: bytes | str) -> Json | None:
    """A JSON object, or None if it is none or is nested too deeply to be handled."""
    try:
        value = as_object(json.loads(body, parse_constant=_no_constant))
    except (ValueError, RecursionError):
        return None
    return value if _is_shallow(value) else None


def _is_shallow(value: object) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return True
    return False


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("Json", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


def as_object(value: Any) -> Json | None:
    """The value if it is a JSON object."""
    return cast("Json", value) if isinstance(value, dict) else None


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not JSON


def read_object(body: bytes) -> Json:
    """The body of a request."""
    value = parse_object(body)
    if value is None:
        raise RefusedError(400, "E011001", "the body is not a JSON object")
    return value


def optional(body: Json, key: str, kind: type[Any] | tuple[type[Any], ...]) -> Any:
    """The value of a key that may be left out; null is not how, unless the kind says so."""
    value = body.get(key)
    if key in body and not isinstance(value, kind):
        raise RefusedError(400, "E011001", f"{key} has the wrong type")
    check_text(value, key)
    return value


def required(body: Json, key: str) -> str:
    """A string that may not be left out."""
    value: str = optional(body, key, str)
    if not value:
        raise RefusedError(400, "E011002", f"{key} is missing")
    return value


def check_text(value: object, where: str) -> None:
    """Refuse half a surrogate pair, which no token can hold."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RefusedError(400, "E011004", f"{where} holds text that cannot be encoded") from None


def merge(into: Json | None, fields: Json) -> Json:
    """The object with these fields set, objects within it merged likewise."""
    merged = {**(into or {}), **fields}
    for key, value in fields.items():
        if inner := as_object(value):
            merged[key] = merge(as_object((into or {}).get(key)), inner)
    return merged
