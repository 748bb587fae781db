"""From opening to closing: nothing hangs, nothing is left over, and what ended early says what is proved."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar

import attrs
import pytest
from kit.networks import Network, OpenTransport
from kit.servers import TOKEN, Connection, Script, Server, answering, serve, session, unused_port
from kit.support import APPLE, CODE, PROJECT, Watched, nothing_said

from descope_native import (
    FinishResult,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    Outcome,
    Retry,
    TransportClosed,
)
from descope_native.errors import Phase
from descope_native.transports.aiohttp import AiohttpTransport

PHASES: Final[tuple[Phase, ...]] = ("pool", "connect", "send", "wait", "read")
T = TypeVar("T")
CONNECT_TIMEOUT: Final = 0.5
MORE_THAN_SOCKETS_BUFFER: Final = 20_000_000
LATER: Final = "the-next-user's-code"


@attrs.define
class Stage:
    """One connection is allowed; the first ones stall in the phase asked for, later ones are answered."""

    server: Server
    transport: OpenTransport
    watched: Watched
    read_on: asyncio.Event
    """Lets a server that stalls in the phase "send" read at last."""
    calls: list["asyncio.Task[FinishResult]"] = attrs.field(factory=list)

    async def finish(self, code: str = CODE, scheme: str = "http") -> FinishResult:
        url = self.server.url(scheme)
        finisher = NativeOAuthFinisher(PROJECT, self.watched, base_url=url, timeout=10)
        return await finisher.finish(provider="apple", state_id="state", code=code)

    async def begin(self, phase: Phase) -> "asyncio.Task[FinishResult]":
        scheme = "https" if phase == "connect" else "http"
        self.watched.padding = MORE_THAN_SOCKETS_BUFFER if phase == "send" else 0
        self.calls.append(asyncio.create_task(self.finish(scheme=scheme)))
        await self.watched.reached(phase, len(self.calls))
        self.watched.padding = 0
        if phase != "pool":
            await self.server.until(lambda: bool(self.server.connections))
        return self.calls[-1]


def stalling(phase: Phase, read_on: asyncio.Event | None = None) -> Script:
    """Stalls a call in this phase; whoever comes with a later code is answered."""

    async def script(connection: Connection) -> None:
        if read_on is not None:
            connection.transport.pause_reading()
            await read_on.wait()
            connection.transport.resume_reading()
        if phase == "connect" and await connection.arrived(1) and not connection.received.startswith(b"POST"):
            await connection.gone()
        elif phase == "connect" or LATER.encode() in await connection.request():
            connection.send(session())
        else:
            connection.send(session()[:-5] if phase == "read" else b"")
            await connection.gone()

    return script


@asynccontextmanager
async def stage(network: Network, phase: Phase) -> AsyncIterator[tuple[Stage, "asyncio.Task[FinishResult]"]]:
    """A call that stands in this phase."""
    read_on = asyncio.Event()
    async with (
        serve(stalling(phase, read_on if phase == "send" else None)) as server,
        network.open(limit=1, connect_timeout=CONNECT_TIMEOUT) as transport,
    ):
        staged = Stage(server, transport, Watched(transport), read_on)
        if phase == "pool":
            await staged.begin("wait")
        call = await staged.begin(phase)
        try:
            yield staged, call
        finally:
            await transport.close()
            await asyncio.gather(*staged.calls, return_exceptions=True)


def assert_closed(
    call: "asyncio.Task[FinishResult]", phase: Phase, problem: str = "the transport is closed"
) -> None:
    error = call.exception()
    assert type(error) is TransportClosed
    assert error.problem == problem
    assert error.phase == phase
    assert error.outcome is (Outcome.NOT_SENT if phase in {"pool", "connect"} else Outcome.UNKNOWN)
    assert not error.safe_to_retry


@pytest.mark.parametrize("phase", PHASES)
async def test_closing_ends_a_call_wherever_it_is(network: Network, phase: Phase) -> None:
    """When close() returns the call is over, and it says whether the code may be spent."""
    async with stage(network, phase) as (staged, call):
        await staged.transport.close()
        assert call.done()
        assert_closed(call, phase)
        assert staged.server.received.count(CODE.encode()) == (0 if phase in {"connect", "send"} else 1)


@pytest.mark.parametrize("phase", PHASES)
async def test_a_cancelled_call_leaves_no_slot_taken(network: Network, phase: Phase) -> None:
    """With one connection allowed, the next user's call goes through, over a clean connection."""
    async with stage(network, phase) as (staged, call):
        for each in staged.calls:
            each.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        staged.read_on.set()
        result = await asyncio.wait_for(staged.finish(LATER), timeout=5)
        assert result.session_jwt == TOKEN
        assert len(staged.server.connections) == 2
        assert CODE.encode() not in staged.server.connections[1].received


@pytest.mark.parametrize("phase", PHASES)
async def test_a_cancelled_call_lets_go_of_its_connection(network: Network, phase: Phase) -> None:
    """The server sees it end: no socket is left open, half-read or idle."""
    async with stage(network, phase) as (staged, call):
        for each in staged.calls:
            each.cancel()
        await asyncio.wait([call])
        staged.read_on.set()
        await staged.server.all_gone()
        assert len(staged.server.received) < MORE_THAN_SOCKETS_BUFFER, "the rest was sent later"


async def test_closing_drains_all_calls_at_once(network: Network) -> None:
    """However many stand in whichever phase: each ends for itself, and close() waits for all."""
    async with serve(stalling("wait")) as server, network.open(limit=3) as transport:
        watched = Watched(transport)
        finisher = NativeOAuthFinisher(PROJECT, watched, base_url=server.url(), timeout=10)
        calls = [asyncio.create_task(finisher.finish(**APPLE)) for _ in range(20)]
        await server.until(lambda: server.received.count(CODE.encode()) == 3)
        await watched.reached("pool", 20)
        await transport.close()
        assert all(call.done() for call in calls)
    for number, call in enumerate(calls):
        assert_closed(call, "wait" if number < 3 else "pool")
    assert server.received.count(CODE.encode()) == 3


async def test_closing_twice_is_the_same_as_once(network: Network) -> None:
    """One after the other and both at once; a closed transport takes no call."""
    async with serve(answering()) as server, network.open() as transport:
        finisher = NativeOAuthFinisher(PROJECT, transport, base_url=server.url())
        assert (await finisher.finish(**APPLE)).session_jwt == TOKEN
        await asyncio.gather(transport.close(), transport.close())
        await transport.close()
        with pytest.raises(TransportClosed) as caught:
            await finisher.finish(**APPLE)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert len(server.connections) == 1


async def test_a_cancelled_close_has_closed_nevertheless() -> None:
    """Whoever does not wait for the end may not go on using it; who asks again gets to wait."""
    begun, ending, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(request: HttpRequest) -> HttpResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await may_end.wait()
        raise AssertionError

    transport = InMemoryTransport(stubborn)
    finisher = NativeOAuthFinisher(PROJECT, transport)
    call = asyncio.create_task(finisher.finish(**APPLE))
    await begun.wait()
    closing = asyncio.create_task(transport.close())
    await ending.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(TransportClosed):
        await finisher.finish(**APPLE)
    assert not call.done()
    may_end.set()
    await transport.close()
    assert_closed(call, "wait")


async def test_a_cancelled_exit_of_open_leaves_nothing_open(network: Network) -> None:
    """Cancelled while it waits for the calls in flight: the session is closed all the same."""
    async with serve(stalling("wait")) as server:
        opening = network.open()
        transport = await opening.__aenter__()
        watched = Watched(transport)
        finisher = NativeOAuthFinisher(PROJECT, watched, base_url=server.url())
        call = asyncio.create_task(finisher.finish(**APPLE))
        await watched.reached("wait")
        closing = asyncio.create_task(opening.__aexit__(None, None, None))
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing, call])
        assert closing.cancelled()
        assert_closed(call, "wait")
        await server.all_gone()


async def test_closing_between_two_tries_ends_the_retries(network: Network) -> None:
    """There is no call to end just then; the next try finds the transport closed."""
    waiting, go_on = asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        await go_on.wait()

    async with network.open() as transport:
        url = f"http://localhost:{unused_port()}"
        finisher = NativeOAuthFinisher(PROJECT, transport, base_url=url, retry=Retry(sleep=sleep))
        call = asyncio.create_task(finisher.finish(**APPLE))
        await waiting.wait()
        await transport.close()
        go_on.set()
        await asyncio.wait([call])
    assert_closed(call, "pool")


async def test_a_body_that_raises_closes_what_was_opened() -> None:
    """Its own error comes out, and the connection is gone."""
    async with serve(answering()) as server:
        opening = NativeOAuthFinisher.open(PROJECT, base_url=server.url())
        finisher = await opening.__aenter__()
        await finisher.finish(**APPLE)
        mistake = LookupError("the caller's own")
        assert not await opening.__aexit__(LookupError, mistake, None)
        with pytest.raises(TransportClosed):
            await finisher.finish(**APPLE)
        await server.all_gone()
    assert len(server.connections) == 1


async def test_what_was_not_opened_takes_no_call() -> None:
    """open() gives a context manager; the finisher in it works only inside."""
    opening = NativeOAuthFinisher.open(PROJECT)
    async with opening as finisher:
        pass
    with pytest.raises(TransportClosed, match="closed"):
        await finisher.finish(**APPLE)


class Elsewhere:
    """A finisher that was opened on the event loop of another thread, which goes on running."""

    def __init__(self, network: Network) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._opened = network.open()
        self.transport = self.run(self._opened.__aenter__())
        self.finisher = NativeOAuthFinisher(
            PROJECT, self.transport, base_url=f"http://localhost:{unused_port()}"
        )

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(5)

    def end(self) -> None:
        self.run(self._opened.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.mark.needs("tells_other_loop")
def test_another_event_loop_is_refused_and_not_waited_for(network: Network) -> None:
    """Its sockets and locks belong to the loop that it was opened on."""
    elsewhere = Elsewhere(network)
    try:
        with pytest.raises(TransportClosed, match="another event loop") as caught:
            asyncio.run(asyncio.wait_for(elsewhere.finisher.finish(**APPLE), timeout=5))
    finally:
        elsewhere.end()
    assert caught.value.outcome is Outcome.NOT_SENT


@pytest.mark.needs("tells_other_loop")
def test_closing_from_another_event_loop_refuses_calls_and_returns(network: Network) -> None:
    """The calls there are not ours to wait for; new ones are refused on both sides."""
    elsewhere = Elsewhere(network)
    try:
        asyncio.run(asyncio.wait_for(elsewhere.transport.close(), timeout=5))
        with pytest.raises(TransportClosed):
            elsewhere.run(elsewhere.finisher.finish(**APPLE))
    finally:
        elsewhere.end()


OPENINGS: Final[list[Callable[[], AbstractAsyncContextManager[object]]]] = [
    AiohttpTransport.open,
    lambda: NativeOAuthFinisher.open(PROJECT),
]


@pytest.mark.parametrize("make", OPENINGS)
async def test_what_open_returns_is_entered_once(
    make: Callable[[], AbstractAsyncContextManager[object]],
) -> None:
    """Not within itself, which harms nobody, and not once more."""
    opening = make()
    async with opening as first:
        with pytest.raises(InvalidRequestError, match=r"entered once; call open\(\) again"):
            await opening.__aenter__()
    with pytest.raises(InvalidRequestError, match=r"entered once; call open\(\) again"):
        await opening.__aenter__()
    async with make() as second:
        assert second is not first


@pytest.mark.parametrize("make", OPENINGS)
def test_what_open_returns_is_entered_on_an_event_loop(
    make: Callable[[], AbstractAsyncContextManager[object]],
) -> None:
    """Outside of one it says so, and can be entered later."""
    opening = make()
    with pytest.raises(InvalidRequestError, match=r"no event loop runs here; .* asyncio\.run\(\)"):
        opening.__aenter__().send(None)

    async def enter() -> None:
        async with opening:
            pass

    asyncio.run(enter())


FORKING: Final = """
import asyncio, os, sys, warnings
from descope_native import ConnectError, NativeOAuthFinisher, TransportClosed

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
url, = sys.argv[1:]

async def call(finisher):
    try:
        await finisher.finish(provider="apple", state_id="state", code="code")
    except (ConnectError, TransportClosed) as error:
        return f"{type(error).__name__} {error.outcome.value} {error}"

def in_child(finish):
    if (child := os.fork()) == 0:
        try:
            print("child:", finish(), flush=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)

async def main():
    async with NativeOAuthFinisher.open("P2project", base_url=url) as finisher:
        print("parent:", await call(finisher), flush=True)
        in_child(lambda: asyncio.run(call(finisher)))
        if (child := os.fork()) == 0:  # and on within the very coroutine, as a careless fork does
            try:
                print("child:", await call(finisher), flush=True)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        print("parent:", await call(finisher), flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")
def test_a_fork_is_refused_and_not_waited_for() -> None:
    """A child would write into its parent's sockets. The parent itself goes on."""
    program = [sys.executable, "-c", FORKING, f"http://localhost:{unused_port()}"]
    said = subprocess.run(program, capture_output=True, text=True, timeout=30, check=True)
    kinds = [line.split(" ")[:3] for line in said.stdout.splitlines()]
    assert kinds == [
        ["parent:", "ConnectError", "not_sent"],
        ["child:", "TransportClosed", "not_sent"],
        ["child:", "TransportClosed", "not_sent"],
        ["parent:", "ConnectError", "not_sent"],
    ]
    assert said.stdout.count("before a fork") == 2
    assert said.stderr == ""


async def test_a_transport_that_is_left_open_closes_when_it_is_forgotten(network: Network) -> None:
    """Entered and never left: the event loop closes what nobody can close any more."""
    async with serve(answering()) as server:
        with nothing_said():
            opening = network.open()
            finisher = NativeOAuthFinisher(PROJECT, await opening.__aenter__(), base_url=server.url())
            await finisher.finish(**APPLE)
            del opening, finisher
            gc.collect()
            await server.all_gone()
            network.open()  # never entered: there is nothing to close
