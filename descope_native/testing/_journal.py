"""What the stand-in remembers of requests: enough to see what a client did, and no secret."""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from descope_native.testing._json import parse_object
from descope_native.transports import HttpRequest, HttpResponse

_MAX_RECORDS: Final = 1000
_MASK: Final = "[masked]"
_SECRET_LENGTH: Final = 32  # what is as long as a state is masked wherever it stands
_MAX_VALUE: Final = 200
_MAX_ITEMS: Final = 100
_HARMLESS_KEYS: Final = {"provider", "implicit"}
_HARMLESS_HEADERS: Final = {
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
    "x-descope-project-id",
    "x-descope-sdk-name",
    "x-descope-sdk-python-version",
    "x-descope-sdk-version",
}


@attrs.frozen(kw_only=True)
class Call:
    """One request as the stand-in saw it, everything masked that may be secret.

    Attributes:
        method: as sent; a long one is masked.
        path: as sent, without a query; long segments are masked.
        headers: pairs; of those that are shown, long words are masked.
        body: the JSON object that was sent, its values masked; None if it was no such thing.
        status: of the answer, also where the caller did not wait for it; None if the connection was dropped
            instead.
        error: the code and message of an error answer, else None.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: Mapping[str, Any] | None
    status: int | None
    error: str | None = None


def record(request: HttpRequest, answer: HttpResponse | None) -> Call:
    """The call, masked."""
    body = parse_object(request.body)
    headers = list(request.headers.items())[:_MAX_ITEMS]
    return Call(
        method=_name(request.method),
        path=_path(request),
        headers=tuple((_name(name), _header(name.lower(), value)) for name, value in headers),
        body=body and {_name(key): _value(key, value) for key, value in list(body.items())[:_MAX_ITEMS]},
        status=answer.status if answer else None,
        error=_error(answer),
    )


def append(records: list[Any], new: object) -> None:
    """Keep the newest."""
    records.append(new)
    del records[:-_MAX_RECORDS]


def access_line(request: HttpRequest, answer: HttpResponse | str, seconds: float) -> str:
    """The call in one line for a log: with its answer, or a word for why there was none."""
    outcome, error = (answer, None) if isinstance(answer, str) else (str(answer.status), _error(answer))
    parts = [_name(request.method), _path(request), outcome, f"{seconds * 1000:.1f} ms", error]
    return " ".join(filter(None, parts))


def _path(request: HttpRequest) -> str:
    return _text("/".join(map(_name, request.url.path.split("/"))))


def _name(text: str) -> str:
    return _MASK if len(text) >= _SECRET_LENGTH else _text(text)


def _header(name: str, value: str) -> str:
    if name not in _HARMLESS_HEADERS:
        return _MASK
    # That of a region is as long as a state, and no secret.
    words = [value] if name == "x-descope-project-id" else map(_name, value.split(" "))
    return _text(" ".join(words))


def _value(key: str, value: object) -> object:
    if key in _HARMLESS_KEYS and isinstance(value, bool):
        return value
    if key in _HARMLESS_KEYS and isinstance(value, str):
        return _name(value)
    return _MASK


def _text(text: str) -> str:
    """One line of a bounded length, whatever was sent."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:_MAX_VALUE])


def _error(answer: HttpResponse | None) -> str | None:
    if answer is None or answer.status < 400:
        return None
    error = parse_object(answer.body) or {}
    parts = [error.get("errorCode"), error.get("errorMessage")]
    return _text(" ".join(part for part in parts if isinstance(part, str))) or None
