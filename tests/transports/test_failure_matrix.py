"""Each row of the failure table: what the caller is told, and what the server really saw."""

import asyncio
import gzip
import json
import math
import os
import socket
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import attrs
import pytest
from kit.networks import Network
from kit.servers import (
    Connection,
    Script,
    after_request,
    answer,
    answering,
    chunked,
    saying,
    serve,
    session,
    unused_port,
)
from kit.support import CODE, Watched, assert_unsent, failure, finish
from yarl import URL

from descope_native import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    Outcome,
    RateLimitedError,
    RejectedError,
    RequestTimeout,
    ServerError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)

SESSION = session("t.o.ken")


async def endless_interim(connection: Connection) -> None:
    while not connection.ended:
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        await asyncio.sleep(0.005)


async def slow_loris(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\n")
    while not connection.ended:
        connection.send(b"X: y\r\n")
        await asyncio.sleep(0.03)


async def endless_body(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not connection.ended:
        connection.send(b"1\r\n \r\n")
        await asyncio.sleep(0.01)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@attrs.frozen
class Row:
    script: Script
    error: type[DescopeNativeError]
    facts: dict[str, Any]
    timeout: float = 5.0


UNKNOWN_ROWS = {
    "9 FIN": Row(after_request(Connection.finish), ConnectionLost, {"phase": "wait"}),
    "9 RST": Row(after_request(Connection.reset), ConnectionLost, {"phase": "wait"}),
    "9 FIN in the head": Row(saying(HEAD[:20], then=Connection.finish), ConnectionLost, {"phase": "wait"}),
    "9 RST in the head": Row(saying(HEAD[:20], then=Connection.reset), ConnectionLost, {"phase": "wait"}),
    "10 silence": Row(saying(), RequestTimeout, {"phase": "wait"}, 0.5),
    "10 half a head": Row(saying(HEAD[:20]), RequestTimeout, {"phase": "wait"}, 0.5),
    "10 slow-loris head": Row(after_request(slow_loris), RequestTimeout, {"phase": "wait"}, 0.5),
    "10 endless 1xx": Row(after_request(endless_interim), RequestTimeout, {"phase": "wait"}, 0.5),
    "11 no body": Row(saying(HEAD), RequestTimeout, {"phase": "read"}, 0.5),
    "11 half a body": Row(saying(HEAD, SESSION[:9]), RequestTimeout, {"phase": "read"}, 0.5),
    "11 endless body": Row(after_request(endless_body), RequestTimeout, {"phase": "read"}, 0.5),
    "11 length cut": Row(saying(HEAD + b"{", then=Connection.finish), ConnectionLost, {"phase": "read"}),
    "11 length reset": Row(saying(HEAD + b"{", then=Connection.reset), ConnectionLost, {"phase": "read"}),
    "11 chunk cut": Row(
        saying(CHUNKED + b"5\r\n{", then=Connection.finish), ConnectionLost, {"phase": "read"}
    ),
    "11 chunk cut later": Row(
        saying(CHUNKED, b"1\r\n{\r\n", b"5\r\n", then=Connection.finish), ConnectionLost, {"phase": "read"}
    ),
    "11 chunks reset": Row(
        saying(CHUNKED, b"5\r\n{", then=Connection.reset), ConnectionLost, {"phase": "read"}
    ),
    "11 last chunk missing": Row(
        saying(chunked(b'{"sessionJwt": "a.b.c"}'), then=Connection.finish), ConnectionLost, {"phase": "read"}
    ),
    "11 half a JSON object": Row(
        saying(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"sessionJwt": "a', then=Connection.finish),
        UnexpectedResponse,
        {"status": 200},
    ),
    "12 not HTTP": Row(saying(b"SSH-2.0-OpenSSH_9.2\r\n"), UnexpectedResponse, {"status": 0}),
    "12 no status": Row(saying(b"HTTP/1.1 OK\r\n\r\n"), UnexpectedResponse, {"status": 0}),
    "12 oversize header": Row(
        saying(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40000 + b"\r\n\r\n"), UnexpectedResponse, {"status": 0}
    ),
    "12 oversize status line": Row(
        saying(b"HTTP/1.1 200 " + b"x" * 40000), UnexpectedResponse, {"status": 0}
    ),
    "12 too many headers": Row(
        saying(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"), UnexpectedResponse, {"status": 0}
    ),
    "12 two lengths": Row(
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
        UnexpectedResponse,
        {"status": 0},
    ),
    "12 bad chunk": Row(saying(CHUNKED + b"ZZ\r\n{}\r\n"), UnexpectedResponse, {}),
    "12 bad chunk later": Row(
        saying(CHUNKED, b"2\r\n{}\r\n", b"ZZ\r\n"), UnexpectedResponse, {"status": 200}
    ),
    "12 bad end of a chunk later": Row(
        saying(CHUNKED, b"2\r\n{}", b"XX", then=Connection.finish), UnexpectedResponse, {"status": 200}
    ),
    "13 body over the limit": Row(
        saying(answer(200, b" " * (1 << 20) + b"{}")), UnexpectedResponse, {"status": 200}
    ),
    "13 chunks over the limit": Row(
        saying(chunked(*[b" " * 65536] * 17)), UnexpectedResponse, {"status": 200}
    ),
    "13 a coding not asked for": Row(
        saying(answer(200, gzip.compress(b'{"sessionJwt": "a.b.c"}'), "Content-Encoding: gzip")),
        UnexpectedResponse,
        {"status": 200},
    ),
    "14 not JSON": Row(saying(answer(200, b"<html>")), UnexpectedResponse, {"status": 200}),
    "14 not UTF-8": Row(saying(answer(200, b'{"a": "\xff"}')), UnexpectedResponse, {"status": 200}),
    "14 not an object": Row(saying(answer(200, b"[]")), UnexpectedResponse, {"status": 200}),
    "14 too deep": Row(saying(answer(200, b"[" * 100_000)), UnexpectedResponse, {"status": 200}),
    "14 no session": Row(saying(answer(200, b"{}")), UnexpectedResponse, {"status": 200}),
    "20 redirect": Row(
        saying(answer(307, b"", "Location: https://elsewhere.example/x?y")),
        UnexpectedResponse,
        {"status": 307},
    ),
    "20 101": Row(
        saying(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + SESSION),
        UnexpectedResponse,
        {"status": 101},
    ),
    "20 204": Row(saying(b"HTTP/1.1 204 No Content\r\n\r\n"), UnexpectedResponse, {"status": 204}),
    **{
        f"19 {status}": Row(saying(answer(status, b"no")), ServerError, {"status": status})
        for status in (408, 499, 500, 502, 503, 504, 520, 522, 524, 530)
    },
    "19 503 with a body that stalls": Row(saying(answer(503, b"no")[:-1]), ServerError, {"status": 503}, 0.1),
}


BAD_HEADS = (
    *("12 not HTTP", "12 oversize header", "12 oversize status line", "12 too many headers", "20 101"),
)


@pytest.mark.parametrize("name", [name for name in UNKNOWN_ROWS if name not in BAD_HEADS])
async def test_what_failed_after_the_request_left_is_unknown_and_not_repeated(
    network: Network, name: str
) -> None:
    """Rows 9 to 14, 19 and 20: the error and its facts, and a server that saw the code once."""
    await require_row(network, UNKNOWN_ROWS[name])


@pytest.mark.needs("tells_bad_heads")
@pytest.mark.parametrize("name", BAD_HEADS)
async def test_a_bad_head_is_unknown_at_once(network: Network, name: str) -> None:
    """Of these rows, what a client has to look at an unfinished head for."""
    await require_row(network, UNKNOWN_ROWS[name])


async def require_row(network: Network, row: Row) -> None:
    async with serve(row.script) as server, network.open() as transport:
        error = await failure(transport, server.url(), timeout=row.timeout)
        assert type(error) is row.error
        assert {fact: getattr(error, fact) for fact in row.facts} == row.facts
        assert (error.outcome, error.safe_to_retry) == (Outcome.UNKNOWN, False)
        if isinstance(error, TransportError) or row.timeout < 1:  # not read to its end, so not kept
            await server.until(lambda: not server.open)
    assert server.received.count(CODE.encode()) == 1
    assert len(server.connections) == 1


INTERIM = [f"HTTP/1.1 {status} Whatever\r\n\r\n".encode() for status in (100, 102, 103, 199)]


async def test_answers_that_only_announce_one_are_passed_over(network: Network) -> None:
    """From the first of them to the last, and however many there are."""
    async with serve(saying(b"".join(INTERIM) * 3 + SESSION)) as server, network.open() as transport:
        assert (await finish(transport, server.url(), timeout=2)).session_jwt == "t.o.ken"


async def test_a_connection_that_is_reset_while_a_request_leaves_was_not_waited_on(network: Network) -> None:
    """Row 9: what was still to be sent is thrown away with it, and does not count as sent."""

    async def script(connection: Connection) -> None:
        await connection.arrived(1)
        connection.reset()

    async with serve(script) as server, network.open() as transport:
        error = await failure(Watched(transport, padding=20_000_000), server.url())
    assert isinstance(error, ConnectionLost)
    assert (error.phase, error.outcome) == ("send", Outcome.UNKNOWN)


@pytest.mark.parametrize(("status", "kind"), [(99, UnexpectedResponse), (299, ConnectionLost)])
async def test_only_a_2xx_counts_with_its_body(network: Network, status: int, kind: type[Exception]) -> None:
    """Rows 11 and 20, to the number: a session is in the body, all else is in the status."""
    cut = b"HTTP/1.1 %03d Whatever\r\nContent-Length: 9\r\n\r\n{" % status
    async with serve(saying(cut, then=Connection.finish)) as server, network.open() as transport:
        assert type(await failure(transport, server.url())) is kind


async def test_a_redirect_names_the_origin_and_nothing_else_of_where_it_pointed(network: Network) -> None:
    """Row 20: the origin is worth knowing, a path or query could hold a secret."""
    async with serve(UNKNOWN_ROWS["20 redirect"].script) as server, network.open() as transport:
        error = await failure(transport, server.url())
    assert "https://elsewhere.example" in str(error)
    assert "/x" not in str(error)


STALLED = "the body stalls"
TIME_TO_STALL = (0.1, 1.0, 10.0)
"""Seconds until the deadline, in which a head has to arrive: on a busy machine the first may be too short."""

REJECTIONS: dict[str, Callable[[int], Script]] = {
    "whole": lambda status: saying(answer(status, {"errorCode": "E061301"})),
    "no body": lambda status: saying(answer(status)),
    "html": lambda status: saying(answer(status, b"<html>")),
    "cut": lambda status: saying(answer(status, b"x" * 50)[:-9], then=Connection.finish),
    "reset": lambda status: saying(answer(status, b"x" * 50)[:-9], then=Connection.reset),
    "huge": lambda status: saying(answer(status, b"x" * (3 << 20))),
    "bad chunk": lambda status: saying(chunked(b"x", status=status), b"ZZ\r\n"),
    "gzip": lambda status: saying(answer(status, gzip.compress(b"x" * 9999), "Content-Encoding: gzip")),
    "not UTF-8": lambda status: saying(answer(status, b"\xff\xfe")),
    STALLED: lambda status: saying(answer(status, b"x" * 50)[:-9]),
}


@pytest.mark.parametrize("body", REJECTIONS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 421, 422, 425, 429])
async def test_a_rejection_stays_one_whatever_its_body_does(network: Network, status: int, body: str) -> None:
    """Rows 16 to 18: a 4xx says enough by its status."""
    for timeout in TIME_TO_STALL if body == STALLED else (5.0,):
        async with serve(REJECTIONS[body](status)) as server, network.open() as transport:
            error = await failure(transport, server.url(), timeout=timeout)
        if not isinstance(error, RequestTimeout):
            break
    assert type(error) is (RateLimitedError if status == 429 else RejectedError)
    assert error.outcome is Outcome.REJECTED
    assert error.safe_to_retry is (status in {421, 425, 429})
    assert server.received.count(CODE.encode()) == 1


@pytest.mark.parametrize("body", ["cut", "reset", "huge", STALLED])
async def test_an_answer_that_is_no_session_keeps_its_head_whatever_its_body_does(
    network: Network, body: str
) -> None:
    """Rows 16 to 20: neither the first status beyond 2xx nor what a head says is lost with a body."""

    def script(status: int, *headers: str) -> Script:
        whole = answer(status, b"x" * (3 << 20 if body == "huge" else 50), *headers)
        if body == "huge":
            return saying(whole)
        then = {"cut": {"then": Connection.finish}, "reset": {"then": Connection.reset}}.get(body, {})
        return saying(whole[:-9], **then)

    async def answered(script: Script) -> DescopeNativeError:
        for timeout in TIME_TO_STALL if body == STALLED else (5.0,):
            async with serve(script) as server, network.open() as transport:
                error = await failure(transport, server.url(), timeout=timeout)
            if not isinstance(error, RequestTimeout):
                break
        return error

    error = await answered(script(300))
    assert type(error) is UnexpectedResponse
    assert error.status == 300
    error = await answered(script(429, "Retry-After: 7", "cf-ray: 8f0e1d2c3b4a5968-FRA"))
    assert type(error) is RateLimitedError
    assert (error.retry_after, error.trace_id) == (7.0, "8f0e1d2c3b4a5968-FRA")


async def test_a_result_with_odd_decoration_is_a_result_over_a_real_socket(network: Network) -> None:
    """Row 15: the tokens are handed over, what was odd is listed."""
    odd = answer(200, {"sessionJwt": "a.b.c", "firstSeen": "yes"})
    async with serve(answering(odd)) as server, network.open() as transport:
        result = await finish(transport, server.url())
        assert result.session_jwt == "a.b.c"
        assert [each.path for each in result.drift] == ["firstSeen"]
        assert isinstance(await failure(transport, server.url(), strict=True), UnexpectedResponse)


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "http://api.example"},
        {"base_url": "https://user:pw@api.example"},
        {"base_url": "https://api.example?x"},
        {"project_id": "Pa@b/"},
        {"timeout": 0},
    ],
)
async def test_nonsense_is_refused_before_anything_is_sent(network: Network, options: dict[str, Any]) -> None:
    """Row 1."""
    async with serve(answering(SESSION)) as server, network.open() as transport:
        with pytest.raises(InvalidRequestError) as refused:
            NativeOAuthFinisher(
                **{"project_id": "P2a", "transport": transport, "base_url": server.url(), **options}
            )
    assert (refused.value.outcome, refused.value.safe_to_retry) == (Outcome.NOT_SENT, False)
    assert server.connections == []


# --- nobody was reached


async def test_a_refused_connection_was_not_sent(network: Network) -> None:
    """Row 4."""
    async with network.open() as transport:
        error = await failure(transport, f"http://localhost:{unused_port()}")
    assert_unsent(error, ConnectError, "connect")
    assert isinstance(error, ConnectError)
    assert error.reason == "refused"


async def test_an_unreachable_network_was_not_sent(network: Network) -> None:
    """Row 4: 192.0.2.0/24 is a documentation network that nobody routes; where it seems so, time is up."""
    async with network.open(connect_timeout=0.3) as transport:
        error = await failure(transport, "https://192.0.2.1")
    assert isinstance(error, ConnectError | RequestTimeout)
    assert_unsent(error, TransportError, "connect")


@pytest.mark.parametrize("end", [Connection.finish, Connection.reset], ids=["FIN", "RST"])
async def test_a_peer_that_ends_each_new_connection_at_once_is_not_hammered(
    network: Network,
    end: Callable[[Connection], None],
) -> None:
    """Rows 4 and 8: what came before the first byte was written was not sent; after it, nobody can know."""

    async def script(connection: Connection) -> None:
        end(connection)

    async with serve(script) as server, network.open() as transport:
        for _ in range(20):
            error = await failure(transport, server.url())
            if error.outcome is Outcome.NOT_SENT:
                assert_unsent(error, ConnectError, "connect")
            else:
                assert isinstance(error, ConnectionLost)
    assert server.received == b""
    assert len(server.connections) <= 20 * 3


async def test_time_that_is_up_in_the_pool_was_not_sent(network: Network) -> None:
    """Row 6: with limit=1, whoever waits behind a call that hangs has sent nothing when their time is up."""
    async with serve(saying()) as server, network.open(limit=1) as transport:
        first = asyncio.create_task(failure(transport, server.url(), timeout=0.4))
        await server.until(lambda: CODE.encode() in server.received)
        error = await failure(transport, server.url(), "second", timeout=0.1)
        assert_unsent(error, RequestTimeout, "pool")
        assert isinstance(await first, RequestTimeout)
    assert b"second" not in server.received


async def test_connect_timeout_bounds_a_connection_nobody_accepts(network: Network) -> None:
    """Row 6: a listener whose backlog is full lets a connection hang."""
    with socket.socket() as listener, socket.socket() as one, socket.socket() as two:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        async with network.open(connect_timeout=0.2) as transport:
            started = time.monotonic()
            error = await failure(transport, f"http://localhost:{listener.getsockname()[1]}")
            assert time.monotonic() - started < 5  # not the 15 of the call
    assert_unsent(error, RequestTimeout, "connect")
    assert isinstance(error, RequestTimeout)
    assert error.seconds == 0.2


async def late_by(seconds: float, phase: str, call: Awaitable[DescopeNativeError]) -> float:
    started = time.monotonic()
    error = await call
    took = time.monotonic() - started
    assert isinstance(error, RequestTimeout)
    assert error.seconds == pytest.approx(seconds, abs=0.01)
    return took - seconds if error.phase == phase else math.inf  # a busy machine may not get that far


async def timer_late_by(seconds: float) -> float:
    """How late a busy machine wakes whoever does nothing but wait, on the same loop at the same time."""
    started = time.monotonic()
    await asyncio.sleep(seconds)
    return time.monotonic() - started - seconds


@pytest.mark.parametrize("seconds", [0.3, pytest.param(5.3, marks=pytest.mark.slow)])
async def test_the_deadline_is_exact_to_50_ms_wherever_it_passes(network: Network, seconds: float) -> None:
    """Nothing rounds it up, as aiohttp by itself does from 5 s on."""

    async with AsyncExitStack() as stack:
        silent = await stack.enter_async_context(serve(saying()))
        halting = await stack.enter_async_context(serve(saying(SESSION[:-5])))
        open_ = stack.enter_async_context
        usual = await open_(network.open(connect_timeout=60))
        narrow = await open_(network.open(limit=1, connect_timeout=60))
        holding = asyncio.create_task(failure(narrow, silent.url(), timeout=60))
        await silent.until(lambda: CODE.encode() in silent.received)

        async def once() -> list[float]:
            calls = {
                "pool": failure(narrow, silent.url(), timeout=seconds),
                "connect": failure(usual, silent.url("https"), timeout=seconds),
                "send": failure(Watched(usual, padding=8_000_000), deaf.url(), timeout=seconds),
                "wait": failure(usual, silent.url(), timeout=seconds),
                "read": failure(usual, halting.url(), timeout=seconds),
            }
            *late, timer = await asyncio.gather(
                *(late_by(seconds, phase, call) for phase, call in calls.items()),
                timer_late_by(seconds),
            )
            return [abs(each - max(timer, 0.0)) for each in late]

        async def listens_to_nobody(connection: Connection) -> None:
            connection.transport.pause_reading()
            await asyncio.Event().wait()

        deaf = await open_(serve(listens_to_nobody))
        errors = await once()
        for _ in range(9):  # a busy machine may hold up any of them, but none of them each time
            if max(errors) < 0.05:
                break
            errors = [min(pair) for pair in zip(errors, await once(), strict=True)]
        assert max(errors) < 0.05
        holding.cancel()


async def test_no_code_is_sent_when_no_time_is_left(network: Network) -> None:
    """A deadline that has passed before the call begins: sending could end in nothing but doubt."""
    async with serve(answering(SESSION)) as server, network.open() as transport:
        await finish(transport, server.url())
        url = URL(server.url())
        for seconds in (0.0, -1.0):
            with pytest.raises(RequestTimeout) as late:
                await transport.send(
                    HttpRequest(method="POST", url=url, headers={}, body=b"late", timeout=seconds)
                )
            assert_unsent(late.value, RequestTimeout, "pool")
    assert b"late" not in server.received


# --- bounds


async def test_a_gzip_bomb_costs_neither_memory_nor_the_loop(network: Network) -> None:
    """Row 13: 400 KB that would be 400 MB. Under 2 MiB of memory and 20 ms of CPU in a turn of the loop."""
    bomb = gzip.compress(b"\0" * (400 << 20), 9)
    script = answering(answer(200, bomb, "Content-Encoding: gzip"))
    loop = asyncio.get_running_loop()
    stalls = [0.0]

    def tick(last: float) -> None:
        stalls.append(time.thread_time() - last)
        ticking[0] = loop.call_soon(tick, time.thread_time())

    ticking = [loop.call_soon(tick, time.thread_time())]
    async with serve(script) as server, network.open() as transport:
        assert isinstance(await failure(transport, server.url()), UnexpectedResponse)
        stalls.clear()
        assert isinstance(await failure(transport, server.url()), UnexpectedResponse)
        longest = max(stalls)
        ticking[0].cancel()
        tracemalloc.start()
        try:
            assert isinstance(await failure(transport, server.url()), UnexpectedResponse)
            # The bomb goes through a buffer of the server as well, which is in this process.
            peak = tracemalloc.get_traced_memory()[1] - len(bomb)
        finally:
            tracemalloc.stop()
    assert longest < 0.02
    assert peak < 2 << 20


@pytest.mark.parametrize("parts", [1, 2], ids=["in one packet", "in parts"])
async def test_a_limit_of_the_callers_own_is_kept_to_the_byte(network: Network, parts: int) -> None:
    """Row 13: a body of max_body bytes is read, one more is refused."""
    body = b'{"sessionJwt": "a.b.c"}'
    whole = answer(200, body)
    async with serve(saying(*([whole] if parts == 1 else [whole[:-20], whole[-20:]]))) as server:
        async with network.open(max_body=len(body)) as transport:
            assert (await finish(transport, server.url())).session_jwt == "a.b.c"
        async with network.open(max_body=len(body) - 1) as transport:
            error = await failure(transport, server.url())
    assert isinstance(error, UnexpectedResponse)
    assert error.status == 200
    assert "larger than 22 bytes" in str(error)


async def test_a_mebibyte_is_the_limit_unless_told(network: Network) -> None:
    """Row 13: to the byte."""
    bodies = [b"x" * (1 << 20), b"x" * ((1 << 20) + 1)]
    async with (
        serve(answering(*(answer(200, body) for body in bodies))) as server,
        network.open() as transport,
    ):
        request = HttpRequest(method="POST", url=URL(server.url()), headers={}, body=b"{}", timeout=5.0)
        assert (await transport.send(request)).body == bodies[0]
        with pytest.raises(UnexpectedResponse, match="larger than 1048576 bytes"):
            await transport.send(request)


@pytest.mark.parametrize("framing", ["length", "chunks", "until FIN"])
async def test_a_body_just_under_the_limit_comes_whole_however_it_is_framed(
    network: Network, framing: str
) -> None:
    """More than is buffered at once: the connection is paused, and may be gone when reading goes on."""
    body = json.dumps({"sessionJwt": "a.b.c", "x": "y" * ((1 << 20) - 100)}).encode()
    script = {
        "length": answering(answer(200, body)),
        "chunks": answering(
            chunked(*(body[at : at + 7000] for at in range(0, len(body), 7000))) + b"0\r\n\r\n"
        ),
        "until FIN": after_request(lambda it: (it.send(b"HTTP/1.1 200 OK\r\n\r\n" + body), it.finish())),
    }[framing]
    async with serve(script) as server, network.open() as transport:
        for _ in range(5):
            assert (await finish(transport, server.url())).session_jwt == "a.b.c"


# --- closed, other loop, other process


async def test_a_closed_transport_sends_nothing(network: Network) -> None:
    """Row 2."""
    async with serve(answering(SESSION)) as server:
        async with network.open() as transport:
            pass
        assert_unsent(await failure(transport, server.url()), TransportClosed, "pool", again=False)
        await transport.close()
    assert server.connections == []


async def test_closing_ends_what_is_queued_and_what_is_in_flight_with_what_is_proved(
    network: Network,
) -> None:
    """Rows 2 and 22: the first call has sent its code, the ones behind it have not; close drains both."""
    async with serve(saying()) as server, network.open(limit=1) as transport:
        first = asyncio.create_task(failure(transport, server.url()))
        await server.until(lambda: CODE.encode() in server.received)
        queued = [asyncio.create_task(failure(transport, server.url(), f"queued-{n}")) for n in range(3)]
        await asyncio.sleep(0)
        await asyncio.gather(transport.close(), transport.close())
        assert first.done()
        error = first.result()
        assert isinstance(error, TransportClosed)
        assert (error.phase, error.outcome, error.safe_to_retry) == ("wait", Outcome.UNKNOWN, False)
        for each in queued:
            assert_unsent(await each, TransportClosed, "pool", again=False)
    assert b"queued" not in server.received


async def test_a_call_that_its_own_task_has_cancelled_beforehand_is_cancelled(network: Network) -> None:
    """Row 21: a cancellation that was asked for before the call is not taken for a closed session."""
    async with serve(answering(SESSION)) as server, network.open() as transport:

        async def cancel_and_call() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await finish(transport, server.url())

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(cancel_and_call())


async def test_a_call_made_while_being_cancelled_is_a_call_like_any_other(network: Network) -> None:
    """Clean-up may finish a sign-in: an earlier cancellation is not raised again and hides no timeout."""
    async with (
        serve(saying(SESSION)) as server,
        serve(saying()) as deaf,
        network.open() as transport,
    ):

        async def clean_up() -> tuple[str | None, DescopeNativeError]:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                result = await finish(transport, server.url())
                return result.session_jwt, await failure(transport, deaf.url(), timeout=0.1)
            raise AssertionError

        task = asyncio.create_task(clean_up())
        await asyncio.sleep(0)
        task.cancel()
        token, error = await task
        assert token == "t.o.ken"
        assert isinstance(error, RequestTimeout)


@pytest.mark.needs("tells_other_loop")
def test_another_event_loop_is_refused(network: Network) -> None:
    """Row 2: the sockets belong to the loop that opened them. Nothing hangs, nothing is sent."""

    async def main() -> None:
        async with serve(answering(SESSION)) as server, network.open() as transport:
            await finish(transport, server.url())
            before = len(server.received)

            def elsewhere() -> DescopeNativeError:
                return asyncio.run(failure(transport, server.url(), "elsewhere"))

            assert_unsent(await asyncio.to_thread(elsewhere), TransportClosed, "pool", again=False)
            assert len(server.received) == before
            assert (await finish(transport, server.url())).session_jwt

    asyncio.run(main())


@pytest.mark.needs("tells_other_loop")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_is_refused(network: Network) -> None:
    """Row 2: parent and child would read each other's answers off one socket."""
    async with serve(answering(SESSION)) as server, network.open() as transport:
        await finish(transport, server.url())
        before = len(server.received)
        child = os.fork()
        if child == 0:  # pragma: no cover -- the child tells by its exit status
            status = 1
            try:
                failure(transport, server.url(), "child").send(None)
            except StopIteration as end:
                error = end.value
                good = isinstance(error, TransportClosed) and error.outcome is Outcome.NOT_SENT
                status = 0 if good and "fork" in str(error) else 2
            finally:
                os._exit(status)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert len(server.received) == before
        assert (await finish(transport, server.url())).session_jwt


# --- the same over the in-memory transport


def raising(error: BaseException) -> Callable[[HttpRequest], HttpResponse]:
    def handler(request: HttpRequest) -> HttpResponse:
        raise error

    return handler


def replying(status: int, body: bytes = b"", **headers: str) -> Callable[[HttpRequest], HttpResponse]:
    return lambda request: HttpResponse(status, tuple(headers.items()), body)


async def never(request: HttpRequest) -> HttpResponse:
    await asyncio.Event().wait()
    raise AssertionError


IN_MEMORY: dict[str, tuple[Any, type[DescopeNativeError], dict[str, Any]]] = {
    "4 refused": (
        raising(ConnectionRefusedError()),
        ConnectError,
        {"reason": "refused", "outcome": Outcome.NOT_SENT, "safe_to_retry": True},
    ),
    "9 RST": (raising(ConnectionResetError()), ConnectionLost, {"phase": "wait", "outcome": Outcome.UNKNOWN}),
    "10 silence": (
        never,
        RequestTimeout,
        {"phase": "wait", "outcome": Outcome.UNKNOWN, "safe_to_retry": False},
    ),
    "13 a coding": (
        replying(200, b"{}", **{"Content-Encoding": "gzip"}),
        UnexpectedResponse,
        {"outcome": Outcome.UNKNOWN},
    ),
    "14 no session": (replying(200, b"{}"), UnexpectedResponse, {"status": 200}),
    "16 400": (replying(400), RejectedError, {"outcome": Outcome.REJECTED, "safe_to_retry": False}),
    "17 421": (replying(421), RejectedError, {"outcome": Outcome.REJECTED, "safe_to_retry": True}),
    "18 429": (replying(429), RateLimitedError, {"outcome": Outcome.REJECTED, "safe_to_retry": True}),
    "19 503": (replying(503), ServerError, {"outcome": Outcome.UNKNOWN, "safe_to_retry": False}),
    "20 307": (replying(307), UnexpectedResponse, {"status": 307, "outcome": Outcome.UNKNOWN}),
    "20 204": (replying(204), UnexpectedResponse, {"status": 204, "outcome": Outcome.UNKNOWN}),
}


@pytest.mark.parametrize("name", IN_MEMORY)
async def test_the_in_memory_transport_tells_the_same(name: str) -> None:
    """The rows that a handler can produce, with the very errors of the real network."""
    handler, kind, facts = IN_MEMORY[name]
    transport = InMemoryTransport(handler)
    error = await failure(transport, "http://localhost", timeout=0.1)
    assert type(error) is kind
    assert {fact: getattr(error, fact) for fact in facts} == facts
    assert len(transport.requests) == 1
    await transport.close()


async def test_the_in_memory_transport_closes_like_the_real_one() -> None:
    """Rows 2 and 22."""
    transport = InMemoryTransport(never)
    call = asyncio.create_task(failure(transport, "http://localhost"))
    while not transport.requests:
        await asyncio.sleep(0)
    await transport.close()
    error = await call
    assert isinstance(error, TransportClosed)
    assert (error.phase, error.outcome) == ("wait", Outcome.UNKNOWN)
    assert_unsent(await failure(transport, "http://localhost"), TransportClosed, "pool", again=False)
    assert len(transport.requests) == 1
