"""What aiohttp raises is taken for what it proves, and what the transport promises over aiohttp only."""

import asyncio
import errno
import gc
import os
import ssl
import subprocess
import sys
import traceback
import weakref
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from unittest import mock

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError
from kit.servers import Connection, Server, answer, answering, serve, session
from kit.support import Watched, failure, finish
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from descope_native import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    HttpRequest,
    RequestTimeout,
    TLSError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)
from descope_native.transports.aiohttp import AiohttpTransport

KEY: Any = SimpleNamespace(host="a.example", port=443, ssl=True, is_ssl=True)
INFO = aiohttp.RequestInfo(URL("https://a"), "CONNECT", CIMultiDictProxy(CIMultiDict()), URL("https://a"))


def to(server: Server, body: bytes = b"{}", timeout: float = 5.0) -> HttpRequest:
    return HttpRequest(method="POST", url=URL(server.url()), headers={}, body=body, timeout=timeout)


# --- while connecting


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


class ForeignError(OSError):
    """Of a connector that is not aiohttp's: its number does not make Python call it a ``ConnectionError``."""


# What is raised, its kind here, its reason or phase, whether another try is worth it, a word of its text.
CONNECT: list[tuple[BaseException, type[DescopeNativeError], str, bool, str]] = [
    (proxy(407), ConnectError, "proxy", False, "407"),
    (proxy(499), ConnectError, "proxy", False, "499"),
    (proxy(500), ConnectError, "proxy", True, "500"),
    (proxy(502), ConnectError, "proxy", True, "502"),
    (aiohttp.ClientProxyConnectionError(KEY, OSError("canary")), ConnectError, "proxy", True, ""),
    (aiohttp.ClientConnectorDNSError(KEY, OSError("canary")), ConnectError, "dns", True, ""),
    (aiohttp.ServerFingerprintMismatch(b"a", b"b", "canary", 443), TLSError, "tls", False, "fingerprint"),
    (certificate(verify_message="expired"), TLSError, "tls", False, "certificate is not valid (expired)"),
    (certificate(verify_message=None), TLSError, "tls", False, "certificate"),
    (aiohttp.ClientConnectorCertificateError(KEY, ValueError()), TLSError, "tls", False, "certificate"),
    (handshake("WRONG_VERSION_NUMBER"), TLSError, "tls", False, "wrong version number"),
    (handshake(None), TLSError, "tls", False, "handshake"),
    (aiohttp.ClientConnectorSSLError(KEY, OSError("canary")), TLSError, "tls", False, "handshake"),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLEOFError(8, "canary")), ConnectError, "reset", True, ""),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLZeroReturnError(6, "")), ConnectError, "reset", True, ""),
    (aiohttp.ConnectionTimeoutError("canary"), RequestTimeout, "connect", True, ""),
    (aiohttp.ServerTimeoutError("canary"), RequestTimeout, "connect", True, ""),
    (connector(errno.ECONNREFUSED), ConnectError, "refused", True, ""),
    *((connector(number), ConnectError, "reset", True, "")
      for number in (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE)),
    *((connector(number), ConnectError, "unreachable", True, "")
      for number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN,
                     errno.ETIMEDOUT)),
    (connector(errno.EMFILE), ConnectError, "other", True, ""),
    # A number is the system's word; the kind is only looked at where there is none.
    (aiohttp.ClientConnectorError(KEY, ForeignError(errno.ECONNRESET, "")), ConnectError, "reset", True, ""),
    (aiohttp.ClientConnectorError(KEY, ForeignError(errno.EMFILE, "")), ConnectError, "other", True, ""),
    (aiohttp.ClientConnectorError(KEY, ConnectionError("canary")), ConnectError, "reset", True, ""),
    (aiohttp.ClientConnectorError(KEY, OSError("canary")), ConnectError, "other", True, ""),
    (TimeoutError("canary"), RequestTimeout, "connect", True, ""),
    (aiohttp.InvalidURL("canary"), ConnectError, "other", False, ""),
    (aiohttp.ServerDisconnectedError("canary"), ConnectError, "reset", True, ""),
    (aiohttp.ClientOSError(errno.ECONNRESET, "canary"), ConnectError, "reset", True, ""),
    (ConnectionResetError("canary"), ConnectError, "reset", True, ""),
    (nothing_resolved(), ConnectError, "dns", True, ""),
    (AssertionError(), ConnectError, "dns", True, ""),
    (AssertionError("canary"), TransportError, "connect", False, "AssertionError"),
    (RuntimeError("canary"), TransportError, "connect", False, "RuntimeError"),
    (KeyError("canary"), TransportError, "connect", False, "KeyError"),
    # A resolver's, say: whoever called would take it for their own.
    (asyncio.CancelledError("canary"), TransportError, "connect", False, "CancelledError"),
]  # fmt: skip


@pytest.mark.parametrize("has_proxy", [False, True], ids=["direct", "by a proxy"])
@pytest.mark.parametrize("row", CONNECT, ids=[type(row[0]).__name__ for row in CONNECT])
async def test_an_error_while_connecting_is_taken_for_this(row: Any, has_proxy: bool) -> None:
    """One of ours without a word of aiohttp's; with a proxy, who went was the proxy."""
    raised, kind, reason, again, word = row
    if has_proxy and type(raised) in {
        aiohttp.ClientOSError,
        aiohttp.ServerDisconnectedError,
        ConnectionResetError,
    }:
        reason, again = "proxy", False
    if has_proxy and reason == "dns":  # its name was to be resolved, not the service's
        reason = "proxy"

    class Raising(aiohttp.TCPConnector):
        async def connect(self, *_: object) -> Any:
            raise raised

    async with aiohttp.ClientSession(connector=Raising()) as owner:
        transport = AiohttpTransport(owner, proxy="http://proxy" if has_proxy else None)
        error = await failure(transport, "https://a.example")
    assert type(error) is kind
    assert isinstance(error, TransportError)
    assert error.phase == "connect"
    assert getattr(error, "reason", "connect") == reason
    assert error.safe_to_retry is again
    assert word in str(error)
    assert "canary" not in str(error)


@pytest.mark.parametrize("url", ["/path", "ftp://localhost/", "foo://localhost:9/", "https://127.1/"])
async def test_what_is_no_web_address_is_not_dialled(url: str) -> None:
    """The finisher lets none but the last through, but a transport may be used by itself."""
    request = HttpRequest(method="POST", url=URL(url), headers={}, body=b"{}", timeout=1.0)
    async with AiohttpTransport.open() as transport:
        with pytest.raises(ConnectError, match="no web address") as caught:
            await transport.send(request)
    assert not caught.value.safe_to_retry


# --- once the request may have left


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (HttpProcessingError(code=400, message="canary"), UnexpectedResponse),
        (aiohttp.ServerDisconnectedError("canary"), ConnectionLost),
        (aiohttp.ClientOSError(errno.EPIPE, "canary"), ConnectionLost),
        (ConnectionResetError("canary"), ConnectionLost),
        (KeyError("canary"), TransportError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_an_error_after_sending_is_taken_for_this(raised: Exception, kind: Any) -> None:
    """Nothing is known of the code any more, whatever it was."""
    with mock.patch.object(ResponseHandler, "read", side_effect=raised):
        async with serve(answering()) as server, AiohttpTransport.open() as transport:
            error = await failure(transport, server.url())
    assert type(error) is kind
    assert error.outcome.value == "unknown"
    assert "canary" not in str(error)


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


async def test_an_announcement_is_not_kept_while_its_answer_is_awaited() -> None:
    """It may hold a cookie, and a frame that waits may end up in somebody's collector of errors."""

    async def script(connection: Connection) -> None:
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
    held = [
        [value, getattr(value, "__dict__", None)]
        for frame, _ in traceback.walk_tb(cancelled.value.__traceback__)
        if frame.f_globals["__name__"].startswith("descope_native")
        for value in frame.f_locals.values()
    ]
    assert held
    assert "canary" not in repr(held)


async def test_what_was_sent_only_later_has_been_sent_when_a_call_ends() -> None:
    """A body that sockets do not take at once has left by then, and nothing but its answer is missing."""
    read = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        read.set()
        await connection.gone()

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


async def test_a_request_has_the_headers_it_was_given_and_those_that_http_needs() -> None:
    """aiohttp adds none of its own, whoever the caller of the transport is."""
    async with serve(answering(answer())) as server, AiohttpTransport.open() as transport:
        await transport.send(to(server))
    head, _, body = server.received.partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    assert (first, body) == (b"POST / HTTP/1.1", b"{}")
    assert sorted(headers) == [b"Content-Length: 2", f"Host: localhost:{server.port}".encode()]


async def test_a_transport_that_has_read_a_body_in_parts_is_forgotten() -> None:
    """It looks at its connection from time to time while it waits, and not for ever after."""

    async def script(connection: Connection) -> None:
        await connection.request()
        connection.send(session()[:-1])
        while not requests or requests[0].progress.phase != "read":
            await asyncio.sleep(0)
        connection.send(session()[-1:])

    async with serve(script) as server, aiohttp.ClientSession() as owner:
        transport = AiohttpTransport(owner)
        watched = Watched(transport)
        requests = watched.requests
        await finish(watched, server.url())
        gone = weakref.ref(transport)
        del transport, watched
        gc.collect()
        assert gone() is None


# --- connections


@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize(("size", "connections"), [(16 * 1024, 1), (16 * 1024 + 1, 2)])
async def test_a_connection_is_kept_where_neither_side_has_more_to_say(
    size: int, connections: int, status: int
) -> None:
    """A large request may not have left as a whole, and behind a 204 may be more than there should be."""
    # To aiohttp's parser in Python, an answer without a body is as a 204.
    said = answer(status, b"" if status == 204 else b"{}")
    async with serve(answering(said)) as server, AiohttpTransport.open() as transport:
        for _ in range(2):
            await transport.send(to(server, b"x" * size))
    assert len(server.connections) == (connections if status == 200 else 2)


async def test_connections_are_looked_at_in_a_process_with_very_many() -> None:
    """``select()`` knows numbers up to 1023 only."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 2048:
        pytest.skip("this process may not open so many")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 2048), before[1]))
    with ExitStack() as many:
        many.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        for _ in range(1024):
            many.enter_context(open(os.devnull, encoding="ascii"))  # noqa: PTH123, ASYNC230 -- nothing blocks
        async with serve(answering()) as server, AiohttpTransport.open() as transport:
            for _ in range(2):
                await finish(transport, server.url())
            assert len(server.connections) == 1
            server.connections[0].send(session("some.body.else"))
            server.connections[0].let_arrive()
            await finish(transport, server.url())
            assert len(server.connections) == 2
