"""In time is in time: what came before the deadline counts, though somebody held the event loop beyond it."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest import mock

import pytest
from kit.certs import GOOD, OURS
from kit.servers import Connection, answer, answering, serve, session
from kit.support import failure, finish

from descope_native import (
    DescopeNativeError,
    FinishResult,
    Outcome,
    RejectedError,
    RequestTimeout,
    TransportClosed,
)
from descope_native.transports import aiohttp as transport_module
from descope_native.transports.aiohttp import AiohttpTransport


@asynccontextmanager
async def held_up(reply: bytes, *, tls: bool) -> AsyncIterator[FinishResult | DescopeNativeError]:
    """How a call ends whose answer is in the kernel when the loop is held up beyond its deadline."""
    waiting = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        connection.send(session("a.b.c"))
        await connection.request()
        waiting.set()
        connection.send(reply)
        connection.let_arrive()
        time.sleep(0.3)  # noqa: ASYNC251 -- that is the point

    async with serve(script, GOOD if tls else None) as server, AiohttpTransport.open(ssl=OURS) as transport:
        url = server.url("https" if tls else "http")
        await finish(transport, url)
        started = asyncio.get_running_loop().time()
        try:
            end: FinishResult | DescopeNativeError = await finish(transport, url, timeout=0.2)
        except DescopeNativeError as error:
            end = error
        assert waiting.is_set()
        assert asyncio.get_running_loop().time() - started < 0.3 + 0.15
        yield end


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_session_that_came_in_time_is_a_session(tls: bool) -> None:
    async with held_up(session("my.own.token"), tls=tls) as end:
        assert isinstance(end, FinishResult)
        assert end.session_jwt == "my.own.token"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_refusal_that_came_in_time_is_a_refusal(tls: bool) -> None:
    async with held_up(answer(400), tls=tls) as end:
        assert type(end) is RejectedError


async def test_where_nothing_came_the_call_ends_when_the_loop_is_free() -> None:
    async with held_up(b"HTTP/1.1 200", tls=False) as end:
        assert isinstance(end, RequestTimeout)
        assert end.outcome is Outcome.UNKNOWN


async def test_a_call_that_has_not_sent_yet_does_not_send_beyond_its_deadline() -> None:
    """Also in the very turn in which the loop is free again. Its code is still good."""

    async def held(*_arguments: object, **_options: object) -> bool:
        time.sleep(0.15)  # noqa: ASYNC251 -- somebody holds the loop
        return True

    async with serve(answering(session("a.b.c"))) as server, AiohttpTransport.open() as transport:
        with mock.patch.object(AiohttpTransport, "_is_clean", held):
            error = await failure(transport, server.url(), timeout=0.1)
        assert isinstance(error, RequestTimeout)
        assert error.outcome is Outcome.NOT_SENT
        assert server.received == b""


@pytest.mark.parametrize("left", [0, 1])
async def test_a_loop_that_is_not_asyncios_shows_once_whether_it_holds_writes_back(left: int) -> None:
    transport = mock.Mock(**{"get_write_buffer_size.return_value": left})
    loop = mock.Mock()

    async def create_connection(_: object, sock: socket.socket) -> tuple[mock.Mock, None]:
        sock.close()
        return transport, None

    loop.create_connection = mock.Mock(side_effect=create_connection)
    for _ in range(2):
        await transport_module._find_out_if_writes_are_held_back(loop)
    assert transport_module._holds_writes_back[loop] is bool(left)
    loop.create_connection.assert_called_once()
    transport.abort.assert_called_once()


async def test_over_tls_a_loop_that_holds_writes_back_is_waited_for() -> None:
    """An answer that takes its time, as each does that has to come from somewhere, is not early."""
    loop = asyncio.get_running_loop()
    async with (
        serve(answering(session("my.own.token")), GOOD) as server,
        AiohttpTransport.open(ssl=OURS) as transport,
    ):
        with mock.patch.dict(transport_module._holds_writes_back, {loop: True}):
            for _ in range(2):
                assert (await finish(transport, server.url("https"))).session_jwt == "my.own.token"
    assert len(server.connections) == 1


async def test_a_deadline_that_passes_while_a_transport_closes_changes_nothing() -> None:
    async with serve(Connection.gone) as server, AiohttpTransport.open() as transport:
        call = asyncio.create_task(failure(transport, server.url(), timeout=0.2))
        await server.until(lambda: server.received.endswith(b"}"))
        closing = asyncio.create_task(transport.close())
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        assert type(await call) is TransportClosed
        await closing
