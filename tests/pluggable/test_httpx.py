"""What `HttpxTransport` does beyond the contract: its arguments, its phases, and how it names failures."""

import asyncio
import errno
import gc
import logging
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from kit.certs import Authority
from kit.servers import Connection, answer, answering, serve, session, unused_port
from yarl import URL

from descope_native import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    HttpRequest,
    HttpResponse,
    InvalidRequestError,
    Outcome,
    RequestTimeout,
    TLSError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)
from descope_native.errors import Phase
from descope_native.transports.httpx import HttpxTransport

AUTHORITY = Authority()


def requested(url: str, timeout: float = 5, body: bytes = b"{}") -> HttpRequest:
    return HttpRequest(method="POST", url=URL(url), headers={"X-A": "1"}, body=body, timeout=timeout)


async def failure(transport: HttpxTransport, url: str, timeout: float = 5) -> DescopeNativeError:
    with pytest.raises(DescopeNativeError) as raised:
        await transport.send(requested(url, timeout))
    assert raised.value.__context__ is None
    return raised.value


@pytest.mark.parametrize(
    ("argument", "value"),
    [("ssl", True), ("limit", -1), ("limit", 1.5), ("connect_timeout", 0), ("max_body", 0)],
)
async def test_an_argument_that_cannot_be_right_is_refused(argument: str, value: Any) -> None:
    """Before anything is opened, and by its name."""
    with pytest.raises(InvalidRequestError, match=f"^{argument} must be"):
        await HttpxTransport.open(**{argument: value}).__aenter__()


@pytest.mark.parametrize("limit", [0, None])
async def test_no_limit_is_none(limit: int | None) -> None:
    """More calls at once than the usual 100: none is answered before all are there."""
    all_are_there = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        await all_are_there.wait()
        connection.send(session("t.o.k"))

    async with serve(script) as server, HttpxTransport.open(limit=limit) as transport:
        calls = [asyncio.ensure_future(transport.send(requested(server.url(), 30))) for _ in range(120)]
        async with asyncio.timeout(20):
            await server.until(lambda: len(server.connections) == 120)
        all_are_there.set()
        assert {answer.status for answer in await asyncio.gather(*calls)} == {200}


async def test_a_call_queues_for_its_place() -> None:
    """In the phase `pool`, and gives up with the proof that nothing was sent."""
    async with serve(Connection.gone) as server, HttpxTransport.open(limit=1) as transport:
        first = asyncio.ensure_future(transport.send(requested(server.url(), 30)))
        await server.until(lambda: bool(server.connections and server.connections[0].received))
        error = await failure(transport, server.url(), 0.05)
        assert isinstance(error, RequestTimeout)
        assert error.phase == "pool"
        first.cancel()
        await asyncio.wait([first])
        assert len(server.connections) == 1


async def test_the_phases_are_told_as_they_come() -> None:
    """By what httpx2 traces: connecting, sending, waiting, reading."""
    turn = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        await turn.wait()
        connection.send(answer(200, b"{}")[:-1])

    async with serve(script) as server, HttpxTransport.open() as transport:
        request = requested(server.url())
        seen: list[Phase] = []
        task = asyncio.ensure_future(transport.send(request))
        while request.progress.phase != "read":
            if request.progress.phase not in seen[-1:]:
                seen.append(request.progress.phase)
            if request.progress.phase == "wait":
                turn.set()
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert [phase for phase in seen if phase != "send"] == ["connect", "wait"]


async def test_what_the_trace_does_not_tell_is_not_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were its events named otherwise one day, a refused connection would be an unknown outcome."""
    monkeypatch.setattr("descope_native.transports.httpx._PHASES", {})
    async with HttpxTransport.open() as transport:
        error = await failure(transport, f"http://localhost:{unused_port()}")
        assert error.outcome is Outcome.UNKNOWN


async def test_a_handshake_has_its_own_time() -> None:
    """A host that says nothing does not use up the whole deadline."""
    async with serve(Connection.gone) as server, HttpxTransport.open(connect_timeout=0.05) as transport:
        error = await failure(transport, server.url("https"), 30)
        assert isinstance(error, RequestTimeout)
        assert (error.phase, error.seconds) == ("connect", 0.05)


async def test_why_nobody_was_reached_is_told() -> None:
    """Refused, unknown, reset in the handshake, no TLS, a certificate of a stranger's."""

    async def hang_up(connection: Connection) -> None:
        connection.finish()

    async def no_tls(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with HttpxTransport.open() as transport:
        error = await failure(transport, f"http://localhost:{unused_port()}")
        assert isinstance(error, ConnectError)
        assert (error.reason, error.safe_to_retry) == ("refused", True)
        error = await failure(transport, "http://nobody.invalid")
        assert isinstance(error, ConnectError)
        assert error.reason == "dns"
        async with serve(hang_up) as server:
            error = await failure(transport, server.url("https"))
            assert isinstance(error, ConnectError)
            assert (error.reason, error.safe_to_retry) == ("reset", True)
        async with serve(no_tls) as server:
            error = await failure(transport, server.url("https"))
            assert isinstance(error, TLSError)
            assert "handshake failed" in str(error)
        async with serve(answering(), AUTHORITY.certify().server_context()) as server:
            error = await failure(transport, server.url("https"))
            assert isinstance(error, TLSError)
            assert "certificate is not valid" in str(error)


class Raising(httpx2.AsyncHTTPTransport):
    """httpx2's layer, with a failure of its own in place of the network."""

    error: Exception = RuntimeError()
    event = ""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.extensions["trace"](self.event, {})
        raise self.error


@asynccontextmanager
async def raising(
    monkeypatch: pytest.MonkeyPatch, error: Exception, event: str = ""
) -> AsyncGenerator[HttpxTransport]:
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", Raising)
    monkeypatch.setattr(Raising, "error", error)
    monkeypatch.setattr(Raising, "event", event)
    async with HttpxTransport.open() as transport:
        yield transport


def caused(cause: BaseException | None) -> httpx2.ConnectError:
    error = httpx2.ConnectError("")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (OSError(errno.EHOSTUNREACH, ""), "unreachable"),
        (ExceptionGroup("", [OSError(errno.EIO, ""), OSError(errno.ENETUNREACH, "")]), "unreachable"),
        (socket.gaierror(socket.EAI_NONAME, ""), "dns"),
        (None, "other"),
    ],
    ids=["unreachable", "several addresses", "unknown name", "no reason"],
)
async def test_a_cause_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, cause: BaseException | None, reason: str
) -> None:
    """However deep anyio has put it."""
    async with raising(monkeypatch, caused(cause), "connection.connect_tcp.started") as transport:
        error = await failure(transport, "http://localhost")
        assert isinstance(error, ConnectError)
        assert (error.reason, error.outcome) == (reason, Outcome.NOT_SENT)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx2.ReadError(""), ConnectionLost),
        (httpx2.RemoteProtocolError("peer closed connection without sending all"), ConnectionLost),
        (httpx2.RemoteProtocolError("Server disconnected"), ConnectionLost),
        (httpx2.RemoteProtocolError("illegal status line"), UnexpectedResponse),
        (httpx2.LocalProtocolError("illegal header"), ConnectionLost),
        (ssl.SSLError("bad record mac"), ConnectionLost),
        (httpx2.ConnectTimeout(""), TransportError),
        (RuntimeError("secret"), TransportError),
    ],
    ids=["lost", "closed", "disconnected", "no HTTP", "header", "TLS", "misnamed", "unknown"],
)
async def test_no_name_of_an_exception_proves_anything(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, kind: type[DescopeNativeError]
) -> None:
    """Whatever it is called: once a connection is there, nobody knows what has left."""
    async with raising(monkeypatch, raised, "connection.connect_tcp.complete") as transport:
        error = await failure(transport, "http://localhost")
        assert type(error) is kind
        assert error.outcome is Outcome.UNKNOWN
        assert "secret" not in str(error)


async def test_a_cancelled_handshake_leaves_no_connection() -> None:
    """httpx2 forgets it, so that only the garbage collector would end it, with a warning."""
    async with serve(Connection.gone) as server, HttpxTransport.open() as transport:
        for _ in range(3):
            task = asyncio.ensure_future(transport.send(requested(server.url("https"))))
            known = len(server.connections)
            await server.until(lambda known=known: len(server.connections) > known)  # type: ignore[misc]  # mypy infers no lambda with a default
            task.cancel()
            await asyncio.wait([task])
        await server.until(lambda: not server.open)
    gc.collect()


async def test_its_debug_log_is_silent_for_our_calls_only(caplog: pytest.LogCaptureFixture) -> None:
    """It quotes the headers of answers, which hold tokens. What others do with httpx2 is theirs to log."""
    caplog.set_level(logging.DEBUG)
    async with serve(answering(answer(200, b"{}", "Set-Cookie: DS=t.o.k"))) as server:
        async with HttpxTransport.open() as transport:
            await transport.send(requested(server.url()))
        assert "DS=t.o.k" not in caplog.text
        async with httpx2.AsyncClient() as client:
            await client.get(server.url())
        assert "DS=t.o.k" in caplog.text


async def test_a_body_at_the_limit_is_whole() -> None:
    """One byte more is too much; of a refusal it is dropped."""
    async with HttpxTransport.open(max_body=10) as transport:
        for status, size in ((200, 10), (400, 10), (400, 11)):
            async with serve(answering(answer(status, b"x" * size))) as server:
                response = await transport.send(requested(server.url()))
                assert response.body == (b"x" * size if size == 10 else b"")
        async with serve(answering(answer(200, b"x" * 11))) as server:
            error = await failure(transport, server.url())
            assert isinstance(error, UnexpectedResponse)
            assert "larger than 10 bytes" in str(error)


async def test_it_is_closed_once_and_for_all() -> None:
    """By its block or before."""
    async with HttpxTransport.open() as transport:
        await transport.close()
        await transport.close()
        assert isinstance(await failure(transport, "http://localhost"), TransportClosed)


async def test_certificates_are_checked_against_a_context_of_ones_own() -> None:
    """A private authority, say."""
    context = AUTHORITY.client_context()
    assert isinstance(context, ssl.SSLContext)
    async with (
        serve(answering(session("t.o.k")), AUTHORITY.certify().server_context()) as server,
        HttpxTransport.open(ssl=context) as transport,
    ):
        response: HttpResponse = await transport.send(requested(server.url("https")))
        assert b"t.o.k" in response.body
