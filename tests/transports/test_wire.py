"""What comes over a connection unasked, without end or cut in odd places."""

import asyncio
import ssl
import time
import tracemalloc
from contextlib import suppress
from unittest import mock

import aiohttp
import pytest
from aiohttp.http import HttpProcessingError
from kit.certs import GOOD, OURS
from kit.servers import (
    Connection,
    Script,
    answer,
    answering,
    chunked,
    read_request,
    serve,
    serve_blocking,
    session,
)
from kit.support import Watched, failure, finish
from yarl import URL

from descope_native import (
    DescopeNativeError,
    RateLimitedError,
    RejectedError,
    RequestTimeout,
    ServerError,
    TransportClosed,
    UnexpectedResponse,
)
from descope_native.transports._aiohttp.idle import IdleLimits, Rest
from descope_native.transports._aiohttp.wire import Wire
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
    """Its owner's next request goes over it, answered as ever; then it is not ours to take any more."""
    async with (
        serve(answering(session("my.own.token"))) as server,
        aiohttp.ClientSession() as owner,
    ):
        await finish(AiohttpTransport(owner), server.url())
        async with owner.post(server.url(), data=b"x") as response:
            assert b"my.own.token" in await response.read()
        assert (await finish(AiohttpTransport(owner), server.url())).session_jwt == "my.own.token"
    assert len(server.connections) == 2


@pytest.mark.parametrize("close", [False, True], ids=["without reuse", "Connection: close"])
async def test_connections_that_are_not_kept_are_closed_at_once(close: bool) -> None:
    """A polite end over TLS waits for a peer that may never answer it, beyond `limit` and `close`."""

    def script(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        connection.sendall(session("a.b.c", *(["Connection: close"] if close else [])))
        with suppress(OSError):  # the end of a connection, with or without a word of it
            connection.recv(1)

    with serve_blocking(script, GOOD) as running:
        async with AiohttpTransport.open(ssl=OURS, reuse_connections=close) as transport:
            for _ in range(3):
                await finish(transport, running.url())
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
        turns = 0

        async def count_turns_after(seconds: float) -> None:
            nonlocal turns
            await asyncio.sleep(seconds)
            while True:
                turns += 1
                await asyncio.sleep(0)

        tracemalloc.start()
        counting = asyncio.create_task(count_turns_after(0.3))
        try:
            error = await failure(transport, server.url(), timeout=0.3)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            counting.cancel()
            tracemalloc.stop()
    assert isinstance(error, RequestTimeout)
    assert error.phase == "wait"
    assert peak < 4 * 1024 * 1024
    assert turns < 20  # of the loop, however long a busy machine takes for each


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


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "in part"])
@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (b"HTTP/1.1 200 " + b"x" * 40_000, "a line of the answer's head is longer than 32768 bytes"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000, "a line of the answer's head is longer than 32768 bytes"),
        (b"HTTP/1.1 200 OK" + b"\r\nX-Y: zz" * 9000, "the answer's head is larger than 65536 bytes"),
        (b"SSH-2.0-OpenSSH_9.6", "the answer is not HTTP"),
        (b"HTTQ", "the answer is not HTTP"),
    ],
    ids=["line", "header", "headers", "another protocol", "nearly"],
)
async def test_what_cannot_become_a_head_is_not_waited_for(head: bytes, problem: str, cut: bool) -> None:
    """Row 12, long before the deadline, and with the limit that it went beyond."""
    whole = head + (b"" if cut else b"\r\n\r\n")
    async with serve(drip(whole)) as server, AiohttpTransport.open() as transport:
        started = asyncio.get_running_loop().time()
        error = await failure(transport, server.url(), timeout=9)
        assert asyncio.get_running_loop().time() - started < 5
    assert isinstance(error, UnexpectedResponse)
    assert str(error).startswith(problem)


async def test_more_headers_than_may_be_are_named() -> None:
    """126 may be; a token as long as the longest may stand in a cookie."""
    cookie = "Set-Cookie: DS=" + "x" * 16384 + "; Path=/"
    full = session("a.b.c", cookie, *["X: y"] * 124)
    async with (
        serve(answering(full, session("a.b.c", *["X: y"] * 126))) as server,
        AiohttpTransport.open() as transport,
    ):
        await finish(transport, server.url())
        error = await failure(transport, server.url())
    assert str(error).startswith("the answer has more than 126 headers")


@pytest.mark.parametrize(
    ("head", "is_refused"),
    [
        (b"HTTP/1.1 200 ".ljust(32768, b"x"), False),
        (b"HTTP/1.1 200 ".ljust(32769, b"x"), True),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 32768, False),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 32769, True),
        ((b"HTTP/1.1 200 OK" + b"\r\nX: y" * 20_000)[: 64 * 1024], False),
        ((b"HTTP/1.1 200 OK" + b"\r\nX: y" * 20_000)[: 64 * 1024 + 1], True),
    ],
    ids=range(6),
)
def test_a_head_is_waited_for_up_to_these_sizes(head: bytes, is_refused: bool) -> None:
    """A line of 32 KiB, and 64 KiB in all."""
    parser = mock.Mock()
    wire = Wire(idle_transport(), parser)
    wire.data_received(head)
    assert parser.set_exception.called is is_refused
    if is_refused:
        wire.data_received(b"x")
    wire.connection_lost(None)
    assert parser.data_received.called is not is_refused
    if is_refused:
        (error,) = parser.set_exception.call_args.args
        assert isinstance(error, HttpProcessingError)


def idle_transport() -> mock.Mock:
    """One whose last write has left."""
    return mock.Mock(**{"get_write_buffer_size.return_value": 0, "is_closing.return_value": False})


def test_a_head_is_handed_over_whole_and_what_is_behind_it_by_itself() -> None:
    """From the first of its bytes on; and what came of it, when the connection goes."""
    parser = mock.Mock()
    wire = Wire(idle_transport(), parser)
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


def test_a_head_that_the_parser_refuses_is_the_last_that_it_gets() -> None:
    """It closes the connection at each refusal, and of asyncio's over TLS that is closed twice nothing can be
    asked any more, which aiohttp does when a session is closed.
    """
    parser, transport = mock.Mock(), idle_transport()
    wire = Wire(transport, parser)
    parser.data_received.side_effect = lambda _: transport.is_closing.configure_mock(return_value=True)
    wire.data_received(b"HTTP/1.1 200 OK\r\nno header\r\n\r\nbehind it")
    wire.data_received(b"more")
    parser.data_received.assert_called_once_with(b"HTTP/1.1 200 OK\r\nno header\r\n\r\n")


@pytest.mark.parametrize(
    "whole",
    [b"HTTP/1.1 101 Switching\r\n\r\n", b"HTTP/1.1 1000 X\r\n\r\n", b"HTTP/2 100 X\r\n\r\n"],
)
def test_what_is_no_interim_answer_is_the_parsers_to_judge(whole: bytes) -> None:
    """A 101 above all: it ends what was HTTP."""
    parser = mock.Mock()
    Wire(idle_transport(), parser).data_received(whole)
    assert b"".join(call.args[0] for call in parser.data_received.call_args_list) == whole


def test_the_rest_of_a_connections_life_is_passed_on() -> None:
    """Flow control and its end."""
    parser, transport = mock.Mock(), idle_transport()
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
    wire.close_if_it_speaks(Rest(IdleLimits(55), URL("http://localhost")))
    wire.data_received(b"x")
    assert transport.mock_calls == [mock.call.abort()]


# --- where an answer ends

COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked \r\n\r\n1;a=b\r\n{\r\n02\r\n }\r\n0\r\nX: y\r\n\r\n"
ENDS = {
    "counted": COUNTED,
    "nothing": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "said twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-length:2\r\n\r\n{}",
    "chunks": CHUNKS,
    "chunks, bare line feeds": CHUNKS.replace(b"\r\n", b"\n"),
    "blank lines before": b"\r\n\n\r\n" + HINT + b"\r\n\r\n" + COUNTED,
}


@pytest.mark.parametrize("name", ENDS)
def test_an_answer_ends_at_its_last_byte_wherever_it_is_cut(name: str) -> None:
    """Before it nothing is clean, and from the next byte on nothing is again."""
    whole = ENDS[name]
    mine = whole[whole.index(b"HTTP/1.1 200") :]
    for cut in range(1, len(whole) + 1):
        for behind in (b"", b"\r\n", b"H"):
            parser = mock.Mock()
            wire = Wire(idle_transport(), parser)
            wire.data_received(whole[:cut])
            assert wire.is_clean is (cut == len(whole))
            if more := whole[cut:] + behind:
                wire.data_received(more)
            assert b"".join(call.args[0] for call in parser.data_received.call_args_list) == mine
            assert wire.is_clean is (behind == b"")
            wire.data_received(b"x")
            assert not wire.is_clean


@pytest.mark.parametrize(
    "whole",
    [
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZ\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 40_000 + b"\r\n",
    ],
    ids=range(7),
)
def test_an_answer_without_a_certain_end_is_the_parsers_and_never_clean(whole: bytes) -> None:
    parser = mock.Mock()
    wire = Wire(idle_transport(), parser)
    for packet in (whole[:-3], whole[-3:]):
        wire.data_received(packet)
        assert not wire.is_clean
    assert b"".join(call.args[0] for call in parser.data_received.call_args_list) == whole


async def test_two_lengths_are_none() -> None:
    """Whoever reads the other one would take a part of it for another answer."""
    twice = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}\n"
    async with serve(drip(twice)) as server, AiohttpTransport.open() as transport:
        error = await failure(transport, server.url(), timeout=9)
    assert isinstance(error, UnexpectedResponse)
    assert str(error).startswith("the answer has two lengths")


@pytest.mark.parametrize("borrowed", [False, True], ids=["its own", "borrowed"])
@pytest.mark.parametrize("behind", [b"H", b"\r\n", session("some.body.else")[:30]], ids=range(3))
async def test_a_part_of_an_answer_behind_an_answer_costs_the_connection(
    behind: bytes, borrowed: bool
) -> None:
    """The answer stands; the rest of the stray, which comes when another request is out, is nobody's."""

    async def script(connection: Connection) -> None:
        await connection.request()
        connection.send(session("my.own.token") + behind)
        if await connection.request():
            connection.send(session("some.body.else")[len(behind) :])

    async with serve(script) as server, aiohttp.ClientSession() as owner, AiohttpTransport.open() as own:
        transport = AiohttpTransport(owner) if borrowed else own
        for _ in range(3):
            assert (await finish(transport, server.url())).session_jwt == "my.own.token"
    assert len(server.connections) == 3


async def test_what_comes_over_a_connection_that_was_given_back_is_its_owners_and_remembered() -> None:
    """Half a head, which aiohttp's parser keeps to itself."""
    honest = answering(session("my.own.token"))
    async with serve(honest) as server, aiohttp.ClientSession() as owner:
        await finish(AiohttpTransport(owner), server.url())
        server.connections[0].send(session("some.body.else")[:20])
        await asyncio.sleep(0.05)
        assert (await finish(AiohttpTransport(owner), server.url())).session_jwt == "my.own.token"
    assert len(server.connections) == 2


def test_many_small_chunks_cost_no_stack() -> None:
    parser = mock.Mock()
    wire = Wire(idle_transport(), parser)
    wire.data_received(CHUNKS[: CHUNKS.index(b"1;")] + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")
    assert wire.is_clean


@pytest.mark.parametrize("head", [COUNTED[:-2], HINT], ids=["final", "interim"])
def test_a_head_that_comes_byte_by_byte_is_looked_through_once(head: bytes) -> None:
    """Twice the bytes take about twice the time, not four times."""

    def seconds(length: int) -> float:
        wire = Wire(idle_transport(), mock.Mock())
        first, rest = head.split(b"\r\n", 1)
        drops = first + b"\r\nX: y" * (length // 6) + b"\r\n" + rest
        started = time.process_time()
        for at in range(len(drops)):
            wire.data_received(drops[at : at + 1])
        return time.process_time() - started

    assert min(seconds(48_000) for _ in range(3)) < 8 * 3 * min(seconds(6_000) for _ in range(3))


# --- before a request has left


def test_an_answer_that_begins_before_its_request_has_left_is_early() -> None:
    """By the buffer of its transport at the answer's first byte."""
    transport = idle_transport()
    wire = Wire(transport, mock.Mock())
    wire.data_received(HINT + COUNTED[:3])
    transport.get_write_buffer_size.return_value = 1
    wire.data_received(COUNTED[3:])
    assert wire.is_early is False
    wire.listen()
    wire.data_received(COUNTED)
    assert wire.is_early


@pytest.mark.parametrize("is_over", [False, True])
def test_what_comes_in_a_turn_that_holds_its_writes_back_is_early(is_over: bool) -> None:
    """TLS does not show what its transport has not sent."""
    loop = mock.Mock()
    wire = Wire(idle_transport(), mock.Mock())
    wire.hold_back(loop)
    if is_over:
        loop.call_soon.call_args.args[0]()
    wire.data_received(COUNTED)
    assert wire.is_early is not is_over


async def test_an_answer_that_comes_before_a_large_request_has_left_is_nobodys_unless_it_refuses_it() -> None:
    for early, kind in ((session("some.body.else"), UnexpectedResponse), (answer(413), RejectedError)):

        async def script(connection: Connection, early: bytes = early) -> None:
            while not connection.received:
                await asyncio.sleep(0)
            connection.transport.pause_reading()
            connection.send(early)
            await asyncio.Event().wait()

        async with serve(script) as server, AiohttpTransport.open() as transport:
            error = await failure(Watched(transport, padding=20_000_000), server.url(), timeout=9)
        assert type(error) is kind


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
