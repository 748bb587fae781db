"""Planted secrets in every way to fail: none may come back out in what a collector of errors can see."""

import asyncio
import base64
import gzip
import hashlib
import inspect
import json
import logging
import pickle
import sys
import traceback
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cattrs import ClassValidationError, transform_error
from kit.certs import Authority
from kit.servers import Connection, Script, answer, answering, serve, unused_port
from kit.support import Watched, narrow_socket
from yarl import URL

import descope_native
from descope_native import (
    AppleUser,
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    FinishRequest,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    LoginOptions,
    NativeOAuthFinisher,
    NativeOAuthStarter,
    RateLimitedError,
    RejectedError,
    RequestTimeout,
    Retry,
    ServerError,
    TLSError,
    TransportClosed,
    UnexpectedResponse,
    User,
)
from descope_native.converters import make_converter
from descope_native.errors import Phase
from descope_native.models import FinishResult
from descope_native.transports.aiohttp import AiohttpTransport
from descope_native.transports.recording import RecordingTransport

PACKAGE: Final = str(Path(descope_native.__file__).parent)


def _canary(label: str) -> str:
    return hashlib.sha256(label.encode()).hexdigest()[:40]


def _jwt(label: str) -> str:
    return f"eyJhbGciOiJub25lIn0.{_canary(label)}.{_canary(label + ' signature')}"


CODE: Final = _canary("code")
STATE: Final = _canary("state")
KEY: Final = _canary("key")
PASSWORD: Final = _canary("password")
GIVEN: Final = _canary("given name")
FAMILY: Final = _canary("family name")
ID_TOKEN: Final = _jwt("id token")
SESSION: Final = _jwt("session")
REFRESH: Final = _jwt("refresh")
KNOWN: Final = _jwt("known device")
TRUSTED: Final = _jwt("trusted device")
BASIC: Final = base64.b64encode(f"usher:{PASSWORD}".encode()).decode()

SECRETS: Final = (
    CODE,
    STATE,
    KEY,
    PASSWORD,
    GIVEN,
    FAMILY,
    ID_TOKEN,
    SESSION,
    REFRESH,
    BASIC,
    KNOWN,
    TRUSTED,
)
LABELS: Final = {value: name for name, value in list(globals().items()) if value in SECRETS}
NEEDLES: Final = {
    part[start : start + 12]: secret
    for secret in SECRETS
    for part in secret.split(".")[-2:]
    for start in range(len(part) - 11)
}
"""Any twelve characters of any of them."""

USER: Final = AppleUser(given_name=GIVEN, family_name=FAMILY)
DEVICE: Final[dict[str, Any]] = {"known_device_jwt": KNOWN, "trusted_device_jwt": TRUSTED}
USER_TEXT: Final = json.dumps({"name": {"firstName": GIVEN, "lastName": FAMILY}})
MORE_THAN_SOCKETS_BUFFER: Final = 1_000_000
PROJECT: Final = "P2project"
AUTHORITY: Final = Authority()
GOOD: Final = AUTHORITY.certify()

# All that the service can know.
ECHO: Final = (
    f"{CODE} / {STATE} / {KEY} / {GIVEN} / {FAMILY} / {ID_TOKEN} / {SESSION} / {REFRESH} / "
    f"{KNOWN} / {TRUSTED} / "
    f"{CODE[:20]} {SESSION[:70]} {json.dumps(USER_TEXT)}"
)
COOKIES: Final = (
    f"Set-Cookie: DS={SESSION}; Path=/; HttpOnly",
    f"Set-Cookie: DSR={REFRESH}; Domain=elsewhere.example",
)
EVERYWHERE: Final = (*COOKIES, f"cf-ray: {CODE}", f"X-Echo: {ECHO}", f"Retry-After: {KEY}")
AS_PAIRS: Final = tuple((line.partition(": ")[0], line.partition(": ")[2]) for line in EVERYWHERE)
ERROR_BODY: Final = json.dumps(
    {"errorCode": CODE, "errorDescription": ECHO, "errorMessage": f"{CODE}{KEY} {ECHO}", CODE: ECHO}
).encode()
TOKENS: Final = json.dumps({"sessionJwt": SESSION, "refreshJwt": REFRESH}).encode()
DRIFTING: Final = json.dumps(
    {"sessionJwt": SESSION, "refreshJwt": [REFRESH], "user": {"userId": {"x": CODE}, "name": 5}, CODE: CODE}
).encode()


# --- what is looked at


def found_in(text: str) -> set[str]:
    return {LABELS[NEEDLES[needle]] for needle in NEEDLES if needle in text}


def chained(error: BaseException) -> Iterator[BaseException]:
    """The error and all that hangs on it."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        pending += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            pending += each.exceptions


def our_frames(error: BaseException) -> Iterator[types.FrameType]:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith(PACKAGE):
            yield frame


# What has to hold a secret in order to hand it on. It must not show it, but it is not looked into.
CARRIERS: Final = (
    "HttpRequest",
    "HttpResponse",
    "FinishRequest",
    "FinishResult",
    "StartRequest",
    "StartResult",
    "LoginOptions",
    "Endpoint",
    "Head",
    "Outgoing",
    "_Proxy",
)


def seen_in(value: object) -> str:
    """A local as a collector of tracebacks shows it, and one step further down."""
    shown = [repr(value)]
    if type(value).__name__ not in CARRIERS and type(value).__module__.startswith("descope_native"):
        names = [*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())]
        shown += [repr(getattr(value, name, None)) for name in names]
    return " ".join(shown)


def leaks(error: BaseException) -> list[str]:
    """Where a secret can be read off an error."""
    found = []
    for each in chained(error):
        texts = {"str": str(each), "repr": repr(each), "args": repr(each.args), "vars": repr(vars(each))}
        if isinstance(each, DescopeNativeError):
            texts["pickle"] = pickle.dumps(each).decode("latin-1")
            texts["traceback"] = "".join(
                traceback.TracebackException.from_exception(each, capture_locals=True).format()
            )
        for frame in our_frames(each):
            for name, value in frame.f_locals.items():
                texts[f"{name} in {frame.f_code.co_qualname}"] = seen_in(value)
        found += [
            f"{type(each).__name__}: {place}: {found_in(text)}"
            for place, text in texts.items()
            if found_in(text)
        ]
    return found


class Everything(logging.Handler):
    """All records of all loggers, with all they carry."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {self.format(record)} {vars(record)!r}")


@contextmanager
def all_logging() -> Iterator[Everything]:
    everything = Everything()
    root = logging.getLogger()
    before = root.level
    root.addHandler(everything)
    root.setLevel(logging.DEBUG)
    try:
        yield everything
    finally:
        root.removeHandler(everything)
        root.setLevel(before)


# --- ways to fail. No frame in here holds a secret as a local, so that tracebacks can be looked at whole.


@asynccontextmanager
async def finisher(url: str, **options: Any) -> AsyncIterator[NativeOAuthFinisher]:
    ours = {name: options.pop(name) for name in ("timeout", "retry", "strict") if name in options}
    options.setdefault("ssl", AUTHORITY.client_context())
    async with AiohttpTransport.open(**options) as transport:
        yield over(transport, url, **ours)


def over(transport: Any, url: str = "https://localhost", **options: Any) -> NativeOAuthFinisher:
    options.setdefault("timeout", 5)
    return NativeOAuthFinisher(PROJECT, transport, base_url=url, auth_management_key=KEY, **options)


def silent(_: HttpRequest) -> HttpResponse:
    return HttpResponse(204)


async def with_code(finishing: NativeOAuthFinisher) -> None:
    await finishing.finish(provider="apple", state_id=STATE, code=CODE, user=USER, **DEVICE)


async def with_id_token(finishing: NativeOAuthFinisher) -> None:
    await finishing.finish(provider="apple", state_id=STATE, id_token=ID_TOKEN, user=USER_TEXT, **DEVICE)


class Hidden:
    """What a frame of this file may hold."""

    def __init__(self, value: Any) -> None:
        self.value = value


Finish = Callable[[NativeOAuthFinisher], Awaitable[None]]
Row = Callable[[], Awaitable[None]]
ROWS: Final[dict[str, tuple[Row, type[BaseException]]]] = {}


def row(expected: type[BaseException]) -> Callable[[Row], Row]:
    def add(function: Row) -> Row:
        ROWS[getattr(function, "__name__").replace("_", " ")] = function, expected  # noqa: B009 -- mypy
        return function

    return add


def answered(
    name: str, expected: type[BaseException], script: Script, finish: Finish = with_code, **options: Any
) -> None:
    async def run() -> None:
        async with serve(script) as server, finisher(server.url(), **options) as finishing:
            await finish(finishing)

    ROWS[name] = run, expected


def saying(data: bytes, *, reset: bool = False, hang: bool = False) -> Script:
    async def script(connection: Connection) -> None:
        await connection.request()
        connection.send(data)
        if hang:
            await connection.gone()
        elif reset:
            connection.reset()
        else:
            connection.finish()

    return script


for _status, _expected in (
    (400, RejectedError),
    (401, RejectedError),
    (403, RejectedError),
    (404, RejectedError),
    (425, RejectedError),
    (429, RateLimitedError),
    (408, ServerError),
    (500, ServerError),
    (503, ServerError),
    (522, ServerError),
):
    answered(f"{_status} with an echo", _expected, answering(answer(_status, ERROR_BODY, *EVERYWHERE)))
    answered(f"{_status} in text", _expected, answering(answer(_status, ECHO.encode(), *EVERYWHERE)))

for _name, _location in {
    "query": f"https://elsewhere.example/?code={CODE}",
    "host": f"https://{CODE}.example/",
    "userinfo": f"https://{CODE}:{KEY}@elsewhere.example/",
    "relative": f"/{CODE}",
    "nonsense": f"http://[{CODE}",
}.items():
    answered(
        f"redirect with a secret in its {_name}",
        UnexpectedResponse,
        answering(answer(307, ERROR_BODY, f"Location: {_location}", *EVERYWHERE)),
    )

for _name, _body in {
    "no JSON": ECHO.encode(),
    "no object": json.dumps([ECHO, SESSION]).encode(),
    "no session": json.dumps({"refreshJwt": REFRESH, "user": {"name": GIVEN}, CODE: KEY}).encode(),
    "a session of the wrong type": json.dumps({"sessionJwt": [SESSION], "user": CODE}).encode(),
    "a session unfit for a cookie": json.dumps({"sessionJwt": f"{SESSION}; {REFRESH}"}).encode(),
    "half a session": TOKENS[:-20],
    "no UTF-8": TOKENS + b"\xff",
    "too deep": b'{"claims":' + b"[" * 5000 + ECHO.encode(),
}.items():
    answered(f"200 with {_name}", UnexpectedResponse, answering(answer(200, _body, f"cf-ray: {CODE}")))

answered("200 strictly read", UnexpectedResponse, answering(answer(200, DRIFTING, *COOKIES)), strict=True)
answered(
    "204", UnexpectedResponse, saying(b"HTTP/1.1 204 No\r\n" + "\r\n".join(COOKIES).encode() + b"\r\n\r\n")
)
answered(
    "200 compressed",
    UnexpectedResponse,
    answering(answer(200, gzip.compress(TOKENS), "Content-Encoding: gzip")),
)
answered("200 too large", UnexpectedResponse, answering(answer(200, TOKENS * 50)), max_body=1000)
answered("500 too large", ServerError, answering(answer(500, ERROR_BODY * 50, *EVERYWHERE)), max_body=1000)
answered("malformed status line", UnexpectedResponse, saying(ECHO.encode() + b"\r\n\r\n"))
answered("malformed header", UnexpectedResponse, saying(b"HTTP/1.1 200 OK\r\n" + ECHO.encode() + b"\r\n\r\n"))
answered(
    "oversize header",
    UnexpectedResponse,
    saying(b"HTTP/1.1 200 OK\r\nX: " + ECHO.encode() * 40 + b"\r\n\r\n"),
)
answered(
    "bad chunk",
    UnexpectedResponse,
    saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CODE.encode() + b"\r\n"),
)
answered(
    "400 with an echo of the id token",
    RejectedError,
    answering(
        answer(400, json.dumps({"errorMessage": f"{ID_TOKEN} {ID_TOKEN[:40]} {ID_TOKEN[30:]}"}).encode())
    ),
    with_id_token,
)
answered(
    "200 with no session for an id token", UnexpectedResponse, answering(answer(200, b"[]")), with_id_token
)
answered("lost before an answer", ConnectionLost, saying(b""))
answered("reset before an answer", ConnectionLost, saying(b"", reset=True))
answered("lost within the head", ConnectionLost, saying(f"HTTP/1.1 200 OK\r\n{COOKIES[0]}\r\n".encode()))
answered("lost within the body", ConnectionLost, saying(answer(200, TOKENS, *COOKIES)[:-9]))
answered("reset within the body", ConnectionLost, saying(answer(200, TOKENS, *COOKIES)[:-9], reset=True))
answered("no answer in time", RequestTimeout, saying(b"", hang=True), timeout=0.05)
answered(
    "half an answer in time",
    RequestTimeout,
    saying(answer(200, TOKENS, *COOKIES)[:-9], hang=True),
    timeout=0.05,
)
# Its head has to arrive in time, also where the machine is busy.
answered("half an error in time", ServerError, saying(answer(500, ERROR_BODY)[:-9], hang=True), timeout=2)
answered(
    "rate limit to the end",
    RateLimitedError,
    answering(answer(429, ERROR_BODY, "Retry-After: 0")),
    retry=Retry(initial=0.001),
)


@row(ConnectError)
async def refused() -> None:
    async with finisher(f"http://localhost:{unused_port()}") as finishing:
        await with_code(finishing)


@row(ConnectError)
async def refused_to_the_end() -> None:
    async with finisher(f"http://localhost:{unused_port()}", retry=Retry(initial=0.001)) as finishing:
        await with_code(finishing)


class Lost(AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        raise OSError(f"no such host as {host}")

    async def close(self) -> None:
        pass


@row(ConnectError)
async def no_such_host() -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Lost())) as session:
        await with_code(over(AiohttpTransport(session), "http://somewhere.localhost"))


@row(TLSError)
async def certificate_refused() -> None:
    async with (
        serve(answering(), GOOD.server_context()) as server,
        finisher(server.url("https"), ssl=True) as finishing,
    ):
        await with_code(finishing)


@row(TLSError)
async def handshake_answered_with_secrets() -> None:
    async def script(connection: Connection) -> None:
        await connection.arrived(1)
        connection.send(answer(200, TOKENS))
        connection.finish()

    async with serve(script) as server, finisher(server.url("https")) as finishing:
        await with_code(finishing)


@row(RequestTimeout)
async def handshake_stalled() -> None:
    async with (
        serve(Connection.gone) as server,
        finisher(server.url("https"), connect_timeout=0.05) as finishing,
    ):
        await with_code(finishing)


@asynccontextmanager
async def through_proxy(port: int) -> AsyncIterator[NativeOAuthFinisher]:
    async with AiohttpTransport.open(proxy=f"http://usher:{PASSWORD}@localhost:{port}") as transport:
        yield over(transport)


def proxied(name: str, script: Script) -> None:
    async def run() -> None:
        async with serve(script) as proxy, through_proxy(proxy.port) as finishing:
            await with_code(finishing)

    ROWS[name] = run, ConnectError


proxied("proxy wants a password", saying(f"HTTP/1.1 407 {PASSWORD}\r\nX: {BASIC}\r\n\r\n".encode()))
proxied("proxy fails", saying(f"HTTP/1.1 502 {PASSWORD}\r\nX: {BASIC}\r\n\r\n".encode()))
proxied("proxy talks nonsense", saying(f"{PASSWORD} {BASIC}\r\n\r\n".encode()))
proxied("proxy hangs up", saying(b""))


@row(ConnectError)
async def proxy_refuses() -> None:
    async with through_proxy(unused_port()) as finishing:
        await with_code(finishing)


@row(InvalidRequestError)
async def proxy_is_no_url() -> None:
    await AiohttpTransport.open(proxy=f"http://usher:{PASSWORD}@localhost:99999").__aenter__()


@row(InvalidRequestError)
async def key_unfit_for_a_header() -> None:
    NativeOAuthFinisher(PROJECT, InMemoryTransport(silent), auth_management_key=KEY + "\n")


@row(InvalidRequestError)
async def key_unfit_for_a_header_in_open() -> None:
    await NativeOAuthFinisher.open(PROJECT, auth_management_key=KEY + "\n").__aenter__()


@row(InvalidRequestError)
async def project_id_with_a_key_in_it() -> None:
    NativeOAuthFinisher(f"{PROJECT}:{KEY}", InMemoryTransport(silent))


@row(InvalidRequestError)
async def base_url_with_a_password() -> None:
    NativeOAuthFinisher(
        PROJECT,
        InMemoryTransport(silent),
        base_url=f"https://usher:{PASSWORD}@localhost",
        auth_management_key=KEY,
    )


def refusing(name: str, **changes: Any) -> None:
    hidden = Hidden({"provider": "apple", "state_id": STATE, "code": CODE, **DEVICE, **changes})
    del changes

    async def run() -> None:
        transport = InMemoryTransport(lambda request: HttpResponse(200, (), TOKENS))
        await over(transport).finish(**hidden.value)

    ROWS[f"refused argument: {name}"] = run, InvalidRequestError


refusing("both proofs", id_token=ID_TOKEN)
refusing("no provider", provider="", user=USER)
refusing("no text as state", state_id=STATE.encode())
refusing("no token of a device", known_device_jwt=f"{KNOWN} {KNOWN}")
refusing("bytes of a device", trusted_device_jwt=TRUSTED.encode())
refusing("no text as code", code=[CODE], user=USER_TEXT)
refusing("half a character in the code", code=CODE + "\ud800")
refusing("a user that is no JSON", user=USER_TEXT[:-1])
refusing("a user that is no object", user=json.dumps([GIVEN]))
refusing("a user of another type", user={"name": GIVEN})
refusing("a timeout of nothing", timeout=0, user=USER)


async def deaf(connection: Connection) -> None:
    connection.transport.pause_reading()


# One call after the other, so that the last one stands in the phase that is asked for.
PHASES: Final[dict[Phase, tuple[str, Script, int]]] = {
    "send": ("http", deaf, 1),
    "pool": ("http", saying(b"", hang=True), 2),
    "connect": ("https", Connection.gone, 1),
    "wait": ("http", saying(b"", hang=True), 1),
    "read": ("http", saying(answer(200, TOKENS, *COOKIES)[:-9], hang=True), 1),
}


@asynccontextmanager
async def under_way(
    phase: Phase, **options: Any
) -> AsyncIterator[tuple["asyncio.Task[None]", AiohttpTransport]]:
    scheme, script, count = PHASES[phase]
    context = AUTHORITY.client_context()
    connector = aiohttp.TCPConnector(limit=1, ssl=context, socket_factory=narrow_socket)
    async with serve(script) as server, aiohttp.ClientSession(connector=connector) as session:
        transport = AiohttpTransport(session)
        watched = Watched(transport, MORE_THAN_SOCKETS_BUFFER if phase == "send" else 0)
        calls = []
        for begun in range(1, count + 1):
            calls.append(asyncio.create_task(with_code(over(watched, server.url(scheme), **options))))
            reached = asyncio.create_task(watched.reached("wait" if begun < count else phase, begun))
            # On a busy machine its time may be up before.
            await asyncio.wait([calls[-1], reached], return_when=asyncio.FIRST_COMPLETED)
            reached.cancel()
        await server.until(lambda: bool(server.connections))
        try:
            yield calls[-1], transport
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)


def stopped(phase: Phase) -> None:
    async def cancel() -> None:
        async with under_way(phase) as (call, _):
            call.cancel()
            await call

    async def close() -> None:
        async with under_way(phase) as (call, transport):
            await transport.close()
            await call

    ROWS[f"cancelled in phase {phase}"] = cancel, asyncio.CancelledError
    ROWS[f"closed in phase {phase}"] = close, TransportClosed


for _phase in PHASES:
    stopped(_phase)


@row(RequestTimeout)
async def no_connection_free_in_time() -> None:
    async with under_way("pool", timeout=0.3) as (call, _):
        await call


@row(RequestTimeout)
async def not_all_sent_in_time() -> None:
    async with under_way("send", timeout=0.3) as (call, _):
        await call


@row(TransportClosed)
async def closed_before() -> None:
    async with AiohttpTransport.open() as transport:
        await transport.close()
        await with_code(over(transport))


def handling(name: str, expected: type[BaseException], handler: Callable[[HttpRequest], Any]) -> None:
    async def run() -> None:
        await with_code(over(InMemoryTransport(handler)))

    ROWS[f"handler {name}"] = run, expected


def raising(error: type[Exception], *arguments: Any) -> Callable[[HttpRequest], Any]:
    def handler(_: HttpRequest) -> None:
        raise error(*arguments)

    return handler


handling("refuses", ConnectError, raising(ConnectionRefusedError, ECHO))
handling("drops", ConnectionLost, raising(OSError, 5, ECHO))
handling("raises one of ours", TLSError, raising(TLSError, "no good"))
handling("makes a mistake", ZeroDivisionError, lambda _: 1 // 0)
handling("echoes", RejectedError, lambda _: HttpResponse(400, (("cf-ray", CODE),), ERROR_BODY))
handling("gives tokens only", UnexpectedResponse, lambda _: HttpResponse(200, (), TOKENS[:-1]))


# --- the same of a start


def starter(transport: Any, url: str = "https://localhost", **options: Any) -> NativeOAuthStarter:
    return NativeOAuthStarter(PROJECT, transport, base_url=url, timeout=5, **options)


async def with_refresh_token(starting: NativeOAuthStarter) -> None:
    options = LoginOptions(
        custom_claims={"name": [GIVEN, {"x": CODE}]}, pkce_challenge=STATE, extra={"new": FAMILY}
    )
    await starting.start(provider="apple", login_options=options, refresh_jwt=REFRESH, **DEVICE)


def started(name: str, expected: type[BaseException], script: Script, **options: Any) -> None:
    async def run() -> None:
        async with serve(script) as server, AiohttpTransport.open() as transport:
            await with_refresh_token(starter(transport, server.url(), **options))

    ROWS[f"start: {name}"] = run, expected


NO_STATE: Final = json.dumps({"errorId": CODE, "nonce": STATE, "clientId": [KEY], GIVEN: ECHO}).encode()
ODD_START: Final = json.dumps({"stateId": STATE, "nonce": [STATE], "implicit": CODE}).encode()

started("rejected", RejectedError, saying(answer(400, ERROR_BODY, *EVERYWHERE)))
started("unauthorized", RejectedError, saying(answer(401, ERROR_BODY, *EVERYWHERE)))
started("limited", RateLimitedError, saying(answer(429, ERROR_BODY, *EVERYWHERE)))
started("failed", ServerError, saying(answer(500, ERROR_BODY, *EVERYWHERE)))
started("no state", UnexpectedResponse, saying(answer(200, NO_STATE, *EVERYWHERE)))
started("odd and strict", UnexpectedResponse, saying(answer(200, ODD_START, *EVERYWHERE)), strict=True)
started("cut", ConnectionLost, saying(answer(200, ODD_START, *EVERYWHERE)[:-5]))
started("no HTTP", UnexpectedResponse, saying(ECHO.encode() + b"\r\n\r\n"))
started("repeated", ServerError, saying(answer(500, ERROR_BODY)), retry=Retry(attempts=2, initial=0.001))


def not_started(name: str, **changes: Any) -> None:
    hidden = Hidden({"provider": "apple", "refresh_jwt": REFRESH, **DEVICE, **changes})
    del changes

    async def run() -> None:
        await starter(InMemoryTransport(silent)).start(**hidden.value)

    ROWS[f"refused argument of a start: {name}"] = run, InvalidRequestError


not_started("no token", refresh_jwt=f"{REFRESH} {REFRESH}")
not_started("no JSON", login_options={"customClaims": {"name": GIVEN, "x": {CODE}}})
not_started("no mapping", login_options=f"{CODE}")


@row(InvalidRequestError)
async def refresh_token_and_key() -> None:
    await with_refresh_token(starter(InMemoryTransport(silent), auth_management_key=KEY))


def with_nonce(claims: dict[str, str]) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{_canary('x')}"


refusing("no nonce", code=None, id_token=with_nonce({"sub": GIVEN}), nonce=STATE)
refusing("another nonce", code=None, id_token=with_nonce({"nonce": CODE}), nonce=STATE)
refusing(
    "a hashed nonce",
    code=None,
    id_token=with_nonce({"nonce": hashlib.sha256(STATE.encode()).hexdigest()}),
    nonce=STATE,
)


# --- the claims


@pytest.mark.parametrize("name", ROWS)
async def test_no_failure_shows_a_secret(name: str) -> None:
    """Not in texts, chains, pickles, the locals of tracebacks, nor in any log at DEBUG."""
    run, expected = ROWS[name]
    loop = asyncio.get_running_loop()
    with all_logging() as everything:
        loop.set_debug(True)
        loop.slow_callback_duration = 0  # asyncio then logs each callback that it runs
        try:
            await run()
        except (DescopeNativeError, asyncio.CancelledError, ZeroDivisionError) as caught:
            error = caught
        finally:
            loop.set_debug(False)
    assert type(error) is expected
    assert leaks(error) == []
    if isinstance(error, DescopeNativeError):
        assert error.__context__ is None
        assert error.__cause__ is None
    assert [line for line in everything.lines if found_in(line)] == []


ARGUMENTS: Final = [
    (call, name)
    for call in (NativeOAuthFinisher.finish, NativeOAuthStarter.start)
    for name, parameter in inspect.signature(call).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY and name not in {"provider", "timeout"}
]


@pytest.mark.parametrize(("call", "wrong"), ARGUMENTS, ids=lambda value: getattr(value, "__name__", value))
async def test_no_argument_is_shown_by_a_refusal(call: Callable[..., Any], wrong: str) -> None:
    """Whichever is wrong, and whatever came with it: also one that a later version adds."""
    client = NativeOAuthFinisher if call is NativeOAuthFinisher.finish else NativeOAuthStarter
    transport = InMemoryTransport(lambda _: HttpResponse(500))
    arguments: dict[str, Any] = {name: SESSION for each, name in ARGUMENTS if each is call}
    with pytest.raises(InvalidRequestError) as caught:
        await call(client(PROJECT, transport), provider="apple", **{**arguments, wrong: [SESSION]})
    assert caught.value.__traceback__ is not None
    caught.value.__traceback__ = caught.value.__traceback__.tb_next  # this frame has to hold them
    assert leaks(caught.value) == []
    assert transport.requests == []


@pytest.mark.parametrize("name", ROWS)
async def test_no_recording_holds_a_secret(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever became of the call: what is written down of it shows none of the planted ones."""
    run, expected = ROWS[name]
    file = tmp_path / "calls.jsonl"
    really_over = over

    def over_a_recorder(transport: Any, *arguments: Any, **options: Any) -> NativeOAuthFinisher:
        return really_over(RecordingTransport(transport, file), *arguments, **options)

    monkeypatch.setattr(sys.modules[__name__], "over", over_a_recorder)
    with pytest.raises(expected):
        await run()
    written = file.read_text() if file.exists() else ""
    assert written or not name[:3].isdigit()
    assert found_in(written) == set()


async def test_no_recording_of_a_session_holds_a_secret(tmp_path: Path) -> None:
    """Tokens, cookies and names of a good answer, under keys of the contract and of nobody."""
    people = {"name": GIVEN, "status": CODE, "customAttributes": {FAMILY: [KEY]}, "createdTime": STATE}
    body = json.dumps({**json.loads(DRIFTING), "user": people, "cookieName": CODE, "claims": {CODE: KEY}})
    file = tmp_path / "calls.jsonl"
    transport = InMemoryTransport(lambda _: HttpResponse(200, AS_PAIRS, body.encode()))
    await with_code(over(RecordingTransport(transport, file)))
    written = file.read_text()
    assert '"sessionJwt": "' in written
    assert found_in(written) == set()


BAD_ANSWERS: Final[dict[str, tuple[Any, Any]]] = {
    "a session of the wrong type": (FinishResult, {"sessionJwt": [SESSION], CODE: KEY}),
    "a session unfit for a cookie": (FinishResult, {"sessionJwt": f"{SESSION}; {REFRESH}"}),
    "a token where a flag belongs": (FinishResult, {"sessionJwt": SESSION, "unsavedSSO": REFRESH}),
    "an unfit user": (FinishResult, {"sessionJwt": SESSION, "user": {"name": [GIVEN], "email": {FAMILY: 1}}}),
    "a user alone": (
        User,
        {"customAttributes": GIVEN, "loginIds": [FAMILY, {"x": CODE}], "OAuth": {CODE: KEY}},
    ),
    "no object": (FinishResult, [SESSION]),
    "text": (FinishResult, SESSION),
    "unknown depths": (FinishResult, {"sessionJwt": SESSION, CODE: float("inf")}),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_the_public_converter_names_places_and_never_values(name: str) -> None:
    """Its users get cattrs' own error, whose frames and parts hold nothing of what was given."""
    converter = make_converter()
    wanted = Hidden(BAD_ANSWERS[name])
    with pytest.raises(ClassValidationError) as caught:
        converter.structure(wanted.value[1], wanted.value[0])
    error = caught.value
    assert leaks(error) == []
    assert not found_in(
        "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    )
    assert not found_in(pickle.dumps(error).decode("latin-1"))
    assert not found_in(" ".join(transform_error(error)))


def test_no_repr_shows_a_secret() -> None:
    """What is handed around ends up in logs sooner or later."""
    result = make_converter().structure(
        {
            "sessionJwt": SESSION,
            "refreshJwt": REFRESH,
            "externalToken": CODE,
            "trustedDeviceJwt": SESSION,
            "claims": {"x": KEY},
            "user": {
                "name": GIVEN,
                "givenName": GIVEN,
                "familyName": FAMILY,
                "email": f"{GIVEN}@example.com",
            },
            "idpResponse": {"oidcResponse": CODE, "idpGroups": [GIVEN], "idpOIDCClaims": {"name": FAMILY}},
            "unheardOf": REFRESH,
        },
        FinishResult,
    )
    request = FinishRequest(provider="apple", state_id=STATE, code=CODE, user=USER)
    sent = HttpRequest(
        method="POST",
        url=URL("https://localhost"),
        headers={"Authorization": KEY},
        body=ECHO.encode(),
        timeout=1,
    )
    got = HttpResponse(200, (("Set-Cookie", SESSION),), TOKENS)
    for shown in (
        result,
        result.user,
        result.idp_response,
        request,
        USER,
        sent,
        sent.progress,
        got,
        [got],
        {1: got},
    ):
        assert not found_in(f"{shown!r} {shown!s} {shown}"), type(shown)


async def test_no_repr_of_what_is_long_lived_shows_a_secret() -> None:
    """A finisher knows the key, a transport the proxy's password."""
    proxy = f"http://usher:{PASSWORD}@localhost:1"
    async with (
        AiohttpTransport.open(proxy=proxy) as transport,
        NativeOAuthFinisher.open(PROJECT, auth_management_key=KEY) as opened,
    ):
        for shown in (transport, over(transport), opened, InMemoryTransport(silent), Retry()):
            assert not found_in(f"{shown!r} {shown!s}")
            assert not found_in(seen_in(shown))


async def test_a_success_logs_no_secret() -> None:
    """Not even with asyncio in debug mode and everything logged; one line of ours says how it went."""
    script = answering(answer(200, TOKENS, *COOKIES, f"cf-ray: {CODE}"))
    loop = asyncio.get_running_loop()
    with all_logging() as everything:
        loop.set_debug(True)
        loop.slow_callback_duration = 0
        async with serve(script, GOOD.server_context()) as server, finisher(server.url("https")) as finishing:
            for _ in range(2):
                await with_code(finishing)
        loop.set_debug(False)
    assert [line for line in everything.lines if found_in(line)] == []
    assert len([line for line in everything.lines if line.startswith("descope_native ")]) == 2


def test_the_search_finds_what_is_planted() -> None:
    """Power: each place that is looked at is one where a secret would be found."""

    def fail(code: str) -> None:
        raise UnexpectedResponse(200, code) from OSError(SESSION)

    with pytest.raises(UnexpectedResponse) as caught:
        fail(CODE[3:20])
    found = " ".join(leaks(caught.value))
    for place in ("UnexpectedResponse: str", "repr", "args", "vars", "pickle", "traceback", "OSError: str"):
        assert place in found
    assert found_in(REFRESH[30:-3]) == {"REFRESH"}
    assert not found_in("nothing to see")
