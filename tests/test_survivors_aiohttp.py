"""What each of aiohttp's errors is taken for, to the word: the network tests look at kinds and facts."""

import asyncio
import errno
import os
import ssl
import subprocess
import sys
from types import SimpleNamespace
from typing import Any
from unittest import mock

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy
from support import GOOGLE, PROJECT, raw_server, read_request
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
from descope_native.transports.aiohttp import AiohttpTransport, _connect_failure, _sent

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
    (RuntimeError("canary"), ConnectError("dns", "the host name resolved to nothing")),
    (AssertionError("canary"), ConnectError("dns", "the host name resolved to nothing")),
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
    assert facts(_connect_failure(error, 5.0, has_proxy=has_proxy)) == facts(taken_for)


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
        assert facts(_sent(error, phase)) == facts(taken_for)


async def answered_with(*parts: bytes) -> DescopeNativeError:
    """What a call over a real socket raises where these bytes come back and the connection ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()

    async with raw_server(serve) as port, AiohttpTransport.open() as transport:
        finisher = NativeOAuthFinisher(PROJECT, transport, base_url=f"http://localhost:{port}")
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

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
        await reading.wait()
        if tear:
            writer.write(b"no length\r\n")
        await reader.read()

    sent: list[HttpRequest] = []

    class Watched(AiohttpTransport):
        async def send(self, request: HttpRequest, /) -> Any:
            sent.append(request)
            return await super().send(request)

    async with raw_server(serve) as port, aiohttp.ClientSession() as session:
        transport = Watched(session)
        finisher = NativeOAuthFinisher(PROJECT, transport, base_url=f"http://localhost:{port}")
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


@pytest.mark.parametrize("proxy", [1, b"http://p", "", "p", "http://", "http://[", "socks5://p", URL("/p")])
def test_what_is_no_proxy_is_refused(proxy: Any) -> None:
    """Before anything is opened."""
    with pytest.raises(InvalidRequestError):
        AiohttpTransport.open(proxy=proxy)


@pytest.mark.parametrize("proxy", [None, "http://p", "https://p:1", URL("http://u:p@p")])
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
