"""Connections that are dirty or dead are replaced unnoticed, and nobody ever gets somebody else's token."""

import asyncio
import os
from collections.abc import Callable
from unittest import mock

import pytest
from kit.certs import GOOD, OURS
from kit.networks import Network
from kit.servers import Connection, Server, answer, answering, honest, serve, session, token_in
from kit.support import CODE, Watched, failure, finish, settled

from descope_native import ConnectError, Outcome, RejectedError, Transport, UnexpectedResponse

STRAY = session("some.body.else")


SPOILS: dict[str, Callable[[Connection], object]] = {
    "a stray answer": lambda connection: connection.send(STRAY),
    "two stray answers": lambda connection: connection.send(STRAY * 2),
    "a stray answer and FIN": lambda connection: (connection.send(STRAY), connection.finish()),
    "a stray head": lambda connection: connection.send(STRAY[: STRAY.index(b"{")]),
    "garbage": lambda connection: connection.send(b"\x00\x01garbage\r\n\r\n"),
    "a stray 100": lambda connection: connection.send(b"HTTP/1.1 100 Continue\r\n\r\n" + STRAY),
    "a stray 408": lambda connection: (connection.send(answer(408)), connection.finish()),
    "half a head and FIN": lambda connection: (connection.send(STRAY[:30]), connection.finish()),
    "half a stray head": lambda connection: connection.send(STRAY[:20]),
    "FIN": Connection.finish,
    "RST": Connection.reset,
}


@pytest.mark.needs("reuses_connections")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("seen", [True, False], ids=["seen by the loop", "still in the kernel"])
@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_spoiled_connection_is_replaced_unnoticed(
    network: Network, spoil: str, seen: bool, tls: bool
) -> None:
    """Row 8: the next caller gets their own token over another connection; nothing goes down the old one."""
    async with serve(honest, GOOD if tls else None) as server, network.open(ssl=OURS) as transport:
        url = server.url("https" if tls else "http")
        assert (await finish(transport, url, "first")).session_jwt == "first"
        used = server.connections[0]
        before = len(used.received)
        SPOILS[spoil](used)
        if seen:
            await settled()
        elif spoil in {"FIN", "RST"}:
            await asyncio.sleep(0)  # the server's end closes in the next turn of the loop
        assert (await finish(transport, url, "second")).session_jwt == "second"
        assert (await finish(transport, url, "third")).session_jwt == "third"
        assert len(used.received) == before
        assert len(server.connections) == 2


async def fill_the_pool(transport: Transport, server: Server, count: int, gate: asyncio.Event) -> None:
    """As many connections as calls: each is answered only once all have been made."""
    calls = [asyncio.create_task(finish(transport, server.url(), f"fill-{n}")) for n in range(count)]
    await server.until(lambda: len(server.connections) == count)
    gate.set()
    assert {(await call).session_jwt for call in calls} == {f"fill-{n}" for n in range(count)}


@pytest.mark.needs("reuses_connections")
@pytest.mark.parametrize("seen", [True, False], ids=["seen by the loop", "still in the kernel"])
@pytest.mark.parametrize("count", [30, 150])
@pytest.mark.parametrize("spoil", ["a stray answer", "FIN"])
async def test_a_pool_that_has_gone_bad_as_a_whole_is_replaced_unnoticed(
    network: Network, spoil: str, count: int, seen: bool
) -> None:
    """Row 8: one call may find each pooled connection spoiled, however many there are."""
    gate = asyncio.Event()

    async def script(connection: Connection) -> None:
        while request := await connection.request():
            await gate.wait()
            connection.send(session(token_in(request)))

    async with serve(script) as server, network.open(limit=0) as transport:
        await fill_the_pool(transport, server, count, gate)
        for connection in server.connections:
            SPOILS[spoil](connection)
        if seen:
            await settled()
        elif spoil == "FIN":
            await asyncio.sleep(0)  # as above
        assert (await finish(transport, server.url(), "after")).session_jwt == "after"
        assert server.received.count(b'"code":"after"') == 1


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_without_reuse_a_stray_in_flight_is_nobodys_answer(network: Network, tls: bool) -> None:
    """Each call has a connection of its own, so what comes behind an answer has nobody to go to."""

    async def script(connection: Connection) -> None:
        if request := await connection.request():
            connection.send(session(token_in(request)) + STRAY)
            await asyncio.sleep(0)
            connection.send(STRAY)

    async with (
        serve(script, GOOD if tls else None) as server,
        network.open(ssl=OURS, reuse_connections=False) as transport,
    ):
        url = server.url("https" if tls else "http")
        for n in range(50):
            assert (await finish(transport, url, f"call-{n}")).session_jwt == f"call-{n}"
        assert len(server.connections) == 50


async def test_an_answer_with_another_behind_it_is_the_last_of_its_connection(network: Network) -> None:
    """Both in one packet: the first is taken, and the connection with the second is not kept."""

    async def script(connection: Connection) -> None:
        while request := await connection.request():
            connection.send(session(token_in(request)) + STRAY)

    async with serve(script) as server, network.open() as transport:
        for n in range(3):
            assert (await finish(transport, server.url(), f"call-{n}")).session_jwt == f"call-{n}"
        assert len(server.connections) == 3


@pytest.mark.needs("refuses_early_answers")
async def test_a_peer_that_speaks_first_is_given_up_after_a_few_connections(network: Network) -> None:
    """A fresh connection that is dirty as well: nothing is sent or taken for an answer, nobody hammered."""

    async def script(connection: Connection) -> None:
        connection.send(STRAY)
        await connection.gone()

    async with serve(script) as server, network.open() as transport:
        with pytest.raises(ConnectError) as unsent:
            await finish(transport, server.url())
        assert (unsent.value.outcome, unsent.value.safe_to_retry) == (Outcome.NOT_SENT, True)
        assert server.received == b""
        assert len(server.connections) == 3


@pytest.mark.needs("tells_bad_heads")
async def test_what_follows_a_101_is_not_the_next_callers_answer(network: Network) -> None:
    """A switch of protocols that nobody asked for, and the answer after it: not ours, and nobody else's."""

    async def script(connection: Connection) -> None:
        while request := await connection.request():
            if token_in(request) == "first":
                connection.send(b"HTTP/1.1 101 Whatever\r\n\r\n")
                await asyncio.sleep(0.02)
            connection.send(session(token_in(request)))

    async with serve(script) as server, network.open() as transport:
        error = await failure(transport, server.url(), "first")
        assert isinstance(error, UnexpectedResponse)
        assert error.status == 101
        assert (await finish(transport, server.url(), "second")).session_jwt == "second"


@pytest.mark.needs("tells_bad_heads")
async def test_a_status_below_100_is_an_answer(network: Network) -> None:
    """It announces nothing, so nothing more is waited for."""
    script = answering(b"HTTP/1.1 099 Whatever\r\nContent-Length: 0\r\n\r\n")
    async with serve(script) as server, network.open() as transport:
        error = await failure(transport, server.url())
    assert isinstance(error, UnexpectedResponse)
    assert error.status == 99


async def test_proxies_of_the_environment_are_not_used(network: Network) -> None:
    """The bearer and the code go to one origin only, whatever HTTP_PROXY says."""
    async with serve(honest) as server, serve(honest) as proxy:
        environment = {name: proxy.url() for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")}
        with mock.patch.dict(os.environ, {**environment, "NO_PROXY": "", "no_proxy": ""}):
            async with network.open() as transport:
                assert (await finish(transport, server.url())).session_jwt == CODE
        assert proxy.connections == []


@pytest.mark.needs("reuses_connections")
@pytest.mark.parametrize("reuse", [True, False])
async def test_a_clean_connection_is_used_again_unless_told_otherwise(network: Network, reuse: bool) -> None:
    """And the server is told that there will be no next request."""
    options = {} if reuse else {"reuse_connections": False}
    async with serve(answering()) as server, network.open(**options) as transport:
        for _ in range(2):
            await finish(transport, server.url())
    assert len(server.connections) == (1 if reuse else 2)
    assert server.received.count(b"\r\nConnection: close\r\n") == (0 if reuse else 2)


@pytest.mark.needs("reads_while_sending")
async def test_an_answer_to_a_request_that_is_half_sent_is_taken_and_the_rest_is_not_sent(
    network: Network,
) -> None:
    """Nobody waits for a peer to read what it has answered already; its connection is not used again."""

    async def script(connection: Connection) -> None:
        await connection.arrived(1)
        connection.transport.pause_reading()
        connection.send(answer(413))

    async with serve(script) as server, network.open() as transport:
        watched = Watched(transport, padding=20_000_000)
        for count in (1, 2):
            assert isinstance(await failure(watched, server.url(), timeout=2), RejectedError)
            assert len(server.connections) == count
            server.connections[-1].transport.resume_reading()
            await server.connections[-1].gone()
    assert len(server.received) < 20_000_000
