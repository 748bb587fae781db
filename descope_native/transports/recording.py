"""A file instead of a network: what goes over a transport is recorded without its secrets, and played again.

A recording has one line of JSON for each call:

    version     of this form, 1
    operation   the path, from ``/v1/`` on
    provider    of the request, or null
    proof       ``code``, ``idToken`` or null
    request     its body, redacted
    answer      ``status``, ``headers`` and ``body``, redacted; ``bytes`` instead of a body that is not JSON
    failure     instead of an answer: ``error``, ``phase`` and what else that error says

What is shown is chosen, not what is hidden: a value stands in the file only if its key is in the tables
below, and it has the form that the table wants. All else becomes a value of the same JSON type.
"""

import base64
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from descope_native.errors import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    InvalidRequestError,
    RequestTimeout,
    TLSError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)
from descope_native.transports import HttpRequest, HttpResponse, Transport
from descope_native.transports._lifecycle import MAX_BODY
from descope_native.transports.memory import InMemoryTransport

__all__ = ["RecordingTransport", "ReplayTransport"]

_log: Final = logging.getLogger("descope_native")

_VERSION: Final = 1
_HIDDEN: Final = "[redacted]"

# What a key may show. A key that is not here shows nothing, and neither does a value of another form.
_FLAGS: Final = (
    *("firstSeen", "unsavedSSO", "implicit", "verifiedEmail", "verifiedPhone", "test", "TOTP", "SAML"),
    *("webauthn", "password", "editable", "SCIM", "OIDC", "push", "verifiedRecoveryEmail"),
    *("verifiedRecoveryPhone", "stepup", "mfa", "revokeOtherSessions"),
)
_NUMBERS: Final = (
    *("cookieMaxAge", "cookieExpiration", "sessionExpiration", "nextRefreshSeconds", "createdTime"),
    *("modifiedTime", "consentExpiration", "exp", "iat", "nbf"),
)
_TOKENS: Final = (
    *("sessionJwt", "refreshJwt", "externalToken", "trustedDeviceJwt", "knownDeviceJwt", "idToken"),
)
_WORDS: Final[Mapping[str, re.Pattern[str]]] = {
    "cookieName": re.compile(r"[A-Za-z_-]{1,32}"),
    "sessionCookieName": re.compile(r"[A-Za-z_-]{1,32}"),
    "cookiePath": re.compile(r"/"),
    "errorCode": re.compile(r"E[0-9]{6}"),
    "status": re.compile(r"enabled|disabled|invited"),
    "provider": re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}"),
    "drn": re.compile(r"DSR?"),
    "alg": re.compile(r"none|[A-Z]{2}[0-9]{3}"),
    "typ": re.compile(r"JWT"),
}
_OBJECTS: Final = ("user", "idpResponse", "userTenants")
"""What has keys of the contract in it. The keys of all other objects are numbered: they may be people's."""

_DATE: Final = r"[A-Z][a-z]{2}, [0-9]{2}[ -][A-Z][a-z]{2}[ -][0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
_HEADERS: Final[Mapping[str, re.Pattern[str]]] = {
    "content-type": re.compile(
        r"(application/(problem\+)?json|text/(plain|html))(; ?charset=utf-8)?", re.IGNORECASE
    ),
    "content-encoding": re.compile(r"identity|gzip|br|deflate|zstd"),
    "retry-after": re.compile(rf"[0-9]{{1,6}}(\.[0-9]{{1,3}})?|{_DATE}"),
    "date": re.compile(_DATE),
}
_COOKIE_ATTRIBUTES: Final[Mapping[str, re.Pattern[str]]] = {
    "path": re.compile(r"/"),
    "expires": re.compile(_DATE),
    "max-age": re.compile(r"-?[0-9]{1,10}"),
    "httponly": re.compile(r""),
    "secure": re.compile(r""),
    "samesite": re.compile(r"none|lax|strict", re.IGNORECASE),
}

_NAME: Final = re.compile(r"[A-Za-z_-]{1,40}")
_COOKIE_OCTETS: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,16384}")  # RFC 6265 §4.1.1


class RecordingTransport:
    """Passes requests on to another transport, and writes down what came of them, without the secrets.

    Values are shown where the contract says that they name nobody: flags, times, names of cookies, error
    codes, the provider. A token is replaced by one of the same form, with the claims that name nobody
    and another signature. Everything else becomes ``"[redacted]"``, 0 or false, also under keys that the
    contract does not know, and the keys of customers' own objects are numbered. A cancelled call is not
    recorded.

    No call fails because it could not be written down; that is logged.

    Args:
        inner: what carries the requests. Whoever opened it closes it.
        file: lines are added to it. A new one is made for its owner's eyes only.
        show: keys whose values are shown as they are, wherever they stand.

    Raises:
        InvalidRequestError: the file cannot be written.
    """

    def __init__(self, inner: Transport, file: str | Path, *, show: Iterable[str] = ()) -> None:
        self._inner = inner
        self._file = Path(file)
        self._show = frozenset(show)
        try:
            self._append("")
        except OSError as error:
            raise InvalidRequestError(f"the recording cannot be written ({error.strerror})") from None

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """See `descope_native.Transport`."""
        try:
            answer = await self._inner.send(request)
        except DescopeNativeError as error:
            self._record(request, error)
            raise
        self._record(request, answer)
        return answer

    def _record(self, request: HttpRequest, end: HttpResponse | DescopeNativeError) -> None:
        try:
            redactor = _Redactor(request, self._show)
            entry = {"version": _VERSION, **_asked(request, redactor)}
            entry["request"] = redactor.body(request.body)
            if isinstance(end, HttpResponse):
                headers = [redactor.header(name, value) for name, value in end.headers]
                entry["answer"] = {"status": end.status, "headers": headers, **redactor.body(end.body)}
            else:
                entry["failure"] = _describe(end, request)
            self._append(json.dumps(entry) + "\n")
        except Exception as error:  # noqa: BLE001 -- no recording is worth a session
            _log.warning("a call could not be recorded (%s)", type(error).__name__)

    def _append(self, text: str) -> None:
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with open(descriptor, "a", encoding="utf-8") as file:  # noqa: PTH123 -- a path has no say in the mode
            file.write(text)


class ReplayTransport:
    """Plays a recording: the same answers and failures, without a network.

    Each line is played once, in order, to a request with the same operation, provider and kind of proof.
    What was not recorded, or has been played already, is an `InvalidRequestError` that names what
    differs. Otherwise it is as `InMemoryTransport`.

    Args:
        file: what a `RecordingTransport` has written.

    Raises:
        InvalidRequestError: the file cannot be read, or is no recording.
    """

    def __init__(self, file: str | Path) -> None:
        self._left = _read(Path(file))
        self._transport = InMemoryTransport(self._play)

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """See `descope_native.Transport`."""
        return await self._transport.send(request)

    async def close(self) -> None:
        """Refuse new calls. Closing twice is the same as once."""
        await self._transport.close()

    def _play(self, request: HttpRequest) -> HttpResponse:
        asked = _asked(request, _Redactor(request, frozenset()))
        for entry in self._left:
            if asked.items() <= entry.items():
                self._left.remove(entry)
                return _answer_in(entry, request)
        left = "; ".join(_in_words(entry) for entry in self._left) or "nothing"
        raise InvalidRequestError(f"this was not recorded: {_in_words(asked)}. What is left is: {left}")


def _asked(request: HttpRequest, redactor: "_Redactor") -> dict[str, Any]:
    """What a request is told by."""
    _, found, rest = request.url.raw_path.rpartition("/v1/")
    body = redactor.request
    return {
        "operation": f"{found}{rest}" if found else "other",
        "provider": redactor.shown("provider", body["provider"]) if "provider" in body else None,
        "proof": next((proof for proof in ("code", "idToken") if proof in body), None),
    }


def _in_words(asked: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {asked[name]}" for name in ("operation", "provider", "proof"))


# --- what is shown


class _Redactor:
    """Makes values fit to be shown, of one request and of what came of it."""

    def __init__(self, request: HttpRequest, show: frozenset[str]) -> None:
        body = _decoded(request.body)
        self.request: dict[str, Any] = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        self._show = show
        # A service may quote what it was sent. The provider is no secret.
        sent = [value for key, value in self.request.items() if key != "provider"]
        self._sent = [text for text in _texts_in(sent) if text]

    def body(self, data: bytes) -> dict[str, Any]:
        """What is shown of a body: nothing of an empty one, and of one that is not JSON its length."""
        if not data:
            return {}
        try:
            value = json.loads(data)
            return {"body": self._value(value)}
        except (ValueError, RecursionError):
            return {"bytes": len(data)}

    def shown(self, key: str, value: Any) -> Any:  # noqa: PLR0911 -- one return for each kind of key
        """What is shown of the value under a key of the contract, or of a token."""
        if key in self._show:
            return value
        if key in _FLAGS and isinstance(value, bool):
            return value
        if key in _NUMBERS and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
            return value
        if key in _TOKENS and isinstance(value, str):
            return self.token(value)
        if key == "provider" and value != self.request.get("provider"):  # a request's, and no answer's
            return self._hidden(value)
        if key in _WORDS and isinstance(value, str) and self._may_show(_WORDS[key], value):
            return value
        if key in _OBJECTS:
            return self._value(value)
        return self._hidden(value)

    def _value(self, value: Any) -> Any:
        """An object by its keys, and a list by its items."""
        if isinstance(value, list):
            return [self._value(item) for item in cast("list[object]", value)]
        if isinstance(value, dict):
            items = enumerate(cast("dict[str, Any]", value).items(), 1)
            return {self._name(key, number): self.shown(key, item) for number, (key, item) in items}
        return self._hidden(value)

    def _name(self, key: str, number: int) -> str:
        return key if key in self._show or self._may_show(_NAME, key) else f"key{number}"

    def _hidden(self, value: Any) -> Any:
        """Another value of the same JSON type. An empty one says no more than that nothing was there."""
        match value:
            case str():
                return _HIDDEN if value else ""
            case bool():
                return False
            case int() | float():
                return type(value)(0)
            case list():
                return [self._hidden(item) for item in cast("list[object]", value)]
            case dict():
                items = enumerate(cast("dict[str, Any]", value).items(), 1)
                return {
                    key if key in self._show else f"key{number}": item
                    if key in self._show
                    else self._hidden(item)
                    for number, (key, item) in items
                }
            case _:
                return None

    def _may_show(self, form: re.Pattern[str], text: str) -> bool:
        """Whether it has this form, and is nothing that was sent."""
        # Short texts stand in long ones, and names in words, by chance.
        return form.fullmatch(text) is not None and not any(
            text == sent or (len(text) > 5 and text in sent) or (len(sent) > 3 and sent in text)
            for sent in self._sent
        )

    def token(self, token: str) -> str:
        """One of the same form: a JWT with the claims that name nobody, or else a word."""
        if not token:
            return ""
        if not _COOKIE_OCTETS.fullmatch(token):
            return f"{_HIDDEN}, which is no token"
        parts = token.split(".")
        if len(parts) != 3:
            return "redacted"
        head, claims = (self._value(_decoded(_unarmoured(part)) or {}) for part in parts[:2])
        signature = "cmVkYWN0ZWQ" * (len(parts[2]) // 11 + 1)
        return f"{_armoured(head)}.{_armoured(claims)}.{signature[: len(parts[2])]}"

    # --- headers

    def header(self, name: str, value: str) -> list[str]:
        """Name and value as they are shown."""
        lower = name.lower()
        if not self._may_show(_NAME, name):
            return ["x-redacted", "redacted"]
        if lower == "set-cookie":
            return [name, self._cookie(value)]
        if lower == "location":
            return [name, "https://redacted.example/"]
        form = _HEADERS.get(lower)
        return [name, value if form is not None and self._may_show(form, value) else "redacted"]

    def _cookie(self, line: str) -> str:
        pair, *attributes = line.split(";")
        name, _, value = pair.partition("=")
        name = name.strip()
        name = name if self._may_show(_WORDS["cookieName"], name) else "redacted"
        shown = [f"{name}={self.token(value.strip().strip(chr(34)))}"]
        for attribute in attributes:
            key, _, value = (part.strip() for part in attribute.partition("="))
            form = _COOKIE_ATTRIBUTES.get(key.lower())
            if form is not None and form.fullmatch(value):
                shown.append(f"{key}={value}" if value else key)
        return "; ".join(shown)


def _decoded(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _texts_in(value: object) -> Iterator[str]:
    """All texts in a request, those in JSON within JSON as well."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, str):
            yield each
            if each.startswith("{"):
                pending.append(_decoded(each.encode(errors="replace")))
        elif isinstance(each, dict):
            pending += cast("dict[str, object]", each).values()
        elif isinstance(each, list):
            pending += cast("list[object]", each)


def _armoured(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _unarmoured(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        return b""


# --- failures

_AS_RECORDED: Final = "as recorded"

_PLAYED: Final[Mapping[str, Callable[[dict[str, Any]], DescopeNativeError]]] = {
    "ConnectError": lambda said: ConnectError(said["reason"], _AS_RECORDED, said["safe_to_retry"]),
    "TLSError": lambda _: TLSError(_AS_RECORDED),
    "RequestTimeout": lambda said: RequestTimeout(said["phase"], said["seconds"]),
    "ConnectionLost": lambda said: ConnectionLost(said["phase"], _AS_RECORDED),
    "TransportClosed": lambda said: TransportClosed(said["phase"], _AS_RECORDED),
    "TransportError": lambda said: TransportError(said["phase"], _AS_RECORDED),
    "UnexpectedResponse": lambda said: UnexpectedResponse(said["status"], _AS_RECORDED),
}


def _describe(error: DescopeNativeError, request: HttpRequest) -> dict[str, Any]:
    """What an error says, without its text, which is the transport's own."""
    name = type(error).__name__
    said: dict[str, Any] = {"error": name if name in _PLAYED else "TransportError"}
    said["phase"] = error.phase if isinstance(error, TransportError) else request.progress.phase
    for fact in ("reason", "safe_to_retry", "seconds", "status"):
        if hasattr(error, fact):
            said[fact] = getattr(error, fact)
    return said


# --- reading


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InvalidRequestError("the recording cannot be read") from None
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            _check(entry)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InvalidRequestError(
                f"line {number} of the recording is none of version {_VERSION}"
            ) from None
        entries.append(entry)
    return entries


def _check(entry: dict[str, Any]) -> None:
    """Whether it can be played, so that a file is refused before a test relies on it."""
    if entry["version"] != _VERSION:
        raise ValueError
    _in_words(entry)
    _end_of(entry)


def _end_of(entry: dict[str, Any]) -> HttpResponse | DescopeNativeError:
    if failure := entry.get("failure"):
        return _PLAYED[failure["error"]](failure)
    answer = entry["answer"]
    status, headers, size = answer["status"], answer["headers"], answer.get("bytes", 0)
    if not (isinstance(status, int) and isinstance(size, int) and 0 <= size <= MAX_BODY):
        raise ValueError
    if not all(isinstance(text, str) for header in headers for text in header):
        raise ValueError
    body = json.dumps(answer["body"]).encode() if "body" in answer else b"?" * size
    return HttpResponse(status, tuple((name, value) for name, value in headers), body)


def _answer_in(entry: dict[str, Any], request: HttpRequest) -> HttpResponse:
    end = _end_of(entry)
    if isinstance(end, HttpResponse):
        return end
    request.progress.phase = entry["failure"]["phase"]
    raise end
