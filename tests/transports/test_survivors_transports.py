"""What both transports share, and the words of the one in memory."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit.support import GOOGLE, PROJECT, as_json

from descope_native import (
    ConnectError,
    ConnectionLost,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    NativeOAuthFinisher,
    TLSError,
    TransportClosed,
    TransportError,
)

SESSION = HttpResponse(200, (), as_json({"sessionJwt": "s.e.s"}))


def give(answer: HttpResponse | Exception) -> InMemoryTransport:
    def handle(_: HttpRequest) -> HttpResponse:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return InMemoryTransport(handle)


async def failure(transport: InMemoryTransport) -> TransportError:
    with pytest.raises(TransportError) as caught:
        await NativeOAuthFinisher(PROJECT, transport).finish(**GOOGLE)
    return caught.value


async def test_what_a_handler_does_to_a_connection_is_told() -> None:
    """To the word, with the phase that it was in."""
    for raised, error in (
        (ConnectionRefusedError("canary"), ConnectError("refused", "the handler refused the connection")),
        (socket.gaierror("canary"), ConnectError("dns", "the handler did not resolve the host name")),
        (ssl.SSLCertVerificationError("canary"), TLSError("the handler's certificate is not valid")),
        (ConnectionResetError("canary"), ConnectionLost("wait", "the handler dropped the connection")),
        (OSError("canary"), ConnectionLost("wait", "the handler dropped the connection")),
    ):
        found = await failure(give(raised))
        assert (type(found), found.args) == (type(error), error.args)


async def test_an_answer_has_been_read() -> None:
    """A call that has its answer says so, as one over the network does."""
    transport = give(SESSION)
    await NativeOAuthFinisher(PROJECT, transport).finish(**GOOGLE)
    assert [request.progress.phase for request in transport.requests] == ["read"]


async def test_a_closed_transport_says_so() -> None:
    """To the word, and has nothing sent."""
    transport = give(SESSION)
    await transport.close()
    assert (await failure(transport)).args == ("pool", "the transport is closed")
    assert transport.requests == []


async def test_a_transport_that_is_closed_while_a_call_enters_it_sends_nothing() -> None:
    """The handler sees no request, and the error says that there was none."""
    transport = give(SESSION)
    call = asyncio.create_task(failure(transport))
    await asyncio.sleep(0)  # the call is in, and has not come to the handler
    await transport.close()
    assert (await call).args == ("pool", "the transport is closed")
    assert transport.requests == []


async def ended_by_closing(error: Exception) -> TransportError:
    """What a call raises whose transport is closed, where its handler raises this on the way out."""
    entered = asyncio.Event()

    async def handle(_: HttpRequest) -> HttpResponse:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise error

    transport = InMemoryTransport(handle)
    call = asyncio.create_task(failure(transport))
    call.add_done_callback(lambda _: entered.set())
    await entered.wait()
    await transport.close()
    return await call


async def test_an_error_that_closing_brought_about_is_called_closing() -> None:
    """A connection that breaks because its transport goes did not break by itself."""
    error = await ended_by_closing(ConnectionResetError())
    assert type(error) is TransportClosed
    assert error.args == ("wait", "the transport is closed")


async def test_why_a_call_found_itself_closed_is_not_told_otherwise_by_closing() -> None:
    """The more exact word stays: of a session that was closed under a transport that is closed as well."""
    error = await ended_by_closing(TransportClosed("read", "the session was closed"))
    assert error.args == ("read", "the session was closed")


def test_a_transport_says_that_it_belongs_to_another_loop() -> None:
    """To the word, with what to do about it."""

    async def made() -> InMemoryTransport:
        return give(SESSION)

    transport = asyncio.run(made())
    error = asyncio.run(failure(transport))
    assert type(error) is TransportClosed
    assert error.args == ("pool", "the transport was opened on another event loop; open one per loop")


def test_closing_on_another_loop_leaves_the_calls_of_the_first_alone() -> None:
    """They are not its to end; new ones are refused."""
    entered = threading.Event()
    leave = threading.Event()
    transports: list[InMemoryTransport] = []

    async def handle(_: HttpRequest) -> HttpResponse:
        entered.set()
        await asyncio.to_thread(leave.wait)
        return SESSION

    async def call() -> str:
        transports.append(InMemoryTransport(handle))
        finisher = NativeOAuthFinisher(PROJECT, transports[0])
        try:
            token = (await finisher.finish(**GOOGLE)).session_jwt
        finally:
            entered.set()
        assert type(await failure(transports[0])) is TransportClosed
        return token

    with ThreadPoolExecutor(1) as elsewhere:
        token = elsewhere.submit(lambda: asyncio.run(call()))
        assert entered.wait(10)
        try:
            asyncio.run(asyncio.wait_for(transports[0].close(), 10))
        finally:
            leave.set()
        assert token.result(10) == "s.e.s"


FORKED_BETWEEN_TWO_RUNS = """
import asyncio, os, warnings
from descope_native import InMemoryTransport, NativeOAuthFinisher

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads

async def begin():
    entered = asyncio.Event()

    async def handle(request):
        entered.set()
        await asyncio.Event().wait()

    transport = InMemoryTransport(handle)
    finisher = NativeOAuthFinisher("P2project", transport)
    call = asyncio.create_task(finisher.finish(provider="apple", state_id="state", code="code"))
    await entered.wait()
    return transport, call

loop = asyncio.new_event_loop()
transport, call = loop.run_until_complete(begin())
if (child := os.fork()) == 0:
    try:
        loop.run_until_complete(transport.close())
        print("child:", call.done(), flush=True)
    finally:
        os._exit(0)
os.waitpid(child, 0)
print("parent:", call.done(), flush=True)
loop.run_until_complete(transport.close())
print("parent:", call.done(), flush=True)
loop.run_until_complete(asyncio.gather(call, return_exceptions=True))
loop.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")
def test_closing_in_a_fork_leaves_the_calls_of_the_parent_alone() -> None:
    """A child that runs the very loop on has copies of them, whose sockets it shares."""
    program = [sys.executable, "-c", FORKED_BETWEEN_TWO_RUNS]
    said = subprocess.run(program, capture_output=True, text=True, timeout=30, check=True)
    assert said.stdout.splitlines() == ["child: False", "parent: False", "parent: True"]
    assert said.stderr == ""
