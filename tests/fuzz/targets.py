"""What is fuzzed: each target takes what hypothesis made up and holds a promise against it."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final, Self

from harness.run import texts_of
from hypothesis import strategies as st
from kit.servers import Connection, serve
from kit.support import CODE, finish
from yarl import URL

from descope_native import (
    DescopeNativeError,
    FinishRequest,
    FinishResult,
    HttpResponse,
    InvalidRequestError,
    NativeOAuthFinisher,
    RateLimitedError,
    UnexpectedResponse,
)
from descope_native._service.answers import read_answer, read_session
from descope_native._service.endpoint import make_endpoint
from descope_native._service.operations import FINISH
from descope_native._service.redaction import Redactor
from descope_native._service.set_cookie import read_cookies
from descope_native._service.times import parse_retry_after
from descope_native.transports.aiohttp import AiohttpTransport

SECRET: Final = "canary0123456789"

# --- what comes in

texts = st.text(max_size=40)
latin = st.text(st.characters(max_codepoint=255), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(
    ["sessionJwt", "refreshJwt", "user", "firstSeen", "cookieName", "sessionCookieName", "cookieDomain",
     "claims", "idpResponse", "errorCode", "errorDescription", "errorMessage", "cookieMaxAge"]
)  # fmt: skip
objects = st.dictionaries(keys | texts, json_values | st.just("a.b.c"), max_size=8)
bodies = st.one_of(
    objects.map(lambda value: json.dumps(value).encode()),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=200),
    st.integers(1, 50_000).map(lambda depth: b"[" * depth),
    st.integers(1, 50_000).map(lambda depth: b'{"a":' * depth),
)
dates = st.datetimes().map(lambda when: when.strftime("%a, %d %b %Y %H:%M:%S GMT"))
retry_after = st.one_of(st.integers().map(str), st.floats().map(str), st.just("9" * 5000), dates, latin)
attributes = st.sampled_from(["Path=/", "Max-Age=0", "Max-Age=9", "HttpOnly", "Domain=x.example", "=", ""])
set_cookies = st.one_of(
    latin,
    st.builds(
        lambda name, value, extra, date: "; ".join([f"{name}={value}", *extra, f"Expires={date}"]),
        st.sampled_from(["DS", "DSR", " DS ", "ds", ""]),
        latin | st.just("a.b.c"),
        st.lists(attributes, max_size=3),
        dates | latin,
    ),
)
headers = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["Set-Cookie", "set-cookie"]), set_cookies),
        st.tuples(st.just("Retry-After"), retry_after),
        st.tuples(st.sampled_from(["Content-Encoding", "Location", "cf-ray", "Content-Type", "X"]), latin),
    ),
    max_size=6,
).map(tuple)
usual = [200, 201, 204, 302, 307, 400, 401, 408, 421, 425, 429, 499, 500, 503]
statuses = st.sampled_from(usual) | st.integers(100, 999)


@st.composite
def raw_answers(draw: st.DrawFn) -> list[bytes]:
    """An answer, more or less, in packets."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=4))
    body = draw(bodies)
    version = draw(st.sampled_from(["HTTP/1.1"] * 3 + ["HTTP/1.0", "HTTP/2.0", "http/1.1", ""]))
    lines = [f"{version} {draw(statuses)} {draw(latin)}".rstrip()]
    lines += [f"{name}: {value}" for name, value in draw(headers)]
    framing = draw(st.sampled_from(["length", "length", "chunks", "none", "both", "wrong"]))
    if framing in {"length", "both"}:
        lines.append(f"Content-Length: {len(body)}")
    if framing == "wrong":
        lines.append(f"Content-Length: {draw(st.integers(-2, 300))}")
    if framing in {"chunks", "both"}:
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    if draw(st.integers(0, 4)):  # as a rule nothing breaks out of its line
        lines = [line.replace("\r", "").replace("\n", "").replace("\0", "") for line in lines]
    whole = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
    if draw(st.integers(0, 2)) == 0:
        whole = b"HTTP/1.1 100 Continue\r\n\r\n" * draw(st.integers(0, 3)) + whole
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        at = draw(st.integers(0, len(whole)))
        whole = whole[:at] + draw(st.binary(max_size=3)) + whole[at + draw(st.integers(0, 3)) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=3)))
    packets = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return [packet for packet in packets if packet] or [b"\r\n"]


# --- what is promised


class Exchange:
    """A server that answers each request with what it is given, and a transport that calls it."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._packets: list[bytes] = []

    def __enter__(self) -> Self:
        self._runner.run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    async def _open(self) -> None:
        self._server = await self._stack.enter_async_context(serve(self._answer))
        # Each answer ends with FIN, which may be under way when the next call begins.
        opened = AiohttpTransport.open(max_body=100_000, reuse_connections=False)
        self._transport = await self._stack.enter_async_context(opened)

    async def _answer(self, connection: Connection) -> None:
        if await connection.request():
            for packet in self._packets:
                connection.send(packet)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            connection.finish()

    def raw_answer(self, packets: list[bytes]) -> None:
        """Whatever bytes come: a session that was in them, or a documented error that tells nothing."""
        self._packets = packets
        self._server.connections.clear()
        end = self._runner.run(self._call())
        assert self._server.received.count(CODE.encode()) == 1
        if isinstance(end, FinishResult):
            assert end.session_jwt
            assert end.session_jwt.encode() in b"".join(packets).replace(b"\\", b"")
        else:
            told = "".join(texts_of(end))
            assert CODE not in told
            assert not (isinstance(end, UnexpectedResponse) and "a.b.c" in told)

    async def _call(self) -> FinishResult | DescopeNativeError:
        try:
            return await finish(self._transport, self._server.url(), timeout=5)
        except DescopeNativeError as error:
            return error


def any_response(status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
    """Whatever response a transport hands over: a session, or a documented error that tells no secret."""
    request = FinishRequest(provider="google", state_id="state", code=SECRET)
    response = HttpResponse(status, headers, body)
    redactor = Redactor(request, "key-" + SECRET)
    for strict in (False, True):
        url = URL("https://api.example/v1")
        result = read_answer(read_session, response, url, redactor, strict=strict)
        if isinstance(result, DescopeNativeError):
            check_error(result)
        else:
            assert 200 <= status < 300
            assert result.session_jwt


def check_error(error: DescopeNativeError) -> None:
    assert not any(SECRET in text for text in texts_of(error))
    if isinstance(error, RateLimitedError):
        assert error.retry_after is None or 0 <= error.retry_after <= 3600


def any_retry_after(values: list[str]) -> None:
    """Seconds between 0 and 3600, or None; never an exception."""
    seconds = parse_retry_after(values, 1_700_000_000.0)
    assert seconds is None or 0 <= seconds <= 3600


def any_set_cookies(lines: list[str]) -> None:
    """Names with values that stood in the lines; never an exception."""
    for name, value in read_cookies(lines, 1_700_000_000.0).items():
        assert value
        assert any(name in line and value in line for line in lines)


def any_base_url(base_url: str) -> None:
    """Refused, or called at the very host that it names, by https or on loopback."""
    try:
        url = make_endpoint(FINISH.path, "P2a", base_url, None, allow_http=False).url
    except InvalidRequestError:
        return
    host = str(url.host)
    loopback = host in {"localhost", "::1"} or host.startswith("127.") or host.endswith(".localhost")
    assert url.scheme == "https" or loopback
    assert url.path.endswith("/v1/auth/oauth/native/finish")
    assert url.user is None
    assert url.password is None
    assert url.origin() == URL(base_url or "https://api.descope.com").origin()  # what is empty was not given


def any_project_id(project_id: str) -> None:
    """Refused, or called at a host of the vendor's."""
    try:
        finisher = NativeOAuthFinisher(project_id, _NoTransport())
    except InvalidRequestError:
        return
    origin = repr(finisher).removeprefix("<NativeOAuthFinisher ").removesuffix(">")
    host = URL(origin).host or ""
    assert host == "api.descope.com" or (host.endswith(".descope.com") and host.count(".") == 3)
    assert project_id.isascii()
    assert project_id.isprintable()


class _NoTransport:
    async def send(self, request: Any, /) -> HttpResponse:
        raise AssertionError


urls = st.one_of(
    texts,
    st.builds(
        "{}://{}{}{}{}".format,
        st.sampled_from(["http", "https", "HTTPS", "ftp", "", "javascript"]),
        st.sampled_from(["", "user@", "user:pw@", "@", "\\"]),
        st.sampled_from(["localhost", "api.example", "127.0.0.1", "[::1]", "127.1", "127.0.0.1.x"]) | texts,
        st.sampled_from(["", ":80", ":99999", ":x", ":"]),
        st.sampled_from(["", "/", "/a/b/", "//", "/../x", "?x", "#x", "/%2e%2e", "\\@evil.example"]) | texts,
    ),
)
project_ids = st.one_of(
    texts,
    st.from_regex(r"P2[A-Za-z0-9]{26}", fullmatch=True),
    st.text(st.sampled_from("Pab12.@:/#?\\%_-~!\r\n "), max_size=50),
)

PURE: Final[dict[str, tuple[Callable[..., None], dict[str, st.SearchStrategy[Any]]]]] = {
    "response": (any_response, {"status": statuses, "headers": headers, "body": bodies}),
    "Retry-After": (any_retry_after, {"values": st.lists(retry_after, max_size=3)}),
    "Set-Cookie": (any_set_cookies, {"lines": st.lists(set_cookies, max_size=5)}),
    "base URL": (any_base_url, {"base_url": urls}),
    "project id": (any_project_id, {"project_id": project_ids}),
}
