"""A file instead of a network: what goes over a transport is recorded without its secrets, and played again.

A recording has one line of JSON for each call:

    version     of this form, 1
    operation   the path, from ``/v1/`` on
    provider    of the request: a well-known one by its name, another one as ``custom-`` and four digits
                of its hash; or null
    proof       ``code``, ``idToken`` or null
    request     its body, redacted
    answer      ``status``, ``headers`` and ``body``, redacted; ``bytes`` instead of a body that is not JSON
    failure     instead of an answer: ``error``, ``phase`` and what else that error says

What is shown is chosen, not what is hidden: a value stands in the file only if its key is in the table
of its object below, it has the form that the table wants, and it is nothing that was sent. All else
becomes a value of the same JSON type, and a key that is in no table a number.
"""

import base64
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast, get_args

from descope_native._providers import WELL_KNOWN
from descope_native.errors import (
    ConnectError,
    ConnectionLost,
    ConnectReason,
    DescopeNativeError,
    InvalidRequestError,
    Phase,
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

# What the keys of each object may show: `bool` a flag, `int` a whole number, a pattern what matches it,
# `_JWT` another token, a table what the object under it may show, None nothing but the key itself.
# Whatever stands in customers' own objects is in no table, also under a key like one of these.

_JWT: Final = "jwt"
_PROVIDER: Final = "provider"
_COOKIE_NAME: Final = re.compile(r"[A-Za-z_-]{1,32}")


def _keys(names: str, form: Any = None) -> dict[str, Any]:
    return dict.fromkeys(names.split(), form)


_USER: Final[Mapping[str, Any]] = {
    **_keys("loginIds roleNames externalIds ssoAppIds permissions userId name email phone picture"),
    **_keys("givenName middleName familyName recoveryEmail recoveryPhone OAuth customAttributes"),
    "status": re.compile(r"enabled|disabled|invited"),
    **_keys("verifiedEmail verifiedPhone test TOTP SAML webauthn password editable SCIM OIDC push", bool),
    **_keys("verifiedRecoveryEmail verifiedRecoveryPhone", bool),
    **_keys("createdTime modifiedTime consentExpiration", int),
    "userTenants": _keys("tenantId tenantName roleNames permissions"),
}
_IDP: Final[Mapping[str, Any]] = {
    **_keys("samlResponse samlGeneratedUser samlGeneratedRoles idpGroups idpSAMLAttributes"),
    **_keys("oidcResponse oidcGeneratedUser oidcGeneratedRoles idpOIDCClaims"),
}
_ANSWER: Final[Mapping[str, Any]] = {
    **_keys("sessionJwt refreshJwt externalToken trustedDeviceJwt knownDeviceJwt", _JWT),
    **_keys("cookieDomain sessionCookieDomain tenantSSOID claims"),
    "cookiePath": re.compile(r"/"),
    **_keys("cookieMaxAge cookieExpiration sessionExpiration nextRefreshSeconds", int),
    **_keys("cookieName sessionCookieName", _COOKIE_NAME),
    **_keys("firstSeen unsavedSSO implicit", bool),
    "user": _USER,
    "idpResponse": _IDP,
    **_keys("clientId stateId nonce errorId errorDescription errorMessage"),
    "errorCode": re.compile(r"E[0-9]{6}"),
}
_REQUEST: Final[Mapping[str, Any]] = {
    "provider": _PROVIDER,
    **_keys("stateId code user loginOptions"),
    "idToken": _JWT,
    "implicit": bool,
}
_JWT_HEAD: Final[Mapping[str, Any]] = {
    "alg": re.compile(r"none|[A-Z]{2}[0-9]{3}"),
    "typ": re.compile(r"JWT"),
    "kid": None,
}
_JWT_CLAIMS: Final[Mapping[str, Any]] = {
    **_keys("exp iat nbf", int),
    "drn": re.compile(r"DSR?"),
    **_keys("iss sub aud jti rexp amr azp tenants roles permissions"),
    **_keys("nonce email email_verified name given_name family_name picture"),
}

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
    codes, a well-known provider. A token is replaced by one of the same form, with the claims that name
    nobody and another signature. Everything else becomes ``"[redacted]"``, 0 or false, and so does what
    the request has sent, in any letters. Keys that the contract does not know are numbered. A cancelled
    call is not recorded.

    No call fails because it could not be written down; that is logged, and counted in ``lost``.

    Args:
        inner: what carries the requests. Whoever opened it closes it.
        file: lines are added to it. A new one is made for its owner's eyes only.
        show: keys that are shown with their values, as they are, wherever they stand.

    Attributes:
        lost: how many calls could not be written down.

    Raises:
        InvalidRequestError: the file cannot be written.
    """

    def __init__(self, inner: Transport, file: str | Path, *, show: Iterable[str] = ()) -> None:
        self._inner = inner
        self._file = Path(file)
        self._show = frozenset(show)
        self.lost: int = 0
        try:
            self._append(" ")  # a full disk takes nothing, and says so; to JSON a space is nothing
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", "no name of a file")
            raise InvalidRequestError(f"the recording cannot be written ({why})") from None

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
            entry = {"version": _VERSION, **_asked(request)}
            entry["request"] = redactor.body(request.body, _REQUEST)
            if isinstance(end, HttpResponse):
                headers = [redactor.header(name, value) for name, value in end.headers]
                entry["answer"] = {
                    "status": end.status,
                    "headers": headers,
                    **redactor.body(end.body, _ANSWER),
                }
            else:
                entry["failure"] = _describe(end, request)
            _check(entry)
            self._append(json.dumps(entry) + "\n")
        except Exception as error:  # noqa: BLE001 -- no recording is worth a session
            self.lost += 1
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
        asked = _asked(request)
        for entry in self._left:
            if asked.items() <= entry.items():
                self._left.remove(entry)
                return _answer_in(entry, request)
        left = "; ".join(_in_words(entry) for entry in self._left) or "nothing"
        raise InvalidRequestError(f"this was not recorded: {_in_words(asked)}. What is left is: {left}")


def _asked(request: HttpRequest) -> dict[str, Any]:
    """What a request is told by."""
    _, found, rest = request.url.raw_path.rpartition("/v1/")
    body = _object_in(request.body)
    provider = body.get("provider")
    return {
        "operation": f"{found}{rest}" if found else "other",
        "provider": _told_apart(provider) if isinstance(provider, str) else None,
        "proof": next((proof for proof in ("code", "idToken") if proof in body), None),
    }


def _told_apart(provider: str) -> str:
    # A custom one's name may be a customer's. Two hardly have the same four digits, which many names have.
    digest = hashlib.sha256(provider.encode(errors="surrogatepass")).hexdigest()
    return provider if provider in WELL_KNOWN else f"custom-{digest[:4]}"


def _in_words(asked: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {asked[name]}" for name in ("operation", "provider", "proof"))


# --- what is shown


# Of our own headers these have values that answers have, too.
_NO_SECRETS: Final = frozenset({"accept", "accept-encoding", "content-type"})


class _Redactor:
    """Makes values fit to be shown, of one request and of what came of it."""

    def __init__(self, request: HttpRequest, show: frozenset[str]) -> None:
        self._show = show
        # A service may quote what it was sent. A well-known provider is no secret.
        body = _object_in(request.body)
        values = [value for key, value in body.items() if key != "provider" or value not in WELL_KNOWN]
        headers = [value for name, value in request.headers.items() if name.lower() not in _NO_SECRETS]
        parts = " ".join(headers).replace(":", " ").split()  # Bearer <project id>:<key>:<token>
        self._sent = [folded for text in (*_texts_in(values), *parts) if (folded := _fold(text))]

    def body(self, data: bytes, keys: Mapping[str, Any]) -> dict[str, Any]:
        """What is shown of a body: nothing of an empty one, and of one that is not JSON its length."""
        if not data:
            return {}
        try:
            value = json.loads(data)
            return {"body": self._value(value, keys)}
        except (ValueError, RecursionError):
            return {"bytes": len(data)}

    def _value(self, value: Any, form: Any = None) -> Any:
        """The value where it is of this form, else another one of the same JSON type."""
        match value:
            case dict():
                keys = cast("Mapping[str, Any]", form if isinstance(form, Mapping) else {})
                items = enumerate(cast("dict[str, Any]", value).items(), 1)
                return {
                    key if key in keys or key in self._show else f"key{number}": item
                    if key in self._show
                    else self._value(item, keys.get(key))
                    for number, (key, item) in items
                }
            case list():
                inner = cast("object", form if isinstance(form, Mapping) else None)
                return [self._value(item, inner) for item in cast("list[object]", value)]
            case str():
                return self._text(value, form)
            case bool():
                return form is bool and value
            case int() | float():
                may_show = form is int and isinstance(value, int) and abs(value) < 2**53
                return value if may_show and not self._was_sent(str(value)) else type(value)(0)
            case _:
                return None

    def _text(self, text: str, form: Any) -> str:
        if form == _JWT:
            return self.token(text)
        if form == _PROVIDER:
            return _told_apart(text)
        if isinstance(form, re.Pattern) and self._may_show(cast("re.Pattern[str]", form), text):
            return text
        return _HIDDEN if text else ""  # an empty one says no more than that nothing was there

    def _may_show(self, form: re.Pattern[str], text: str) -> bool:
        """Whether it has this form, and is nothing that was sent."""
        return form.fullmatch(text) is not None and not self._was_sent(text)

    def _was_sent(self, text: str) -> bool:
        text = _fold(text)
        # Short texts stand in long ones, and names in words, by chance.
        return any(
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
        head = self._value(_decoded(_unarmoured(parts[0])) or {}, _JWT_HEAD)
        claims = self._value(_decoded(_unarmoured(parts[1])) or {}, _JWT_CLAIMS)
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
        name = name if self._may_show(_COOKIE_NAME, name) else "redacted"
        shown = [f"{name}={self.token(value.strip().strip(chr(34)))}"]
        for attribute in attributes:
            key, _, value = (part.strip() for part in attribute.partition("="))
            form = _COOKIE_ATTRIBUTES.get(key.lower())
            if form is not None and self._may_show(form, value):
                shown.append(f"{key}={value}" if value else key)
        return "; ".join(shown)


def _decoded(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _object_in(data: bytes) -> dict[str, Any]:
    body = _decoded(data)
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}


def _fold(text: str) -> str:
    """The same for upper and lower case, and for a text of digits and the number that it spells."""
    return text.casefold().lstrip("0")


def _texts_in(value: object) -> Iterator[str]:
    """All texts and numbers in a request, those in JSON within JSON as well."""
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
        elif type(each) in {int, float}:  # no flag
            yield str(each)


def _armoured(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _unarmoured(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        return b""


# --- failures

_AS_RECORDED: Final = "as recorded"
_PHASES: Final = get_args(Phase)
_REASONS: Final = get_args(ConnectReason)
_STATUSES: Final = range(100, 1000)

_PLAYED: Final[Mapping[str, Callable[[dict[str, Any]], DescopeNativeError]]] = {
    "ConnectError": lambda said: ConnectError(
        _one_of(_REASONS, said["reason"]), _AS_RECORDED, _one_of((True, False), said["safe_to_retry"])
    ),
    "TLSError": lambda _: TLSError(_AS_RECORDED),
    "RequestTimeout": lambda said: RequestTimeout(said["phase"], said["seconds"]),
    "ConnectionLost": lambda said: ConnectionLost(said["phase"], _AS_RECORDED),
    "TransportClosed": lambda said: TransportClosed(said["phase"], _AS_RECORDED),
    "TransportError": lambda said: TransportError(said["phase"], _AS_RECORDED),
    "UnexpectedResponse": lambda said: UnexpectedResponse(
        _one_of((0, *_STATUSES), said["status"]), _AS_RECORDED
    ),
}
_FACTS: Final[Mapping[str, tuple[str, ...]]] = {
    "ConnectError": ("reason", "safe_to_retry"),
    "RequestTimeout": ("seconds",),
    "UnexpectedResponse": ("status",),
}


def _describe(error: DescopeNativeError, request: HttpRequest) -> dict[str, Any]:
    """What an error says, without its text, which is the transport's own."""
    name = type(error).__name__ if type(error).__name__ in _PLAYED else "TransportError"
    phase = error.phase if isinstance(error, TransportError) else request.progress.phase
    said = {"error": name, "phase": phase, **{fact: getattr(error, fact) for fact in _FACTS.get(name, ())}}
    if said.get("reason", "other") not in _REASONS:  # a transport of somebody's
        said["reason"] = "other"
    return said


# --- reading


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8").rstrip(" ").splitlines()  # a recorder that had no call
    except (OSError, ValueError):
        raise InvalidRequestError("the recording cannot be read") from None
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            _check(entry)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
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


def _one_of(allowed: Container[Any], value: Any) -> Any:
    if not (isinstance(value, str | int) and value in allowed):
        raise ValueError
    return value


def _end_of(entry: dict[str, Any]) -> HttpResponse | DescopeNativeError:
    if failure := entry.get("failure"):
        _one_of(_PHASES, failure["phase"])
        return _PLAYED[failure["error"]](failure)
    answer = entry["answer"]
    status, headers, size = _one_of(_STATUSES, answer["status"]), answer["headers"], answer.get("bytes", 0)
    if not (isinstance(size, int) and 0 <= size <= MAX_BODY):
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
