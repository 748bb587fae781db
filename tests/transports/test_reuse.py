"""Connections that are dirty or dead are replaced unnoticed, and nobody ever gets somebody else's token."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import aiohttp
import pytest
from kit.certs import Authority
from kit.servers import Connection, Server, answer, answering, serve, session
from kit.support import CODE, PROJECT, failure, finish
from yarl import URL

from descope_native import ConnectError, Outcome, UnexpectedResponse
from descope_native.transports.aiohttp import AiohttpTransport

STRAY = session("some.body.else")


def token_in(request: bytes) -> str:
    """The token that a request earns: the server makes it of the code."""
    return request.partition(b'"code":"')[2].partition(b'"')[0].decode()


async def honest(connection: Connection) -> None:
    while request := await connection.request():
        connection.send(session(token_in(request)))


async def settled() -> None:
    """Lets the event loop see what was sent.

    How long loopback takes is not said anywhere, and nobody can be asked: it is idle connections that
    these tests write to.
    """
    for _ in range(10):
        await asyncio.sleep(0.005)


SPOILS: dict[str, Callable[[Connection], object]] = {
    "a stray answer": lambda connection: connection.send(STRAY),
    "two stray answers": lambda connection: connection.send(STRAY * 2),
    "a stray answer and FIN": lambda connection: (connection.send(STRAY), connection.finish()),
    "a stray head": lambda connection: connection.send(STRAY[: STRAY.index(b"{")]),
    "garbage": lambda connection: connection.send(b"\x00\x01garbage\r\n\r\n"),
    "a stray 100": lambda connection: connection.send(b"HTTP/1.1 100 Continue\r\n\r\n" + STRAY),
    "a stray 408": lambda connection: (connection.send(answer(408)), connection.finish()),
    "half a head and FIN": lambda connection: (connection.send(STRAY[:30]), connection.finish()),
    "FIN": Connection.finish,
    "RST": Connection.reset,
}


@asynccontextmanager
async def opened(context: ssl.SSLContext, *, borrowed: bool) -> AsyncIterator[AiohttpTransport]:
    if borrowed:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            yield AiohttpTransport(session)
    else:
        async with AiohttpTransport.open(ssl=context) as transport:
            yield transport


@pytest.mark.parametrize("borrowed", [False, True], ids=["its own", "borrowed"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("seen", [True, False], ids=["seen by the loop", "still in the kernel"])
@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_spoiled_connection_is_replaced_unnoticed(
    spoil: str, seen: bool, tls: bool, borrowed: bool
) -> None:
    """Row 8: the next caller gets their own token over another connection; nothing goes down the old one."""
    authority = Authority()
    server_side = authority.certify("localhost").server_context() if tls else None
    async with (
        serve(honest, server_side) as server,
        opened(authority.client_context(), borrowed=borrowed) as transport,
    ):
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


async def test_half_a_stray_head_spoils_its_connection_too() -> None:
    """Row 8: the rest of it might come with the next request in flight."""
    async with serve(honest) as server, AiohttpTransport.open() as transport:
        assert (await finish(transport, server.url(), "first")).session_jwt == "first"
        server.connections[0].send(STRAY[:20])
        await settled()
        assert (await finish(transport, server.url(), "second")).session_jwt == "second"
    assert len(server.connections) == 2


async def fill_the_pool(transport: AiohttpTransport, server: Server, count: int, gate: asyncio.Event) -> None:
    """As many connections as calls: each is answered only once all have been made."""
    calls = [asyncio.create_task(finish(transport, server.url(), f"fill-{n}")) for n in range(count)]
    await server.until(lambda: len(server.connections) == count)
    gate.set()
    assert {(await call).session_jwt for call in calls} == {f"fill-{n}" for n in range(count)}


@pytest.mark.parametrize("seen", [True, False], ids=["seen by the loop", "still in the kernel"])
@pytest.mark.parametrize("count", [30, 150])
@pytest.mark.parametrize("spoil", ["a stray answer", "FIN"])
async def test_a_pool_that_has_gone_bad_as_a_whole_is_replaced_unnoticed(
    spoil: str, count: int, seen: bool
) -> None:
    """Row 8: one call may find each pooled connection spoiled, however many there are."""
    gate = asyncio.Event()

    async def script(connection: Connection) -> None:
        while request := await connection.request():
            await gate.wait()
            connection.send(session(token_in(request)))

    async with serve(script) as server, AiohttpTransport.open(limit=0) as transport:
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
async def test_without_reuse_a_stray_in_flight_is_nobodys_answer(tls: bool) -> None:
    """Each call has a connection of its own, so what comes behind an answer has nobody to go to."""

    async def script(connection: Connection) -> None:
        if request := await connection.request():
            connection.send(session(token_in(request)) + STRAY)
            await asyncio.sleep(0)
            connection.send(STRAY)

    authority = Authority()
    server_side = authority.certify("localhost").server_context() if tls else None
    trust = authority.client_context()
    async with (
        serve(script, server_side) as server,
        AiohttpTransport.open(ssl=trust, reuse_connections=False) as transport,
    ):
        url = server.url("https" if tls else "http")
        for n in range(50):
            assert (await finish(transport, url, f"call-{n}")).session_jwt == f"call-{n}"
        assert len(server.connections) == 50


async def test_an_answer_with_another_behind_it_is_the_last_of_its_connection() -> None:
    """Both in one packet: the first is taken, and the connection with the second is not kept."""

    async def script(connection: Connection) -> None:
        while request := await connection.request():
            connection.send(session(token_in(request)) + STRAY)

    async with serve(script) as server, AiohttpTransport.open() as transport:
        for n in range(3):
            assert (await finish(transport, server.url(), f"call-{n}")).session_jwt == f"call-{n}"
        assert len(server.connections) == 3


async def test_a_peer_that_speaks_first_is_given_up_after_a_few_connections() -> None:
    """A fresh connection that is dirty as well: nothing is sent or taken for an answer, nobody hammered."""

    async def script(connection: Connection) -> None:
        connection.send(STRAY)
        await connection.gone()

    async with serve(script) as server, AiohttpTransport.open() as transport:
        with pytest.raises(ConnectError) as unsent:
            await finish(transport, server.url())
        assert (unsent.value.outcome, unsent.value.safe_to_retry) == (Outcome.NOT_SENT, True)
        assert server.received == b""
        assert len(server.connections) == 3


async def test_new_connections_that_go_before_they_are_used_are_replaced_twice() -> None:
    """Then the caller is told: nothing was sent, and nobody is hammered."""
    made = []

    class Flaky(aiohttp.TCPConnector):
        async def connect(self, *arguments: Any, **options: Any) -> Any:
            connection: Any = await super().connect(*arguments, **options)
            connection.transport.close()
            made.append(connection)
            return connection

    async with serve(honest) as server, aiohttp.ClientSession(connector=Flaky()) as owner:
        error = await failure(AiohttpTransport(owner), server.url())
        assert isinstance(error, ConnectError)
        assert error.args == ("reset", "connections go bad before anything can be sent", True)
        assert len(made) == 3
        assert all(connection.protocol is None for connection in made)  # given back, each of them
        assert server.received == b""


async def test_what_follows_a_101_is_not_the_next_callers_answer() -> None:
    """A switch of protocols that nobody asked for, and the answer after it: not ours, and nobody else's."""

    async def script(connection: Connection) -> None:
        while request := await connection.request():
            if token_in(request) == "first":
                connection.send(b"HTTP/1.1 101 Whatever\r\n\r\n")
                await asyncio.sleep(0.02)
            connection.send(session(token_in(request)))

    async with serve(script) as server, AiohttpTransport.open() as transport:
        error = await failure(transport, server.url(), "first")
        assert isinstance(error, UnexpectedResponse)
        assert error.status == 101
        assert (await finish(transport, server.url(), "second")).session_jwt == "second"


async def test_a_status_below_100_is_an_answer() -> None:
    """It announces nothing, so nothing more is waited for."""
    script = answering(b"HTTP/1.1 099 Whatever\r\nContent-Length: 0\r\n\r\n")
    async with serve(script) as server, AiohttpTransport.open() as transport:
        error = await failure(transport, server.url())
    assert isinstance(error, UnexpectedResponse)
    assert error.status == 99


# --- what a borrowed session may be set to


async def test_the_cookies_of_one_user_are_not_sent_for_the_next() -> None:
    """A live jar, filled by the owner and by our answers, neither gives nor takes."""

    async def script(connection: Connection) -> None:
        while request := await connection.request():
            connection.send(
                session(token_in(request), "Set-Cookie: DSR=alice; Path=/", "Set-Cookie: DS=a; Path=/")
            )

    async with serve(script) as server, aiohttp.ClientSession() as owner:
        owner.cookie_jar.update_cookies({"owner": "his"}, URL(server.url()))
        transport = AiohttpTransport(owner)
        for n in range(3):
            assert (await finish(transport, server.url(), f"call-{n}")).session_jwt == f"call-{n}"
        assert b"cookie:" not in server.received.lower()
        assert [cookie.key for cookie in owner.cookie_jar] == ["owner"]
        # The jar is live: the owner's own request does carry his cookie.
        async with owner.post(server.url(), data=b'"code":"x"'):
            pass
        assert b"owner=his" in server.received


async def test_a_middleware_that_sends_again_does_not_see_our_calls() -> None:
    """One POST, however its answer looks to somebody's retry middleware."""
    calls = []

    async def resend(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        calls.append(request)
        await handler(request)
        return await handler(request)

    async def script(connection: Connection) -> None:
        while await connection.request():
            connection.send(answer(503))

    async with serve(script) as server, aiohttp.ClientSession(middlewares=[resend]) as owner:
        error = await failure(AiohttpTransport(owner), server.url())
        assert getattr(error, "status", None) == 503
        assert server.received.count(CODE.encode()) == 1
        assert calls == []
        await owner.post(server.url())
        assert len(calls) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"raise_for_status": True},
        {"headers": {"Authorization": "Basic b3duZXI6aGlz", "X-Owner": "his", "Accept-Encoding": "gzip"}},
        {"auth": ("owner", "his")},
        {"auto_decompress": True},
        {"cookies": {"owner": "his"}},
        {"proxy": "http://localhost:9"},
        {"requote_redirect_url": True, "read_bufsize": 16},
        {"version": aiohttp.HttpVersion10},
        {"timeout": aiohttp.ClientTimeout(total=0.000001)},
        {"max_line_size": 10, "max_field_size": 10},
        {"skip_auto_headers": ["Content-Type", "Content-Length", "Host"]},
        {"json_serialize": str},
        {"base_url": "http://localhost:9/"},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.filterwarnings("ignore:.*[aA]uth.*:DeprecationWarning")
async def test_what_a_borrowed_session_is_set_to_changes_nothing(options: dict[str, Any]) -> None:
    """The request on the wire is that of a session without settings, byte for byte, and so is the result."""
    requests = []

    async def script(connection: Connection) -> None:
        while request := await connection.request():
            requests.append(request)
            connection.send(session(token_in(request)))

    async with serve(script) as server, AiohttpTransport.open() as transport:
        assert (await finish(transport, server.url())).session_jwt == CODE
        if "auth" in options and not hasattr(aiohttp, "BasicAuth"):
            pytest.skip("sessions of aiohttp 4 take no auth")
        if "auth" in options:  # BasicAuth warns that it is deprecated, at import time it would be an error
            options = {"auth": aiohttp.BasicAuth(*options["auth"])}
        async with aiohttp.ClientSession(**options) as owner:
            assert (await finish(AiohttpTransport(owner), server.url())).session_jwt == CODE
            assert not owner.closed
    plain, borrowed = requests
    assert borrowed == plain
    assert f"Authorization: Bearer {PROJECT}\r\n".encode() in plain


@pytest.mark.parametrize("owned", [True, False])
async def test_proxies_of_the_environment_are_not_used(owned: bool) -> None:
    """The bearer and the code go to one origin only, whatever HTTP_PROXY says."""
    async with (
        serve(honest) as server,
        serve(honest) as proxy,
        aiohttp.ClientSession(trust_env=True) as owner,
    ):
        environment = {name: proxy.url() for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")}
        with mock.patch.dict(os.environ, {**environment, "NO_PROXY": "", "no_proxy": ""}):
            async with AiohttpTransport.open() as transport:
                chosen = transport if owned else AiohttpTransport(owner)
                assert (await finish(chosen, server.url())).session_jwt == CODE
        assert proxy.connections == []


async def test_netrc_of_the_environment_is_not_used(tmp_path: Any) -> None:
    """Nor is somebody's password for the host sent instead of the bearer."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login owner password his\n")
    async with serve(honest) as server, aiohttp.ClientSession(trust_env=True) as owner:
        with mock.patch.dict(os.environ, {"NETRC": str(netrc)}):
            assert (await finish(AiohttpTransport(owner), server.url())).session_jwt == CODE
    assert f"Authorization: Bearer {PROJECT}\r\n".encode() in server.received


async def test_a_redirect_is_not_followed_whatever_the_session_says() -> None:
    """307 would send the code to somebody else."""
    async with serve(honest) as elsewhere:

        async def script(connection: Connection) -> None:
            while await connection.request():
                connection.send(answer(307, b"", f"Location: {elsewhere.url()}/x"))

        async with serve(script) as server, aiohttp.ClientSession() as owner:
            assert isinstance(await failure(AiohttpTransport(owner), server.url()), UnexpectedResponse)
        assert elsewhere.connections == []


@pytest.mark.parametrize("seen", [True, False], ids=["seen by the loop", "still in the kernel"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_what_the_owner_of_a_session_left_on_its_connections_is_not_our_answer(
    tls: bool, seen: bool
) -> None:
    """A pool shared with its owner: we have never used that connection, and still look before we write."""
    authority = Authority()
    server_side = authority.certify("localhost").server_context() if tls else None
    connector = aiohttp.TCPConnector(ssl=authority.client_context())
    async with serve(honest, server_side) as server, aiohttp.ClientSession(connector=connector) as owner:
        url = server.url("https" if tls else "http")
        async with owner.post(url, data=b'"code":"his"') as response:
            await response.read()
        server.connections[0].send(STRAY)
        if seen:
            await settled()
        mine = await finish(AiohttpTransport(owner), url, "mine", timeout=0.9)  # without a pause for it
        assert mine.session_jwt == "mine"
        assert len(server.connections) == 2


@pytest.mark.parametrize("stray", [STRAY, STRAY[:9], b""])
@pytest.mark.parametrize("used", [1, 4])
async def test_connections_that_their_owner_has_used_are_replaced(used: int, stray: bytes) -> None:
    """However many, and whatever lies in aiohttp's parser of them: nobody can see that, so none is taken."""
    gate = asyncio.Event()

    async def script(connection: Connection) -> None:
        while request := await connection.request():
            await gate.wait()
            connection.send(session(token_in(request)))

    async def his(owner: aiohttp.ClientSession, url: str) -> None:
        async with owner.post(url, data=b'"code":"his"') as response:
            await response.read()

    async with serve(script) as server, aiohttp.ClientSession() as owner:
        calls = [asyncio.create_task(his(owner, server.url())) for _ in range(used)]
        await server.until(lambda: len(server.connections) == used)
        gate.set()
        await asyncio.gather(*calls)
        for connection in server.connections:
            connection.send(stray)
        await settled()
        assert (await finish(AiohttpTransport(owner), server.url(), "mine")).session_jwt == "mine"
        assert len(server.connections) == used + 1
