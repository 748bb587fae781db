"""What both transports share, and the words of the one in memory."""

import asyncio
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import GOOGLE, PROJECT, as_json

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


async def test_an_error_that_closing_brought_about_is_called_closing() -> None:
    """A connection that breaks because its transport goes did not break by itself."""
    entered = asyncio.Event()

    async def handle(_: HttpRequest) -> HttpResponse:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionResetError

    transport = InMemoryTransport(handle)
    call = asyncio.create_task(failure(transport))
    call.add_done_callback(lambda _: entered.set())
    await entered.wait()
    await transport.close()
    error = await call
    assert type(error) is TransportClosed
    assert error.args == ("wait", "the transport is closed")


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
