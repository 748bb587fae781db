"""A call may be cancelled at any step of the loop: nothing is left behind, and the next user is served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from kit.certs import GOOD, OURS
from kit.networks import Network
from kit.servers import Connection, Server, listening, serve, session, token_in
from kit.support import cancelled_after, finish, open_files, open_files_of_a_warm_loop
from yarl import URL

from descope_native import (
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    Outcome,
    TransportError,
)

MOST_STEPS = 400


async def in_pieces(connection: Connection) -> None:
    """Answers in three packets, so that there are steps within head and body as well."""
    while request := await connection.request():
        answer = session(token_in(request))
        for start in range(0, len(answer), len(answer) // 3 + 1):
            connection.send(answer[start : start + len(answer) // 3 + 1])
            await asyncio.sleep(0)


@asynccontextmanager
async def served(*, tls: bool) -> AsyncIterator[tuple[Server, str]]:
    async with serve(in_pieces, GOOD if tls else None) as server:
        yield server, server.url("https" if tls else "http")


@pytest.mark.parametrize("pooled", [False, True], ids=["fresh", "pooled"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_call_cancelled_at_any_step_leaves_the_next_one_clean(
    network: Network, tls: bool, pooled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Step by step until the call is over: with one slot and one pool, the next user gets their own token."""
    caplog.set_level("INFO", "descope_native")
    async with served(tls=tls) as (server, url):
        before, cancelled = await open_files_of_a_warm_loop(), 0
        for steps in range(MOST_STEPS):
            async with network.open(ssl=OURS, limit=1) as transport:
                if pooled:
                    assert (await finish(transport, url, f"first-{steps}")).session_jwt == f"first-{steps}"
                code = f"cancelled-{steps}"
                call = asyncio.create_task(finish(transport, url, code))
                over = not await cancelled_after(steps, call)
                said_unsent = "outcome=not_sent error=CancelledError" in caplog.text
                caplog.clear()
                assert (await finish(transport, url, f"next-{steps}")).session_jwt == f"next-{steps}"
            await server.until(lambda: not server.open)
            if said_unsent:
                assert f'"code":"{code}"'.encode() not in server.received
            assert server.received.count(f'"code":"{code}"'.encode()) <= 1
            server.connections.clear()
            assert open_files() <= before
            if over:
                assert call.result().session_jwt == code
                break
            cancelled += 1
        else:
            pytest.fail("the call never came to its end")
    assert cancelled >= 5


@pytest.mark.parametrize("steps", range(12))
async def test_a_call_cancelled_in_the_queue_takes_no_slot_with_it(network: Network, steps: int) -> None:
    """It may even have been granted the slot that very moment: whoever is behind it gets in."""
    answered = asyncio.Event()

    async def script(connection: Connection) -> None:
        while request := await connection.request():
            if token_in(request) == "holds":
                await answered.wait()
            connection.send(session(token_in(request)))

    async with serve(script) as server, network.open(limit=1) as transport:
        holds = asyncio.create_task(finish(transport, server.url(), "holds"))
        await server.until(lambda: b"holds" in server.received)
        queued = asyncio.create_task(finish(transport, server.url(), "queued"))
        behind = asyncio.create_task(finish(transport, server.url(), "behind"))
        await asyncio.sleep(0)
        answered.set()
        await cancelled_after(steps, queued)
        assert (await holds).session_jwt == "holds"
        assert (await behind).session_jwt == "behind"
        assert (await finish(transport, server.url(), "later")).session_jwt == "later"


@pytest.mark.parametrize("end", ["cancelled", "out of time", "closed"])
async def test_what_a_dead_call_had_not_written_is_never_sent(network: Network, end: str) -> None:
    """A peer that does not read: the socket is let go at once, with all that waits in its buffer."""
    listener = listening()
    listener.setblocking(False)
    async with network.open() as transport:
        request = HttpRequest(
            method="POST",
            url=URL(f"http://127.0.0.1:{listener.getsockname()[1]}"),  # no other address may answer
            headers={},
            body=b"x" * 20_000_000,
            timeout=0.3 if end == "out of time" else 60,
        )
        before = await open_files_of_a_warm_loop()
        call = asyncio.create_task(transport.send(request))
        peer, _address = await asyncio.get_running_loop().sock_accept(listener)
        await asyncio.sleep(0.1)
        if end == "cancelled":
            call.cancel()
        elif end == "closed":
            await transport.close()
        await asyncio.wait([call])
        if not call.cancelled():
            error = call.exception()
            assert isinstance(error, TransportError)
            assert (error.phase, error.outcome) == ("send", Outcome.UNKNOWN)
        for _ in range(3):
            await asyncio.sleep(0)
        assert open_files() == before + 1  # the peer's end and no other
    received = b""
    with suppress(ConnectionError, TimeoutError):  # a reset may get lost behind what fills the buffers
        async with asyncio.timeout(5):
            while data := await asyncio.get_running_loop().sock_recv(peer, 1 << 20):
                received += data
    assert 0 < len(received) < 20_000_000
    peer.close()
    listener.close()


async def test_cancelling_a_call_in_memory_reaches_its_handler() -> None:
    """The in-memory transport as well: the handler is cancelled, and nothing is left."""
    ended = asyncio.Event()

    async def handler(request: HttpRequest) -> HttpResponse:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    transport = InMemoryTransport(handler)
    call = asyncio.create_task(finish(transport, "http://localhost"))
    while not transport.requests:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()
    await transport.close()
