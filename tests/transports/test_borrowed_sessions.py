"""`AiohttpTransport(session)`: what its owner set and does changes neither a request nor a result."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from kit.certs import GOOD, OURS
from kit.servers import Connection, answer, answering, honest, saying, serve, session, token_in
from kit.support import (
    CODE,
    PROJECT,
    Watched,
    assert_unsent,
    cancelled_after,
    failure,
    finish,
    nothing_said,
    settled,
)
from yarl import URL

from descope_native import ConnectError, Outcome, RequestTimeout, TransportClosed, UnexpectedResponse
from descope_native.errors import Phase
from descope_native.transports.aiohttp import AiohttpTransport

STRAY = session("some.body.else")


# --- how it resolves names


class Resolver(AbstractResolver):
    """Resolves names the way that a test says."""

    def __init__(self, answering: Callable[[], Awaitable[list[ResolveResult]]]) -> None:
        self._answer = answering

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return await self._answer()

    async def close(self) -> None:
        pass


async def fails() -> list[ResolveResult]:
    raise OSError(None, "no such host")


async def answers_nothing() -> list[ResolveResult]:
    return []


@asynccontextmanager
async def resolving(
    answering: Callable[[], Awaitable[list[ResolveResult]]], **options: Any
) -> AsyncIterator[AiohttpTransport]:
    connector = aiohttp.TCPConnector(resolver=Resolver(answering), **options)
    async with aiohttp.ClientSession(connector=connector) as borrowed:
        yield AiohttpTransport(borrowed)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("how", [fails, answers_nothing])
async def test_a_name_that_does_not_resolve_was_not_sent(
    how: Callable[[], Awaitable[list[ResolveResult]]], cache: bool
) -> None:
    """Row 3: DNS fails, or answers nothing."""
    async with resolving(how, use_dns_cache=cache) as transport:
        error = await failure(transport, "https://api.example")
    assert_unsent(error, ConnectError, "connect")
    assert isinstance(error, ConnectError)
    assert error.reason == "dns"


async def test_addresses_of_a_family_that_is_not_wanted_are_no_addresses() -> None:
    """Row 3: a name with IPv6 addresses only, for a connector that speaks IPv4."""

    async def answers_six() -> list[ResolveResult]:
        return [ResolveResult(hostname="x", host="::1", port=443, family=socket.AF_INET6, proto=0, flags=0)]

    async with resolving(answers_six, family=socket.AF_INET) as transport:
        error = await failure(transport, "https://api.example")
    assert_unsent(error, ConnectError, "connect")


@pytest.mark.parametrize("cut_by", ["the deadline", "connect_timeout", "close"])
async def test_a_resolver_that_hangs_costs_no_more_than_the_time_there_is(cut_by: str) -> None:
    """Rows 2, 3 and 6: time is up in DNS, or the transport is closed there."""
    released = asyncio.Event()

    async def hangs() -> list[ResolveResult]:
        await released.wait()
        return []

    started = time.monotonic()
    connector = aiohttp.TCPConnector(resolver=Resolver(hangs))
    async with aiohttp.ClientSession(connector=connector) as borrowed:
        transport = AiohttpTransport(borrowed, connect_timeout=0.2 if cut_by == "connect_timeout" else 9.0)
        call = asyncio.create_task(
            failure(transport, "https://api.example", timeout=0.2 if cut_by == "the deadline" else 9.0)
        )
        if cut_by == "close":
            await asyncio.sleep(0.05)
            await transport.close()
            assert_unsent(await call, TransportClosed, "connect", again=False)
        else:
            assert_unsent(await call, RequestTimeout, "connect")
        assert time.monotonic() - started < 5  # not the 9 that it would have had
        released.set()


# --- what its owner does with it


@pytest.mark.filterwarnings("ignore:The ssl_shutdown_timeout:DeprecationWarning")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("phase", ["wait", "read"])
async def test_a_session_closed_under_a_call_ends_it_at_once(phase: Phase, tls: bool) -> None:
    """Row 22: also within an answer, and where its connector waits for a goodbye of TLS that never comes."""

    async def script(connection: Connection) -> None:
        await connection.request()
        connection.transport.pause_reading()  # so that it hears no goodbye
        connection.send(session()[:-1] if phase == "read" else b"")

    connector = aiohttp.TCPConnector(ssl=OURS, ssl_shutdown_timeout=30)
    async with serve(script, GOOD if tls else None) as server:
        owner = aiohttp.ClientSession(connector=connector)
        watched = Watched(AiohttpTransport(owner))
        call = asyncio.create_task(failure(watched, server.url("https" if tls else "http")))
        await watched.reached(phase)
        await server.until(lambda: CODE.encode() in server.received)
        closing = asyncio.create_task(owner.close())
        async with asyncio.timeout(2):
            error = await call
        server.connections[0].transport.resume_reading()
        await closing
    assert isinstance(error, TransportClosed)
    assert (error.phase, error.outcome) == (phase, Outcome.UNKNOWN)


async def test_a_session_closed_while_it_connects_has_sent_nothing() -> None:
    """Row 2: aiohttp lets a connect under way come to its own end, and the call says why it ended."""
    async with serve(Connection.gone) as silent, aiohttp.ClientSession() as owner:
        transport = AiohttpTransport(owner, connect_timeout=0.2)
        call = asyncio.create_task(failure(transport, silent.url("https")))
        await silent.until(lambda: bool(silent.received))
        await owner.close()
        assert_unsent(await call, TransportClosed, "connect", again=False)


async def test_who_cancels_is_not_told_that_a_session_was_closed() -> None:
    """Row 21: cancellation passes, also where the session is closed at the same moment."""
    async with serve(saying(session()[:-1])) as server, aiohttp.ClientSession() as owner:
        watched = Watched(AiohttpTransport(owner))
        call = asyncio.create_task(finish(watched, server.url()))
        await watched.reached("read")
        call.cancel()
        await owner.close()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_session_closed_by_its_owner_ends_calls_with_what_is_proved() -> None:
    """Rows 2 and 22: in flight, queued in its pool behind somebody else, and afterwards."""
    async with serve(saying()) as server:
        owner = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2))
        transport = AiohttpTransport(owner)
        other = asyncio.create_task(owner.post(server.url(), data=b"the owner's"))
        first = asyncio.create_task(failure(transport, server.url()))
        await server.until(lambda: CODE.encode() in server.received and b"owner" in server.received)
        queued = asyncio.create_task(failure(transport, server.url(), "queued"))
        await asyncio.sleep(0.02)
        await owner.close()
        error = await first
        assert isinstance(error, TransportClosed)
        assert (error.outcome, error.safe_to_retry) == (Outcome.UNKNOWN, False)
        assert_unsent(await queued, TransportClosed, "connect", again=False)
        afterwards = await failure(transport, server.url(), "afterwards")
        assert_unsent(afterwards, TransportClosed, "connect", again=False)
        assert len(server.connections) == 2, "aiohttp by itself would connect first, and look then"
        with pytest.raises(aiohttp.ClientError):
            await other
    assert b"queued" not in server.received
    assert b"afterwards" not in server.received


async def test_who_waits_for_a_place_at_a_host_waits_in_the_pool() -> None:
    """A connector may have fewer connections for one host than in all; the wait for those is no connect."""
    connector = aiohttp.TCPConnector(limit=100, limit_per_host=1)
    async with serve(Connection.gone) as server, aiohttp.ClientSession(connector=connector) as owner:
        transport = AiohttpTransport(owner)
        first = asyncio.create_task(failure(transport, server.url()))
        await server.until(lambda: bool(server.received))
        assert_unsent(await failure(transport, server.url(), timeout=0.05), RequestTimeout, "pool")
        await transport.close()
        await first


async def end(connection: Any) -> None:
    connection.transport.close()


async def abort(connection: Any) -> None:
    connection.transport.abort()
    while connection.transport is not None:
        await asyncio.sleep(0)


@pytest.mark.parametrize("spoil", [end, abort], ids=["FIN", "RST"])
@pytest.mark.parametrize("bad", [1, 2, 3])
async def test_new_connections_that_go_before_they_are_used_are_replaced_twice(
    bad: int, spoil: Callable[[Any], Awaitable[None]]
) -> None:
    """Then the caller is told: nothing was sent, and nobody is hammered."""
    made: list[Any] = []

    class Flaky(aiohttp.TCPConnector):
        async def connect(self, *arguments: Any, **options: Any) -> Any:
            connection: Any = await super().connect(*arguments, **options)
            made.append(connection)
            if len(made) <= bad:
                await spoil(connection)
            return connection

    async with serve(honest) as server, aiohttp.ClientSession(connector=Flaky()) as owner:
        if bad < 3:
            assert (await finish(AiohttpTransport(owner), server.url())).session_jwt == CODE
        else:
            error = await failure(AiohttpTransport(owner), server.url())
            assert_unsent(error, ConnectError, "connect")
            assert server.received == b""
        assert len(made) == min(bad + 1, 3)
        assert all(connection.protocol is None for connection in made)  # given back, each of them


# --- what it may be set to


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


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("seen", [True, False], ids=["seen by the loop", "still in the kernel"])
@pytest.mark.parametrize("stray", [STRAY, STRAY[:9], b""])
@pytest.mark.parametrize("used", [1, 4])
async def test_connections_that_their_owner_has_used_are_replaced(
    used: int, stray: bytes, seen: bool, tls: bool
) -> None:
    """However many, and whatever lies in aiohttp's parser of them: nobody can see that, so none is taken."""
    gate = asyncio.Event()

    async def script(connection: Connection) -> None:
        while request := await connection.request():
            await gate.wait()
            connection.send(session(token_in(request)))

    async def his(owner: aiohttp.ClientSession, url: str) -> None:
        async with owner.post(url, data=b'"code":"his"') as response:
            await response.read()

    connector = aiohttp.TCPConnector(ssl=OURS)
    async with (
        serve(script, GOOD if tls else None) as server,
        aiohttp.ClientSession(connector=connector) as owner,
    ):
        url = server.url("https" if tls else "http")
        calls = [asyncio.create_task(his(owner, url)) for _ in range(used)]
        await server.until(lambda: len(server.connections) == used)
        gate.set()
        await asyncio.gather(*calls)
        for connection in server.connections:
            connection.send(stray)
        if seen:
            await settled()
        mine = await finish(AiohttpTransport(owner), url, "mine", timeout=0.9)  # without a pause for it
        assert mine.session_jwt == "mine"
        assert len(server.connections) == used + 1


@pytest.mark.parametrize("steps", range(12))
async def test_a_call_cancelled_in_the_pool_of_a_borrowed_session_takes_no_connection_with_it(
    steps: int,
) -> None:
    """There the queue is aiohttp's, since its owner holds the one connection there is."""
    async with (
        serve(honest) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as owner,
    ):
        transport = AiohttpTransport(owner)
        response = await owner.post(server.url(), data=b'"code":"owner"')
        queued = asyncio.create_task(finish(transport, server.url(), "queued"))
        for _ in range(3):
            await asyncio.sleep(0)
        response.close()
        await cancelled_after(steps, queued)
        assert (await finish(transport, server.url(), "later")).session_jwt == "later"


def test_a_borrowed_session_works_on_its_own_event_loop_only() -> None:
    """Also where the transport was made elsewhere, or outside of any loop, and never used."""

    async def make(owner: aiohttp.ClientSession) -> AiohttpTransport:
        return AiohttpTransport(owner)

    async def open_session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    with asyncio.Runner() as elsewhere:
        owner = elsewhere.run(open_session())
        for transport in (AiohttpTransport(owner), asyncio.run(make(owner))):
            error = asyncio.run(failure(transport, "https://a.example"))
            assert_unsent(error, TransportClosed, "pool", again=False)
            assert "open one per loop" in str(error)
        elsewhere.run(owner.close())


async def test_a_borrowing_transport_may_be_forgotten() -> None:
    """Nothing of its own needs closing: no warning, and the session works on."""
    async with serve(answering()) as server, aiohttp.ClientSession() as owner:
        with nothing_said():
            for _ in range(3):
                await finish(AiohttpTransport(owner), server.url())
        async with owner.get(server.url()) as response:
            assert response.status == 200
    assert server.received.count(CODE.encode()) == 3
