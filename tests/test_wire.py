"""What comes over a connection unasked, without end or cut in odd places."""

import asyncio
import ssl
import tracemalloc
from contextlib import suppress
from unittest import mock

import aiohttp
import pytest
from aiohttp.http import HttpProcessingError
from harness.calls import failure, finish
from harness.servers import Connection, Script, answer, answering, chunked, serve, session
from test_tls_ends import GOOD, OURS, peer, read_request
from wire import Watched

from descope_native import (
    DescopeNativeError,
    RateLimitedError,
    RejectedError,
    RequestTimeout,
    ServerError,
    TransportClosed,
    UnexpectedResponse,
)
from descope_native.transports._aiohttp_wire import Wire
from descope_native.transports.aiohttp import AiohttpTransport

HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nSet-Cookie: DS=canary\r\n\r\n"
EMPTY = answer(200)


# --- idle connections


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(
    "stray",
    [session("some.body.else"), EMPTY * 100, session("some.body.else")[:20], b"\r\n", b"\0"],
    ids=range(5),
)
async def test_an_idle_connection_that_speaks_is_ended_at_its_first_byte(stray: bytes, tls: bool) -> None:
    """Also at a part of an answer, the rest of which comes when another request is out."""
    honest = answering(session("my.own.token"))
    async with serve(honest, GOOD if tls else None) as server, AiohttpTransport.open(ssl=OURS) as transport:
        url = server.url("https" if tls else "http")
        await finish(transport, url)
        server.connections[0].send(stray)
        await server.connections[0].gone()
        assert (await finish(transport, url)).session_jwt == "my.own.token"
    assert len(server.connections) == 2


async def test_a_flood_over_an_idle_connection_costs_no_memory() -> None:
    """Nobody reads it: it is at an end before the second packet."""

    async def script(connection: Connection) -> None:
        await connection.request()
        connection.send(session("my.own.token"))
        await gate.wait()
        while not connection.transport.is_closing():
            connection.send(EMPTY * 2000)
            await asyncio.sleep(0)

    gate = asyncio.Event()
    async with serve(script) as server, AiohttpTransport.open() as transport:
        await finish(transport, server.url())
        tracemalloc.start()
        try:
            gate.set()
            await server.connections[0].gone()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 2 * 1024 * 1024


async def test_a_borrowed_connection_is_left_as_it_was_found() -> None:
    """Its owner's next request goes over it, answered as ever."""
    async with (
        serve(answering(session("my.own.token"))) as server,
        aiohttp.ClientSession() as owner,
    ):
        await finish(AiohttpTransport(owner), server.url())
        async with owner.post(server.url(), data=b"x") as response:
            assert b"my.own.token" in await response.read()
        assert (await finish(AiohttpTransport(owner), server.url())).session_jwt == "my.own.token"
    assert len(server.connections) == 1


@pytest.mark.parametrize("close", [False, True], ids=["without reuse", "Connection: close"])
async def test_connections_that_are_not_kept_are_closed_at_once(close: bool) -> None:
    """A polite end over TLS waits for a peer that may never answer it, beyond `limit` and `close`."""

    def script(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        connection.sendall(session("a.b.c", *(["Connection: close"] if close else [])))
        with suppress(OSError):  # the end of a connection, with or without a word of it
            connection.recv(1)

    with peer(script) as running:
        async with AiohttpTransport.open(ssl=OURS, reuse_connections=close) as transport:
            for _ in range(3):
                await finish(transport, f"https://localhost:{running.port}")
                assert await asyncio.to_thread(running.done.wait, 5)
                running.done.clear()


# --- interim answers


async def test_interim_answers_are_no_answers() -> None:
    """However many, and wherever they are cut into packets."""
    whole = HINT * 2 + b"HTTP/1.1 100 \r\n\r\n" + session("my.own.token")
    cuts = iter(range(1, len(whole)))

    async def script(connection: Connection) -> None:
        while await connection.request():
            cut = next(cuts)
            connection.send(whole[:cut])
            connection.let_arrive()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            connection.send(whole[cut:])

    async with serve(script) as server, AiohttpTransport.open() as transport:
        for _ in range(1, len(whole)):
            assert (await finish(transport, server.url())).session_jwt == "my.own.token"
    assert next(cuts, None) is None


async def test_endless_interim_answers_cost_neither_memory_nor_the_deadline() -> None:
    """Row 10: they are waited out, and are not kept."""

    async def script(connection: Connection) -> None:
        await connection.request()
        while not connection.transport.is_closing():
            connection.send(b"HTTP/1.1 100 \r\n\r\n" * 5000)
            await asyncio.sleep(0)
            while connection.transport.get_write_buffer_size():
                await asyncio.sleep(0.001)

    async with serve(script) as server, AiohttpTransport.open() as transport:
        loop = asyncio.get_running_loop()
        tracemalloc.start()
        try:
            started = loop.time()
            error = await failure(transport, server.url(), timeout=0.3)
            took = loop.time() - started
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert isinstance(error, RequestTimeout)
    assert error.phase == "wait"
    assert peak < 4 * 1024 * 1024
    assert took < 0.5


# --- where an answer is cut


def drip(whole: bytes, *cuts: int) -> Script:
    async def script(connection: Connection) -> None:
        await connection.request()
        for start, stop in zip((0, *cuts), (*cuts, len(whole)), strict=True):
            connection.send(whole[start:stop])
            await asyncio.sleep(0.01)
        await connection.gone()

    return script


BAD_CHUNK = b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n"
ANSWERS: dict[str, tuple[bytes, type[DescopeNativeError] | None]] = {
    "400": (b"HTTP/1.1 400 Bad\r\n" + BAD_CHUNK, RejectedError),
    "429": (b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\n" + BAD_CHUNK, RateLimitedError),
    "503": (b"HTTP/1.1 503 No\r\n" + BAD_CHUNK, ServerError),
    "302": (b"HTTP/1.1 302 No\r\nLocation: https://a.example/x\r\n" + BAD_CHUNK, UnexpectedResponse),
    "bare line feeds": (b"HTTP/1.1 400 Bad\nContent-Length: 1\n\nx", RejectedError),
    "junk behind": (session("my.own.token") + b"JUNK", None),
    "an answer behind": (session("my.own.token") + session("some.body.else"), None),
    "chunks": (chunked(b'{"sessionJwt":', b'"my.own.token"}') + b"0\r\n\r\n", None),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_means_the_same_however_it_is_cut_into_packets(name: str) -> None:
    """All at once, or its head by itself, or in three."""
    whole, kind = ANSWERS[name]
    head = whole.index(b"\n\n" if b"\n\n" in whole else b"\r\n\r\n") + (2 if b"\n\n" in whole else 4)
    for cuts in ((), (head,), (5,), (head - 2,), (head + 1,), (9, head)):
        async with serve(drip(whole, *cuts)) as server, AiohttpTransport.open() as transport:
            if kind is None:
                assert (await finish(transport, server.url())).session_jwt == "my.own.token"
                continue
            error = await failure(transport, server.url(), timeout=5)
        assert type(error) is kind, cuts
        assert error.status == int(whole[9:12])  # type: ignore[attr-defined]
        if isinstance(error, RateLimitedError):
            assert error.retry_after == 7


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 " + b"x" * 9000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9000,
        b"HTTP/1.1 200 OK\r\n" + b"X-Y: zz\r\n" * 9000,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTQ",
    ],
    ids=["line", "header", "headers", "another protocol", "nearly"],
)
async def test_what_cannot_become_a_head_is_not_waited_for(head: bytes) -> None:
    """Row 12, long before the deadline."""
    async with serve(drip(head)) as server, AiohttpTransport.open() as transport:
        started = asyncio.get_running_loop().time()
        error = await failure(transport, server.url(), timeout=9)
        assert asyncio.get_running_loop().time() - started < 5
    assert isinstance(error, UnexpectedResponse)
    assert str(error).startswith("the answer is not HTTP")


@pytest.mark.parametrize(
    ("head", "is_refused"),
    [
        (b"HTTP/1.1 200 ".ljust(8190, b"x"), False),
        (b"HTTP/1.1 200 ".ljust(8191, b"x"), True),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 8190, False),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 8191, True),
        ((b"HTTP/1.1 200 OK" + b"\r\nX: y" * 20_000)[: 64 * 1024], False),
        ((b"HTTP/1.1 200 OK" + b"\r\nX: y" * 20_000)[: 64 * 1024 + 1], True),
    ],
    ids=range(6),
)
def test_a_head_is_waited_for_up_to_these_sizes(head: bytes, is_refused: bool) -> None:
    """A line of 8190 bytes, as aiohttp has it, and 64 KiB in all."""
    parser = mock.Mock()
    wire = Wire(mock.Mock(), parser)
    wire.data_received(head)
    assert parser.set_exception.called is is_refused
    assert not parser.data_received.called
    wire.data_received(b"\r\n\r\n")
    assert parser.data_received.called
    if is_refused:
        (error,) = parser.set_exception.call_args.args
        assert isinstance(error, HttpProcessingError)
        assert error.message == "the head is too long"


def test_a_head_is_handed_over_whole_and_what_is_behind_it_by_itself() -> None:
    """From the first of its bytes on; and what came of it, when the connection goes."""
    parser = mock.Mock()
    wire = Wire(mock.Mock(), parser)
    for part in (HINT[:9], HINT[9:] + HINT, b"H", b"TTP/1.1 200 OK\r\nA: b", b"\r\n\r", b"\nbo", b"dy"):
        wire.data_received(part)
    handed = [call.args[0] for call in parser.data_received.call_args_list]
    assert handed == [b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", b"bo", b"dy"]
    wire.data_received(HINT)  # a body may have that in it
    assert parser.data_received.call_args.args == (HINT,)
    told = len(parser.mock_calls)
    wire.connection_lost(None)
    assert parser.mock_calls[told:] == [mock.call.connection_lost(None)]
    wire.listen()
    wire.data_received(b"HTTP/1.1 2")
    wire.connection_lost(None)
    assert parser.data_received.call_args.args == (b"HTTP/1.1 2",)
    assert parser.mock_calls[-1] == mock.call.connection_lost(None)


@pytest.mark.parametrize(
    "whole",
    [b"HTTP/1.1 101 Switching\r\n\r\n", b"HTTP/1.1 1000 X\r\n\r\n", b"HTTP/2 100 X\r\n\r\n", b"\r\n\r\n"],
)
def test_what_is_no_interim_answer_is_the_parsers_to_judge(whole: bytes) -> None:
    """A 101 above all: it ends what was HTTP."""
    parser = mock.Mock()
    Wire(mock.Mock(), parser).data_received(whole)
    assert b"".join(call.args[0] for call in parser.data_received.call_args_list) == whole


def test_the_rest_of_a_connections_life_is_passed_on() -> None:
    """Flow control and its end."""
    parser, transport = mock.Mock(), mock.Mock()
    wire = Wire(transport, parser)
    lost = ConnectionResetError()
    for told in (wire.pause_writing, wire.resume_writing, wire.eof_received):
        told()
    wire.connection_lost(lost)
    assert parser.mock_calls == [
        mock.call.pause_writing(),
        mock.call.resume_writing(),
        mock.call.eof_received(),
        mock.call.connection_lost(lost),
    ]
    assert not transport.mock_calls
    wire.rest()
    wire.data_received(b"x")
    assert transport.mock_calls == [mock.call.abort()]


# --- what others do meanwhile


async def test_a_session_that_its_owner_closes_while_a_request_leaves_ends_the_call_at_once() -> None:
    """aiohttp would wait until the peer has taken all of it."""

    async def script(connection: Connection) -> None:
        connection.transport.pause_reading()
        await asyncio.Event().wait()

    async with serve(script) as server:
        owner = aiohttp.ClientSession()
        transport = Watched(AiohttpTransport(owner), padding=20_000_000)
        call = asyncio.create_task(failure(transport, server.url(), timeout=9))
        await server.until(lambda: bool(server.connections))
        await asyncio.sleep(0.05)
        loop = asyncio.get_running_loop()
        closed = loop.time()
        await owner.close()
        error = await call
        assert loop.time() - closed < 2
    assert isinstance(error, TransportClosed)
    assert error.phase == "send"
