"""What each of aiohttp's errors is taken for, to the word: the network tests look at kinds and facts."""

import asyncio
import errno
import gc
import inspect
import logging
import math
import os
import socket
import ssl
import subprocess
import sys
import traceback
import types
import weakref
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError
from kit import servers
from kit.certs import Authority
from kit.servers import serve
from kit.support import GOOGLE, PROJECT, failure, finish
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from descope_native import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    HttpRequest,
    InvalidRequestError,
    NativeOAuthFinisher,
    RequestTimeout,
    TLSError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)
from descope_native.transports._aiohttp.failures import body_failure, connect_failure, failure_once_sent
from descope_native.transports.aiohttp import AiohttpTransport, _may_be_reused

KEY: Any = SimpleNamespace(host="a.example", port=443, ssl=True, is_ssl=True)
INFO = aiohttp.RequestInfo(URL("https://a"), "CONNECT", CIMultiDictProxy(CIMultiDict()), URL("https://a"))


def connector(number: int) -> aiohttp.ClientConnectorError:
    return aiohttp.ClientConnectorError(KEY, OSError(number, "canary"))


def certificate(**facts: Any) -> aiohttp.ClientConnectorCertificateError:
    error = ssl.SSLCertVerificationError(1, "canary")
    for name, fact in facts.items():
        setattr(error, name, fact)
    return aiohttp.ClientConnectorCertificateError(KEY, error)


def handshake(reason: Any) -> aiohttp.ClientConnectorSSLError:
    error = ssl.SSLError(1, "canary")
    error.reason = reason
    return aiohttp.ClientConnectorSSLError(KEY, error)


def proxy(status: int) -> aiohttp.ClientHttpProxyError:
    return aiohttp.ClientHttpProxyError(INFO, (), status=status, message="canary")


def nothing_resolved() -> RuntimeError:
    """What a coroutine makes of asking for the first of no addresses."""
    error = RuntimeError("canary")
    error.__cause__ = StopIteration()
    return error


def unreached(reason: Any) -> ConnectError:
    return ConnectError(reason, f"nobody could be reached ({reason})")


UNPROVED = "the certificate is not valid"
RESET = ConnectError("reset", "the connection was reset in the TLS handshake")
GONE = ConnectError("reset", "the connection went before anything could be sent")
CONNECT: list[tuple[Exception, DescopeNativeError]] = [
    (proxy(407), ConnectError("proxy", "the proxy answered 407 to CONNECT", safe_to_retry=False)),
    (proxy(499), ConnectError("proxy", "the proxy answered 499 to CONNECT", safe_to_retry=False)),
    (proxy(500), ConnectError("proxy", "the proxy answered 500 to CONNECT")),
    (proxy(502), ConnectError("proxy", "the proxy answered 502 to CONNECT")),
    (
        aiohttp.ClientProxyConnectionError(KEY, OSError(errno.ECONNREFUSED, "canary")),
        ConnectError("proxy", "the proxy could not be reached"),
    ),
    (
        aiohttp.ClientConnectorDNSError(KEY, OSError("canary")),
        ConnectError("dns", "the host name could not be resolved"),
    ),
    (
        aiohttp.ServerFingerprintMismatch(b"a", b"b", "canary", 443),
        TLSError("the certificate does not have the expected fingerprint"),
    ),
    (certificate(verify_message="expired"), TLSError(f"{UNPROVED} (expired)")),
    (certificate(verify_message=None), TLSError(UNPROVED)),
    (aiohttp.ClientConnectorCertificateError(KEY, ValueError("canary")), TLSError(UNPROVED)),
    (
        handshake("WRONG_VERSION_NUMBER"),
        TLSError("the TLS handshake failed (wrong version number)"),
    ),
    (handshake(None), TLSError("the TLS handshake failed (no reason given)")),
    (
        aiohttp.ClientConnectorSSLError(KEY, OSError("canary")),
        TLSError("the TLS handshake failed (no reason given)"),
    ),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLEOFError(8, "canary")), RESET),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLZeroReturnError(6, "canary")), RESET),
    (aiohttp.ConnectionTimeoutError("canary"), RequestTimeout("connect", 5.0)),
    (aiohttp.ServerTimeoutError("canary"), RequestTimeout("connect", 5.0)),
    *((connector(number), unreached("refused")) for number in (errno.ECONNREFUSED,)),
    *(
        (connector(number), unreached("reset"))
        for number in (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE)
    ),
    *(
        (connector(number), unreached("unreachable"))
        for number in (
            errno.ENETUNREACH,
            errno.EHOSTUNREACH,
            errno.ENETDOWN,
            errno.EHOSTDOWN,
            errno.ETIMEDOUT,
        )
    ),
    (connector(errno.EMFILE), unreached("other")),
    (aiohttp.ClientConnectorError(KEY, ConnectionError("canary")), unreached("reset")),
    (aiohttp.ClientConnectorError(KEY, OSError("canary")), unreached("other")),
    (TimeoutError("canary"), RequestTimeout("connect", 5.0)),
    (
        aiohttp.InvalidURL("canary"),
        ConnectError("other", "the URL is no web address", safe_to_retry=False),
    ),
    (aiohttp.ServerDisconnectedError("canary"), GONE),
    (aiohttp.ClientOSError(errno.ECONNRESET, "canary"), GONE),
    (ConnectionResetError("canary"), GONE),
    (nothing_resolved(), ConnectError("dns", "the host name resolved to nothing")),
    (AssertionError(), ConnectError("dns", "the host name resolved to nothing")),
    (AssertionError("canary"), TransportError("connect", "the transport failed (AssertionError)")),
    (RuntimeError("canary"), TransportError("connect", "the transport failed (RuntimeError)")),
    (KeyError("canary"), TransportError("connect", "the transport failed (KeyError)")),
]


def facts(error: DescopeNativeError) -> tuple[object, ...]:
    return (type(error), error.args, str(error), error.safe_to_retry)


@pytest.mark.parametrize(("error", "taken_for"), CONNECT, ids=[type(error).__name__ for error, _ in CONNECT])
@pytest.mark.parametrize("has_proxy", [False, True])
def test_an_error_while_connecting_is_taken_for_this(
    error: Exception, taken_for: DescopeNativeError, has_proxy: bool
) -> None:
    """One of ours without a word of aiohttp's; with a proxy, who went was the proxy."""
    if has_proxy and taken_for is GONE:
        taken_for = ConnectError("proxy", "the proxy did not open a tunnel", safe_to_retry=False)
    assert facts(connect_failure(error, 5.0, has_proxy=has_proxy)) == facts(taken_for)


@pytest.mark.parametrize("phase", ["send", "wait", "read"])
def test_an_error_after_sending_is_taken_for_this(phase: Any) -> None:
    """Nothing is known of the code any more, whatever it was."""
    lost = ConnectionLost(phase, "the connection was lost before an answer came")
    for error, taken_for in (
        (HttpProcessingError(code=400, message="canary"), UnexpectedResponse(0, "the answer is not HTTP")),
        (aiohttp.ServerDisconnectedError("canary"), lost),
        (aiohttp.ClientOSError(errno.EPIPE, "canary"), lost),
        (ConnectionResetError("canary"), lost),
        (KeyError("canary"), TransportError(phase, "the transport failed (KeyError)")),
    ):
        assert facts(failure_once_sent(error, phase)) == facts(taken_for)


async def answered_with(*parts: bytes) -> DescopeNativeError:
    """What a call over a real socket raises where these bytes come back and the connection ends."""

    async def script(connection: servers.Connection) -> None:
        await connection.request()
        for part in parts:
            connection.send(part)
        connection.finish()

    async with serve(script) as server, AiohttpTransport.open() as transport:
        finisher = NativeOAuthFinisher(PROJECT, transport, base_url=server.url())
        with pytest.raises(DescopeNativeError) as caught:
            await finisher.finish(**GOOGLE)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
            ConnectionLost("read", "the connection was lost within the answer"),
        ),
        (b"HTTP/9 what\r\n\r\n", UnexpectedResponse(0, "the answer is not HTTP")),
        (b"", ConnectionLost("wait", "the connection was lost before an answer came")),
    ],
)
async def test_an_answer_that_is_cut_or_torn_is_told_so(answer: bytes, error: DescopeNativeError) -> None:
    """To the word: lost and malformed are not the same to whoever looks for the reason."""
    assert facts(await answered_with(answer)) == facts(error)


async def in_its_answer(close: bool = False, cancel: bool = False, tear: bool = False) -> BaseException:
    """How a call over a borrowed session ends to which this happens while the answer's body is awaited."""
    reading = asyncio.Event()

    async def script(connection: servers.Connection) -> None:
        await connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
        await reading.wait()
        if tear:
            connection.send(b"no length\r\n")

    sent: list[HttpRequest] = []

    class Watched(AiohttpTransport):
        async def send(self, request: HttpRequest, /) -> Any:
            sent.append(request)
            return await super().send(request)

    async with serve(script) as server, aiohttp.ClientSession() as session:
        transport = Watched(session)
        finisher = NativeOAuthFinisher(PROJECT, transport, base_url=server.url())
        call = asyncio.create_task(finisher.finish(**GOOGLE))
        while not call.done() and (not sent or sent[0].progress.phase != "read"):
            await asyncio.sleep(0)
        reading.set()
        if cancel:
            call.cancel()
        if close:
            await session.close()
        (result,) = await asyncio.gather(call, return_exceptions=True)
        await transport.close()
    assert isinstance(result, BaseException)
    return result


async def test_a_body_that_stops_being_http_is_told_so() -> None:
    """It is not the same as a lost connection, though aiohttp has one error for both."""
    error = await in_its_answer(tear=True)
    assert isinstance(error, UnexpectedResponse)
    assert error.args == (200, "the answer's body is not HTTP", None)


async def test_an_owner_who_closes_his_session_within_an_answer_is_told_so() -> None:
    """It is neither the network nor the service that ended the call."""
    error = await in_its_answer(close=True)
    assert isinstance(error, TransportClosed)
    assert error.args == ("read", "the session was closed")


@pytest.mark.parametrize("close", [False, True])
async def test_who_cancels_is_not_told_that_a_session_was_closed(close: bool) -> None:
    """Cancellation passes, also where the session is closed at the same moment."""
    assert type(await in_its_answer(close=close, cancel=True)) is asyncio.CancelledError


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "closing"])
@pytest.mark.parametrize("is_known", [True, False])
async def test_a_connection_that_ends_at_this_moment_is_not_written_to(gone: bool, is_known: bool) -> None:
    """asyncio closes a connection a moment before it tells the protocol, whose word is the old one then."""
    protocol = ResponseHandler(asyncio.get_running_loop())
    protocol.transport = None if gone else mock.Mock(**{"is_closing.return_value": True})
    async with AiohttpTransport.open() as transport:
        assert not protocol.should_close
        assert not await transport._is_clean(protocol, is_known=is_known)


@pytest.mark.parametrize("url", ["/path", "ftp://localhost/", "foo://localhost:9/"])
async def test_what_is_no_web_address_is_not_dialled(url: str) -> None:
    """Nothing that a finisher lets through, but a transport may be used by itself."""
    request = HttpRequest(method="POST", url=URL(url), headers={}, body=b"{}", timeout=1.0)
    async with AiohttpTransport.open() as transport:
        with pytest.raises(ConnectError) as caught:
            await transport.send(request)
    assert caught.value.args == ("other", "the URL is no web address", False)


async def test_a_host_that_only_looks_like_an_address_is_refused_for_good() -> None:
    """Half an IP address is one to some programs and a name to others; aiohttp takes it for neither."""
    async with AiohttpTransport.open() as transport:
        finisher = NativeOAuthFinisher(PROJECT, transport, base_url="https://127.1")
        with pytest.raises(ConnectError) as caught:
            await finisher.finish(**GOOGLE)
    assert caught.value.args == ("other", "the URL is no web address", False)


PURE_PYTHON = """
import asyncio
from descope_native import AiohttpTransport, HttpRequest
from yarl import URL

async def answer(reader, writer):
    await reader.readuntil(b"{}")
    writer.write(b"HTTP/1.1 400 Bad\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n1\\r\\n{\\r\\n")
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.write(b"no length\\r\\n")
    await reader.read()
    writer.close()

async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, AiohttpTransport.open() as transport:
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        print(await transport.send(HttpRequest(method="POST", url=url, headers={}, body=b"{}", timeout=5)))

asyncio.run(main())
"""


def test_a_rejection_stays_one_where_aiohttp_is_pure_python() -> None:
    """Its parser there raises its own errors to whoever reads a body."""
    environment = {**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"}
    command = [sys.executable, "-c", PURE_PYTHON]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert (said.stdout, said.stderr) == ("HttpResponse(status=400)\n", "")


@pytest.mark.parametrize("proxy", [1, b"http://p", "p", "http://", "http://[", "socks5://p", URL("/p")])
def test_what_is_no_proxy_is_refused(proxy: Any) -> None:
    """Before anything is opened."""
    with pytest.raises(InvalidRequestError):
        AiohttpTransport.open(proxy=proxy)


@pytest.mark.parametrize("proxy", [None, "", "http://p", "https://p:1", URL("http://u:p@p")])
def test_what_is_a_proxy_is_taken(proxy: Any) -> None:
    """With a password or without; it opens nothing yet."""
    AiohttpTransport.open(proxy=proxy)


async def test_a_session_that_was_closed_is_refused() -> None:
    """When it is handed over, and not at the first call."""
    session = aiohttp.ClientSession()
    await session.close()
    with pytest.raises(InvalidRequestError) as caught:
        AiohttpTransport(session)
    assert str(caught.value) == "session must be open"


class ForeignError(OSError):
    """Of a connector that is not aiohttp's: its number does not make Python call it a ``ConnectionError``."""


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ECONNRESET, "reset"),
        (errno.ECONNABORTED, "reset"),
        (errno.EPIPE, "reset"),
        (errno.ECONNREFUSED, "refused"),
        (errno.EMFILE, "other"),
    ],
)
def test_the_number_of_an_error_says_why_whatever_its_kind(number: int, reason: Any) -> None:
    """A number is the system's word; the kind is only looked at where there is none."""
    error = aiohttp.ClientConnectorError(KEY, ForeignError(number, "canary"))
    assert facts(connect_failure(error, 5.0, has_proxy=False)) == facts(unreached(reason))


async def test_a_body_is_not_http_where_either_the_error_or_the_connection_says_so() -> None:
    """The parsers of aiohttp tell it in two places, of which one is enough; else a connection was lost."""
    torn = HttpProcessingError(code=400, message="canary")
    for error, of_the_connection, taken_for in (
        (torn, None, UnexpectedResponse(200, "the answer's body is not HTTP")),
        (
            aiohttp.ClientPayloadError("canary"),
            torn,
            UnexpectedResponse(200, "the answer's body is not HTTP"),
        ),
        (
            aiohttp.ClientPayloadError("canary"),
            aiohttp.ServerDisconnectedError("canary"),
            ConnectionLost("read", "the connection was lost within the answer"),
        ),
    ):
        protocol = ResponseHandler(asyncio.get_running_loop())
        if of_the_connection is not None:
            protocol.set_exception(of_the_connection)
        assert facts(body_failure(200, error, protocol)) == facts(taken_for)


async def test_what_is_not_told_is_a_mebibyte_and_five_seconds() -> None:
    """To the byte and to the second, which is not rounded up either."""
    asked: list[aiohttp.ClientTimeout] = []

    class Asked(aiohttp.TCPConnector):
        async def connect(self, request: Any, traces: Any, timeout: aiohttp.ClientTimeout) -> Any:
            asked.append(timeout)
            return await super().connect(request, traces, timeout)

    bodies = [b"x" * size for size in (1 << 20, (1 << 20) + 1)]
    async with (
        serve(servers.answering(*(servers.answer(200, body) for body in bodies for _ in range(2)))) as server,
        aiohttp.ClientSession(connector=Asked()) as owner,
        AiohttpTransport.open() as opened,
    ):
        for transport in (AiohttpTransport(owner), opened):
            assert (await transport.send(to(server))).body == bodies[0]
        for transport in (AiohttpTransport(owner), opened):
            with pytest.raises(UnexpectedResponse, match="larger than 1048576 bytes"):
                await transport.send(to(server))
    assert {(limits.connect, limits.ceil_threshold) for limits in asked} == {(5.0, math.inf)}
    assert inspect.signature(AiohttpTransport.open).parameters["connect_timeout"].default == 5.0


def to(server: servers.Server, body: bytes = b"{}", timeout: float = 5.0) -> HttpRequest:
    return HttpRequest(method="POST", url=URL(server.url()), headers={}, body=body, timeout=timeout)


async def test_a_body_of_no_stated_length_ends_with_its_connection() -> None:
    """As HTTP/1.0 had it: what comes until then is the body."""

    async def script(connection: servers.Connection) -> None:
        await connection.request()
        connection.send(b'HTTP/1.1 200 Whatever\r\n\r\n{"sessionJwt"')
        await asyncio.sleep(0)
        connection.send(b': "s.e.s"}')
        connection.finish()

    async with serve(script) as server, AiohttpTransport.open() as transport:
        assert (await finish(transport, server.url())).session_jwt == "s.e.s"


async def test_an_answer_to_a_request_that_is_half_sent_is_taken_and_the_rest_is_not_sent() -> None:
    """Nobody waits for a peer to read what it has answered already; its connection is not used again."""

    async def script(connection: servers.Connection) -> None:
        await connection.arrived(1)
        connection.transport.pause_reading()
        connection.send(servers.answer(413))

    async with serve(script) as server, AiohttpTransport.open() as transport:
        for count in (1, 2):
            request = to(server, b"x" * 20_000_000, timeout=2)
            assert (await transport.send(request)).status == 413
            assert len(server.connections) == count
            server.connections[-1].transport.resume_reading()
            await server.connections[-1].gone()
    assert len(server.received) < 20_000_000


@pytest.mark.parametrize(
    ("status", "kind"),
    [(99, None), (200, ConnectionLost), (299, ConnectionLost), (300, None)],
)
async def test_a_status_beyond_2xx_counts_without_its_body_and_a_2xx_does_not(status: int, kind: Any) -> None:
    """To the number: a session is in the body, all else is in the status."""

    async def script(connection: servers.Connection) -> None:
        await connection.request()
        connection.send(b"HTTP/1.1 %03d Whatever\r\nContent-Length: 9\r\n\r\n{" % status)
        connection.finish()

    async with serve(script) as server, AiohttpTransport.open() as transport:
        if kind is None:
            answer = await transport.send(to(server))
            assert (answer.status, answer.header("content-length"), answer.body) == (status, "9", b"")
        else:
            with pytest.raises(kind):
                await transport.send(to(server))


@pytest.mark.parametrize("status", [100, 102, 103, 199])
async def test_an_answer_that_only_announces_one_is_passed_over(status: int) -> None:
    """From the first of them to the last, and however many there are."""
    interim = f"HTTP/1.1 {status} Whatever\r\n\r\n".encode()
    script = servers.answering(interim * 3 + servers.session("a.b.c"))
    async with serve(script) as server, AiohttpTransport.open() as transport:
        assert (await finish(transport, server.url(), timeout=2)).session_jwt == "a.b.c"


async def test_an_announcement_is_not_kept_while_its_answer_is_awaited() -> None:
    """It may hold a cookie, and a frame that waits may end up in somebody's collector of errors."""

    async def script(connection: servers.Connection) -> None:
        await connection.request()
        connection.send(b"HTTP/1.1 103 Early Hints\r\nSet-Cookie: DS=canary\r\n\r\nHTTP/1.1 200")
        connection.let_arrive()
        await connection.gone()

    async with serve(script) as server, AiohttpTransport.open() as transport:
        call = asyncio.create_task(transport.send(to(server)))
        await server.until(lambda: b"\r\n\r\n{}" in server.received)
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await call
    frames = {
        frame.f_code.co_name: repr(
            [[value, getattr(value, "__dict__", None)] for value in frame.f_locals.values()]
        )
        for frame, _ in traceback.walk_tb(cancelled.value.__traceback__)
        if frame.f_globals["__name__"].startswith("descope_native")
    }
    assert "_read_head" in frames
    assert "canary" not in "".join(frames.values())


async def test_what_was_sent_only_later_has_been_sent_when_a_call_ends() -> None:
    """A body that sockets do not take at once has left by then, and nothing but its answer is missing."""

    async def script(connection: servers.Connection) -> None:
        await connection.request()
        read.set()
        await connection.gone()

    read = asyncio.Event()
    async with serve(script) as server, AiohttpTransport.open() as transport:
        request = to(server, b"x" * 20_000_000)
        call = asyncio.create_task(transport.send(request))
        call.add_done_callback(lambda _: read.set())
        await read.wait()
        assert request.progress.phase == "send"  # nobody has looked since
        await transport.close()
        with pytest.raises(TransportClosed) as caught:
            await call
    assert caught.value.phase == "wait"


@pytest.mark.parametrize(
    ("size", "ended", "empty", "closing", "buffered", "doomed", "over"),
    [
        (16 * 1024, True, False, False, 0, False, True),
        (16 * 1024 + 1, True, False, False, 0, False, False),
        (1, False, False, False, 0, False, False),
        (1, True, True, False, 0, False, False),
        (1, True, False, True, 0, False, False),
        (1, True, False, False, 1, False, False),
        (1, True, False, False, 0, True, False),
    ],
    ids=["kept", "a large request", "half an answer", "no body due", "closing", "half a request", "doomed"],
)
async def test_a_connection_is_kept_where_neither_side_has_more_to_say(
    size: int, ended: bool, empty: bool, closing: bool, buffered: int, doomed: bool, over: bool
) -> None:
    """Each sign of more is enough by itself; over a socket they come in company."""
    request = HttpRequest(method="POST", url=URL("https://a"), headers={}, body=b"x" * size, timeout=1.0)
    loop = asyncio.get_running_loop()
    content = aiohttp.EMPTY_PAYLOAD if empty else aiohttp.StreamReader(ResponseHandler(loop), 1024, loop=loop)
    if ended:
        content.feed_eof()
    transport = mock.Mock(
        **{"is_closing.return_value": closing, "get_write_buffer_size.return_value": buffered}
    )
    outgoing = mock.Mock(request=request, transport=transport, **{"protocol.should_close": doomed})
    assert _may_be_reused(outgoing, content) is over


async def test_a_session_whose_connector_was_closed_is_refused() -> None:
    """It may have been shared, and then the session itself does not know."""
    connector = aiohttp.TCPConnector()
    async with aiohttp.ClientSession(connector=connector, connector_owner=False) as session:
        await connector.close()
        with pytest.raises(InvalidRequestError) as caught:
            AiohttpTransport(session)
    assert str(caught.value) == "session must be open"


async def test_who_waits_for_a_place_at_a_host_waits_in_the_pool() -> None:
    """A connector may have fewer connections for one host than in all; the wait for those is no connect."""
    connector = aiohttp.TCPConnector(limit=100, limit_per_host=1)
    async with (
        serve(servers.Connection.gone) as server,
        aiohttp.ClientSession(connector=connector) as owner,
    ):
        transport = AiohttpTransport(owner)
        first = asyncio.create_task(transport.send(to(server)))
        await server.until(lambda: bool(server.received))
        with pytest.raises(RequestTimeout) as caught:
            await transport.send(to(server, timeout=0.05))
        assert caught.value.phase == "pool"
        await transport.close()
        await asyncio.gather(first, return_exceptions=True)


async def test_certificates_are_checked_unless_told_otherwise() -> None:
    """One that nobody vouches for is refused before anything is said."""
    stranger = Authority().certify("localhost").server_context()
    async with serve(servers.answering(servers.session("a.b.c")), stranger) as server:
        async with AiohttpTransport.open() as transport:
            with pytest.raises(TLSError, match="the certificate is not valid"):
                await finish(transport, server.url("https"))
        assert server.received == b""
        async with AiohttpTransport.open(ssl=False) as transport:
            assert (await finish(transport, server.url("https"))).session_jwt == "a.b.c"


async def test_a_refused_proxy_leaves_no_password_in_a_traceback() -> None:
    """Nor in any local of ours: whoever collects errors with their frames does not get it."""
    async with aiohttp.ClientSession() as session:
        for make in (
            lambda proxy: AiohttpTransport.open(proxy=proxy),
            lambda proxy: AiohttpTransport(session, proxy=proxy),
        ):
            with pytest.raises(InvalidRequestError) as caught:
                make("ftp://user:canary@proxy")
            frames = [
                frame
                for frame, _ in traceback.walk_tb(caught.value.__traceback__)
                if frame.f_globals["__name__"].startswith("descope_native")
            ]
            assert len(frames) == 1
            assert "canary" not in repr(frames[0].f_locals)
            assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("reuse", [True, False])
async def test_a_clean_connection_is_used_again_unless_told_otherwise(reuse: bool) -> None:
    """And the server is told that there will be no next request."""
    options: dict[str, Any] = {} if reuse else {"reuse_connections": False}
    script = servers.answering(servers.session("a.b.c"))
    async with serve(script) as server, AiohttpTransport.open(**options) as transport:
        for _ in range(2):
            await finish(transport, server.url())
    assert len(server.connections) == (1 if reuse else 2)
    assert server.received.count(b"\r\nConnection: close\r\n") == (0 if reuse else 2)


async def test_what_is_opened_keeps_to_the_limits_it_was_opened_with() -> None:
    """Of time, as its error says, and of size."""
    async with (
        serve(servers.Connection.gone) as silent,
        AiohttpTransport.open(connect_timeout=0.05) as transport,
    ):
        with pytest.raises(RequestTimeout) as late:
            await finish(transport, silent.url("https"))
    assert late.value.args == ("connect", 0.05)
    async with (
        serve(servers.answering(servers.answer(200, b"four"))) as server,
        AiohttpTransport.open(max_body=3) as transport,
    ):
        with pytest.raises(UnexpectedResponse) as large:
            await finish(transport, server.url())
    assert large.value.args == (200, "the answer's body is larger than 3 bytes", None)


async def test_over_a_session_that_its_owner_has_closed_nobody_is_dialled() -> None:
    """aiohttp would connect first, and look then."""
    heard: list[object] = []

    async def hear(*_: object) -> None:
        heard.append(None)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(hear)
    script = servers.answering(servers.session("a.b.c"))
    async with serve(script) as server, AiohttpTransport.open() as other:
        session = aiohttp.ClientSession(trace_configs=[config])
        transport = AiohttpTransport(session)
        await session.close()
        with pytest.raises(TransportClosed):
            await finish(transport, server.url())
        await finish(other, server.url())
        assert (len(server.connections), heard) == (1, [])


async def test_an_owner_who_closes_his_session_before_it_has_a_place_for_a_call_is_told_so() -> None:
    """aiohttp cancels who waits in its queue, but nobody cancelled the call."""
    queued = asyncio.Event()

    async def hear(*_: object) -> None:
        queued.set()

    config = aiohttp.TraceConfig()
    config.on_connection_queued_start.append(hear)
    async with (
        serve(servers.Connection.gone) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1), trace_configs=[config]) as owner,
    ):
        his = asyncio.create_task(owner.get(server.url()).__aenter__())
        await server.until(lambda: bool(server.received))
        call = asyncio.create_task(finish(AiohttpTransport(owner), server.url()))
        call.add_done_callback(lambda _: queued.set())
        await queued.wait()
        await asyncio.sleep(0)
        await owner.close()
        with pytest.raises(TransportClosed) as caught:
            await call
        his.cancel()
        await asyncio.gather(his, return_exceptions=True)
    assert caught.value.args == ("connect", "the session was closed")


async def test_a_cancellation_that_nobody_asked_for_is_a_failure() -> None:
    """A resolver's, say, that came out of it: whoever called would take it for their own."""

    class Cancelling(aiohttp.TCPConnector):
        async def connect(self, *_: object) -> Any:
            raise asyncio.CancelledError

    async with aiohttp.ClientSession(connector=Cancelling()) as owner:
        error = await failure(AiohttpTransport(owner), "https://a")
    assert facts(error) == facts(TransportError("connect", "the transport failed (CancelledError)"))


async def test_a_cancellation_outside_of_any_task_passes() -> None:
    """Whoever drives a coroutine by hand throws into it what they mean."""

    class Waiting(aiohttp.TCPConnector):
        async def connect(self, *_: object) -> Any:
            await steps()

    @types.coroutine
    def steps() -> Generator[None]:
        yield

    async with aiohttp.ClientSession(connector=Waiting()) as owner:
        request = HttpRequest(method="POST", url=URL("https://a"), headers={}, body=b"", timeout=1.0)
        by_hand = AiohttpTransport(owner)._call(request, math.inf)
        with mock.patch("asyncio.current_task", return_value=None):
            by_hand.send(None)
            with pytest.raises(asyncio.CancelledError):
                by_hand.throw(asyncio.CancelledError())


async def test_a_request_has_the_headers_it_was_given_and_those_that_http_needs() -> None:
    """aiohttp adds none of its own, whoever the caller of the transport is."""
    async with serve(servers.answering(servers.answer())) as server, AiohttpTransport.open() as transport:
        await transport.send(to(server))
    head, _, body = server.received.partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    assert (first, body) == (b"POST / HTTP/1.1", b"{}")
    assert sorted(headers) == [b"Content-Length: 2", f"Host: localhost:{server.port}".encode()]


@pytest.mark.parametrize("is_known", [True, False])
async def test_bytes_that_wait_spoil_a_connection_of_ours_and_not_a_new_one(is_known: bool) -> None:
    """A new one may have some of TLS; whatever they are, it is judged by what its protocol made of them."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        protocol = ResponseHandler(asyncio.get_running_loop())
        protocol.transport = mock.Mock(
            **{"is_closing.return_value": False, "get_extra_info.return_value": ours}
        )
        async with AiohttpTransport.open() as transport:
            assert await transport._is_clean(protocol, is_known=is_known) is not is_known


async def test_half_a_stray_head_that_nobody_has_read_yet_spoils_a_connection_of_ours() -> None:
    """Once a parser has swallowed it nothing would show, so it is not let."""
    script = servers.answering(servers.session("a.b.c"))
    async with serve(script) as server, AiohttpTransport.open() as transport:
        await finish(transport, server.url())
        server.connections[0].send(b"HTTP/1.1 200 Wha")
        server.connections[0].let_arrive()
        await finish(transport, server.url())
    assert len(server.connections) == 2


@pytest.mark.filterwarnings("ignore:The ssl_shutdown_timeout:DeprecationWarning")
async def test_an_owner_who_closes_his_session_politely_does_not_keep_who_reads_from_it() -> None:
    """His connector waits for a goodbye of TLS that never comes; the call ends without it."""
    authority = Authority()

    async def script(connection: servers.Connection) -> None:
        await connection.request()
        connection.transport.pause_reading()  # so that it hears no goodbye
        connection.send(servers.session("a.b.c")[:-1])

    connector = aiohttp.TCPConnector(ssl=authority.client_context(), ssl_shutdown_timeout=30)
    async with serve(script, authority.certify("localhost").server_context()) as server:
        owner = aiohttp.ClientSession(connector=connector)
        request = HttpRequest(method="POST", url=URL(server.url("https")), headers={}, body=b"{}", timeout=10)
        call = asyncio.create_task(AiohttpTransport(owner).send(request))
        while not call.done() and request.progress.phase != "read":
            await asyncio.sleep(0)
        closing = asyncio.create_task(owner.close())
        with pytest.raises(TransportClosed) as caught:
            await call
        assert not closing.done()
        server.connections[0].transport.resume_reading()
        await closing
    assert caught.value.args == ("read", "the session was closed")


async def test_a_transport_that_has_read_a_body_in_parts_is_forgotten() -> None:
    """It looks at its connection from time to time while it waits, and not for ever after."""

    async def script(connection: servers.Connection) -> None:
        await connection.request()
        connection.send(servers.session("a.b.c")[:-1])
        while request.progress.phase != "read":
            await asyncio.sleep(0)
        connection.send(servers.session("a.b.c")[-1:])

    async with serve(script) as server, aiohttp.ClientSession() as owner:
        request = to(server)
        transport = AiohttpTransport(owner)
        gone = weakref.ref(transport)
        await transport.send(request)
        del transport
        gc.collect()
        assert gone() is None


@pytest.mark.parametrize("status", [399, 400])
async def test_a_tracer_is_told_whether_an_answer_is_an_error_as_aiohttp_counts_it(status: int) -> None:
    """From 400 on it is one."""
    told: list[bool] = []

    async def hear(_: object, __: object, params: aiohttp.TraceRequestEndParams) -> None:
        told.append(params.response.ok)

    config = aiohttp.TraceConfig()
    config.on_request_end.append(hear)
    script = servers.answering(servers.answer(status))
    async with serve(script) as server, aiohttp.ClientSession(trace_configs=[config]) as owner:
        await AiohttpTransport(owner).send(to(server))
    assert told == [status < 400]


async def test_a_tracer_that_was_told_of_an_answer_hears_no_failure_of_its_body() -> None:
    """As with aiohttp's own client, to which a call is over with the head."""
    heard: list[str] = []

    def hearing(name: str) -> Any:
        async def hear(*_: object) -> None:
            heard.append(name)

        return hear

    config = aiohttp.TraceConfig()
    config.on_request_start.append(hearing("start"))
    config.on_request_end.append(hearing("end"))
    config.on_request_exception.append(hearing("exception"))

    async def script(connection: servers.Connection) -> None:
        await connection.request()
        connection.send(servers.session("a.b.c")[:-1])
        connection.finish()

    async with serve(script) as server, aiohttp.ClientSession(trace_configs=[config]) as owner:
        with pytest.raises(ConnectionLost):
            await AiohttpTransport(owner).send(to(server))
    assert heard == ["start", "end"]


async def test_a_new_connection_that_is_gone_already_is_replaced() -> None:
    """Its protocol has no transport any more, which nobody stumbles over."""

    class Flaky(aiohttp.TCPConnector):
        made = 0

        async def connect(self, *arguments: Any, **options: Any) -> Any:
            connection: Any = await super().connect(*arguments, **options)
            self.made += 1
            if self.made == 1:
                connection.transport.abort()
                while connection.transport is not None:
                    await asyncio.sleep(0)
            return connection

    script = servers.answering(servers.session("a.b.c"))
    async with serve(script) as server, aiohttp.ClientSession(connector=Flaky()) as owner:
        assert (await finish(AiohttpTransport(owner), server.url())).session_jwt == "a.b.c"


async def test_a_connection_that_is_reset_while_a_request_leaves_was_not_waited_on() -> None:
    """What was still to be sent is thrown away with it, and does not count as sent."""

    async def script(connection: servers.Connection) -> None:
        await connection.arrived(1)
        connection.reset()

    async with serve(script) as server, AiohttpTransport.open() as transport:
        with pytest.raises(ConnectionLost) as caught:
            await transport.send(to(server, b"x" * 20_000_000))
    assert caught.value.phase == "send"


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "none"])
async def test_a_connection_whose_socket_cannot_be_looked_at_is_not_used_again(closed: bool) -> None:
    """Not every transport shows its socket, and one that closes elsewhere has no number any more."""
    gone = socket.socket()
    gone.close()
    protocol = ResponseHandler(asyncio.get_running_loop())
    protocol.transport = mock.Mock(
        **{"is_closing.return_value": False, "get_extra_info.return_value": gone if closed else None}
    )
    async with AiohttpTransport.open() as transport:
        assert not await transport._is_clean(protocol, is_known=True)


async def test_connections_are_looked_at_in_a_process_with_very_many() -> None:
    """``select()`` knows numbers up to 1023 only."""
    fcntl = pytest.importorskip("fcntl")
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 2048:
        pytest.skip("this process may not open so many")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 2048), before[1]))
    try:
        near, far = socket.socketpair()
        with near, far, socket.socket(fileno=fcntl.fcntl(near, fcntl.F_DUPFD_CLOEXEC, 1024)) as high:
            protocol = ResponseHandler(asyncio.get_running_loop())
            protocol.transport = mock.Mock(
                **{"is_closing.return_value": False, "get_extra_info.return_value": high}
            )
            async with AiohttpTransport.open() as transport:
                assert await transport._is_clean(protocol, is_known=True)
                far.send(b"x")
                assert not await transport._is_clean(protocol, is_known=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_hundred_connections_are_open_at_once_and_no_more() -> None:
    """Unless told otherwise; who comes next waits in the pool."""
    async with serve(servers.Connection.gone) as server, AiohttpTransport.open() as transport:
        requests = [to(server) for _ in range(101)]
        calls = [asyncio.create_task(transport.send(request)) for request in requests]
        await server.until(lambda: len(server.connections) == 100)
        while [request.progress.phase for request in requests[:100]] != ["wait"] * 100:
            await asyncio.sleep(0)
        assert requests[100].progress.phase == "pool"
        await transport.close()
        await asyncio.gather(*calls, return_exceptions=True)
    assert len(server.connections) == 100


async def test_what_is_wrong_with_a_tracer_is_in_the_log_of_the_package(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Under the package's name, where whoever sets up logging looks for it."""

    async def fail(*_: object) -> None:
        raise KeyError("canary")

    config = aiohttp.TraceConfig()
    config.on_request_end.append(fail)
    script = servers.answering(servers.answer())
    async with serve(script) as server, aiohttp.ClientSession(trace_configs=[config]) as owner:
        await AiohttpTransport(owner).send(to(server))
    told = ("descope_native", logging.WARNING, "a tracer failed (KeyError)")
    assert caplog.record_tuples == [told]


async def test_what_is_no_session_is_refused() -> None:
    """To the word: a connector is none."""
    async with aiohttp.TCPConnector() as no_session:
        with pytest.raises(InvalidRequestError) as caught:
            AiohttpTransport(no_session)  # type: ignore[arg-type]
    assert str(caught.value) == "session must be an aiohttp.ClientSession"


@pytest.mark.parametrize("status", [200, 400])
async def test_an_answer_that_broke_before_anybody_read_on_is_told_as_one_that_breaks_then(
    status: int,
) -> None:
    """A tracer takes its time with the head; meanwhile the rest comes, is not HTTP, and all is over."""
    told, read_on = asyncio.Event(), asyncio.Event()

    async def wait(*_: object) -> None:
        told.set()
        await read_on.wait()

    async def script(connection: servers.Connection) -> None:
        await connection.request()
        connection.send(servers.chunked(b"{", status=status))
        await told.wait()
        connection.send(b"no length\r\n")
        await connection.gone()
        await asyncio.sleep(0)
        read_on.set()

    config = aiohttp.TraceConfig()
    config.on_request_end.append(wait)
    async with serve(script) as server, aiohttp.ClientSession(trace_configs=[config]) as owner:
        sending = AiohttpTransport(owner).send(to(server))
        if status == 400:
            assert (await sending).status == 400
        else:
            with pytest.raises(UnexpectedResponse) as caught:
                await sending
            assert caught.value.args == (200, "the answer's body is not HTTP", None)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_a_call_whose_time_is_up_already_sends_nothing(seconds: float) -> None:
    """A pooled connection would take the code before any clock is looked at."""
    script = servers.answering(servers.session("a.b.c"))
    async with serve(script) as server, AiohttpTransport.open() as transport:
        await transport.send(to(server))
        with pytest.raises(RequestTimeout) as caught:
            await transport.send(to(server, b"late", timeout=seconds))
        await transport.send(to(server))
    assert caught.value.args == ("pool", seconds)
    assert b"late" not in server.received


async def test_each_part_of_a_body_counts_by_its_own_size() -> None:
    """A small one before a large one does not make that small."""

    async def script(connection: servers.Connection) -> None:
        await connection.request()
        connection.send(servers.answer(200, b"x" * 21)[:-20])
        while request.progress.phase != "read":
            await asyncio.sleep(0)
        connection.send(b"x" * 20)

    async with serve(script) as server, AiohttpTransport.open(max_body=20) as transport:
        request = to(server)
        with pytest.raises(UnexpectedResponse, match="larger than 20 bytes"):
            await transport.send(request)


async def test_a_tracer_is_told_of_which_request_the_answer_is() -> None:
    """By method, address and headers, as at its start."""
    told: list[tuple[object, ...]] = []

    async def hear(
        _: object, __: object, params: aiohttp.TraceRequestStartParams | aiohttp.TraceRequestEndParams
    ) -> None:
        told.append((params.method, params.url, dict(params.headers)))

    config = aiohttp.TraceConfig()
    config.on_request_start.append(hear)
    config.on_request_end.append(hear)
    script = servers.answering(servers.answer())
    async with serve(script) as server, aiohttp.ClientSession(trace_configs=[config]) as owner:
        await AiohttpTransport(owner).send(to(server))
        headers = {"Host": f"localhost:{server.port}", "Content-Length": "2"}
        assert told == [("POST", URL(server.url()), headers)] * 2
