"""Idle connections: how long they are used again, what is learned of their peers, and keeping one warm."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from kit.certs import GOOD, OURS, Authority
from kit.servers import Connection, Script, Server, answer, answering, serve, unused_port
from kit.support import PROJECT, cancelled_after, finish, nothing_said, settled
from yarl import URL

from descope_native import (
    AiohttpTransport,
    ConnectError,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    TLSError,
    TransportClosed,
)
from descope_native.transports._aiohttp.idle import IdleLimits, Rest
from descope_native.transports._aiohttp.warm import WarmKeeper

TOKEN = {"sessionJwt": "s.e.s"}


@asynccontextmanager
async def called_once(script: Script, **options: Any) -> AsyncIterator[tuple[AiohttpTransport, Server]]:
    """A transport that has made one call, so that a connection idles."""
    async with serve(script) as server, AiohttpTransport.open(**options) as transport:
        await finish(transport, server.url())
        yield transport, server


def kept(*headers: str) -> Script:
    return answering(answer(200, dict(TOKEN), *headers))


class Clock:
    """By which connections idle here, so that no test depends on how busy the machine is."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("descope_native.transports._aiohttp.idle.now", clock)
    return clock


# --- how long a connection is used again


async def test_a_connection_is_used_again_until_its_limit(clock: Clock) -> None:
    """55 seconds, below the limits of the usual load balancers; afterwards a fresh one is opened."""
    async with called_once(kept()) as (transport, server):
        clock.time += 54.9
        await finish(transport, server.url())
        assert len(server.connections) == 1
        clock.time += 55.1
        await finish(transport, server.url())
        assert len(server.connections) == 2


@pytest.mark.parametrize(
    ("header", "limit"),
    [
        ("Keep-Alive: timeout=20", 17.95),
        ("Keep-Alive: max=100, timeout=5", 4.45),
        ('keep-alive: TIMEOUT = "5"', 4.45),
        ("Keep-Alive: timeout=0", 0.0),
        ("Keep-Alive: timeout=400", 55),
        ("Keep-Alive: timeout=soon", 55),
        ("Keep-Alive: max=1", 55),
        ("Kept-Alive: timeout=5", 55),
    ],
)
async def test_a_limit_that_the_peer_names_is_obeyed_with_a_margin(
    header: str, limit: float, clock: Clock
) -> None:
    """A tenth, and the time that a request takes. Apache and Node say it."""
    async with called_once(kept(header)) as (transport, server):
        clock.time += max(limit - 0.01, 0)
        await finish(transport, server.url())
        assert len(server.connections) == 1
        clock.time += limit + 0.01
        await finish(transport, server.url())
        assert len(server.connections) == 2


def say_goodbye(connection: Connection) -> None:
    """FIN, after a close_notify where there is TLS."""
    connection.finish()


def hang_up(connection: Connection) -> None:
    """FIN alone, also where there is TLS."""
    connection.transport.close()


async def close_all(server: Server) -> None:
    """As a peer does whose connections have idled long enough."""
    for connection in server.connections:
        connection.finish()
    await server.all_gone()
    await settled()


async def test_a_close_while_idle_is_learned_from(clock: Clock) -> None:
    """Once a peer has closed an idle connection, none is used again that has idled nearly as long."""
    async with called_once(kept()) as (transport, server):
        clock.time += 20
        await close_all(server)
        await finish(transport, server.url())
        clock.time += 17.9
        await finish(transport, server.url())
        assert len(server.connections) == 2
        clock.time += 18
        await finish(transport, server.url())
        assert len(server.connections) == 3


async def test_a_reset_while_idle_is_learned_from_too(clock: Clock) -> None:
    """Some balancers say nothing before."""
    async with called_once(kept()) as (transport, server):
        clock.time += 20
        server.connections[0].reset()
        await server.all_gone()
        await finish(transport, server.url())
        clock.time += 18
        await finish(transport, server.url())
        assert len(server.connections) == 3


@asynccontextmanager
async def owned_or_borrowed(*, is_borrowed: bool, **options: Any) -> AsyncIterator[AiohttpTransport]:
    if not is_borrowed:
        async with AiohttpTransport.open(ssl=OURS) as transport:
            yield transport
    else:
        pool = aiohttp.TCPConnector(ssl=OURS, **options)
        async with aiohttp.ClientSession(connector=pool) as session:
            yield AiohttpTransport(session)


@pytest.mark.parametrize("is_borrowed", [False, True], ids=["own", "borrowed"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("close", [say_goodbye, hang_up], ids=["goodbye", "bare FIN"])
async def test_however_a_peer_closes_it_is_learned_from(
    close: Callable[[Connection], object], *, tls: bool, is_borrowed: bool, clock: Clock
) -> None:
    """Over TLS, a FIN without close_notify reaches a protocol in another way on each event loop."""
    async with (
        serve(kept(), GOOD if tls else None) as server,
        owned_or_borrowed(is_borrowed=is_borrowed) as transport,
    ):
        url = server.url("https" if tls else "http")
        await finish(transport, url)
        clock.time += 20
        close(server.connections[0])
        await server.all_gone()
        await settled()
        await finish(transport, url)
        clock.time += 17.9
        await finish(transport, url)
        assert len(server.connections) == 2
        clock.time += 18
        await finish(transport, url)
        assert len(server.connections) == 3


async def test_what_our_side_closes_teaches_nothing(clock: Clock) -> None:
    """A session's pool closes what has idled too long for its owner, which says nothing of the peer."""
    async with (
        serve(kept()) as server,
        owned_or_borrowed(is_borrowed=True, keepalive_timeout=0.2) as transport,
    ):
        await finish(transport, server.url())
        clock.time += 20
        await server.all_gone()
        await finish(transport, server.url())
        clock.time += 50
        await finish(transport, server.url())
        assert len(server.connections) == 2


@pytest.mark.parametrize("is_borrowed", [False, True], ids=["own", "borrowed"])
async def test_a_connection_that_ends_for_what_its_peer_said_teaches_nothing(
    clock: Clock, *, is_borrowed: bool
) -> None:
    """It is our side that ends it, or aiohttp's parser, and not for idling."""
    async with serve(kept()) as server, owned_or_borrowed(is_borrowed=is_borrowed) as transport:
        await finish(transport, server.url())
        clock.time += 20
        server.connections[0].send(b"this is not HTTP\r\n\r\n")
        await settled()
        await finish(transport, server.url())
        clock.time += 50
        await finish(transport, server.url())
        assert len(server.connections) == 2


async def test_what_was_learned_is_forgotten(clock: Clock) -> None:
    """After ten minutes: a deploy closes everything at once, and says nothing of later connections."""
    async with called_once(kept()) as (transport, server):
        clock.time += 1
        await close_all(server)
        clock.time += 601
        await finish(transport, server.url())
        clock.time += 50
        await finish(transport, server.url())
        assert len(server.connections) == 2


async def test_a_close_after_the_limit_teaches_nothing(clock: Clock) -> None:
    """The connection was not going to be used."""
    async with called_once(kept(), keepalive_timeout=10) as (transport, server):
        clock.time += 20
        await close_all(server)
        await finish(transport, server.url())
        clock.time += 9.9
        await finish(transport, server.url())
        assert len(server.connections) == 2


async def test_a_limit_counts_only_as_long_as_it_is_named(clock: Clock) -> None:
    """One answer with ``timeout=0`` does not end reuse for good."""
    script = answering(answer(200, dict(TOKEN), "Keep-Alive: timeout=0"), answer(200, dict(TOKEN)))
    async with called_once(script) as (transport, server):
        clock.time += 1
        await finish(transport, server.url())
        clock.time += 50
        await finish(transport, server.url())
        assert len(server.connections) == 2


async def test_warming_makes_no_connection_younger(clock: Clock) -> None:
    """It has idled since its last call, whoever has looked at it."""
    async with called_once(kept("Keep-Alive: timeout=20")) as (transport, server):
        clock.time += 17
        await transport.warm(URL(server.url()))
        clock.time += 17
        await finish(transport, server.url())
        assert len(server.connections) == 2


async def test_a_close_at_once_teaches_nothing(clock: Clock) -> None:
    """Whatever it was for, it was not for idling."""
    async with called_once(kept()) as (transport, server):
        clock.time += 0.1
        await close_all(server)
        await finish(transport, server.url())
        clock.time += 50
        await finish(transport, server.url())
        assert len(server.connections) == 2


@pytest.mark.parametrize(("status", "connections"), [(408, 3), (200, 2)])
async def test_a_408_on_an_idle_connection_is_its_end_too(
    status: int, connections: int, clock: Clock
) -> None:
    """HAProxy says it to a connection that nobody uses. Anything else that comes unasked teaches nothing."""
    async with called_once(kept()) as (transport, server):
        clock.time += 20
        server.connections[0].send(answer(status, b""))
        await server.all_gone()
        await finish(transport, server.url())
        clock.time += 18
        await finish(transport, server.url())
        assert len(server.connections) == connections


def closing_after(seconds: float) -> Script:
    """Answers, and closes a connection that has idled for so long."""

    async def script(connection: Connection) -> None:
        while True:
            try:
                async with asyncio.timeout(seconds):
                    request = await connection.request()
            except TimeoutError:
                connection.finish()
                return
            if not request:
                return
            connection.send(answer(200, dict(TOKEN)))

    return script


@pytest.mark.slow
async def test_no_call_is_lost_at_the_idle_edge() -> None:
    """300 calls over six connections, 30 ms around the limit that the peer has shown once."""
    limit = 0.3
    async with serve(closing_after(limit)) as server, AiohttpTransport.open() as transport:
        await finish(transport, server.url())
        await server.all_gone()

        async def caller(number: int) -> None:
            for turn in range(50):
                await finish(transport, server.url())
                await asyncio.sleep(limit + 0.03 * ((turn + number) % 7 - 3) / 3)

        await asyncio.gather(*(caller(number) for number in range(6)))


async def test_a_borrowed_pool_has_its_owners_limit_and_ours(clock: Clock) -> None:
    """The lower one counts."""
    async with serve(kept()) as server, aiohttp.ClientSession() as session:
        transport = AiohttpTransport(session, keepalive_timeout=10)
        await finish(transport, server.url())
        clock.time += 9.9
        await finish(transport, server.url())
        assert len(server.connections) == 1
        clock.time += 10.1
        await finish(transport, server.url())
        assert len(server.connections) == 2


# --- keeping one warm


async def test_warm_opens_a_connection_that_the_first_call_uses() -> None:
    """Without `keep_warm` as well; a second `warm` opens no other."""
    async with serve(kept()) as server, AiohttpTransport.open() as transport:
        finisher = NativeOAuthFinisher(PROJECT, transport, base_url=server.url())
        await finisher.warm()
        await finisher.warm()
        await server.until(lambda: len(server.connections) == 1)
        assert server.received == b""
        await finish(transport, server.url())
        assert len(server.connections) == 1


async def test_warm_raises_what_connecting_raises() -> None:
    """So that a wrong host is found at deploy; the error names it. In memory there is nothing to warm."""
    port = unused_port()
    async with NativeOAuthFinisher.open(PROJECT, base_url=f"http://localhost:{port}") as finisher:
        with pytest.raises(ConnectError, match=f"localhost:{port}"):
            await finisher.warm()
    async with serve(kept(), Authority().certify().server_context()) as server:
        url = server.url("https")
        async with NativeOAuthFinisher.open(PROJECT, base_url=url) as finisher:
            with pytest.raises(TLSError):
                await finisher.warm()
    await NativeOAuthFinisher(PROJECT, InMemoryTransport(lambda _: None)).warm()  # type: ignore[arg-type,return-value]  # never called


@pytest.mark.parametrize("options", [{"reuse_connections": False}, {}], ids=["fresh", "borrowed"])
async def test_warm_tries_a_connection_where_none_can_be_kept(options: dict[str, Any]) -> None:
    """It proves that the service can be reached, and leaves nothing behind."""
    async with serve(kept()) as server, aiohttp.ClientSession() as session:
        if options:
            async with AiohttpTransport.open(**options) as transport:
                await transport.warm(URL(server.url()))
        else:
            await AiohttpTransport(session).warm(URL(server.url()))
        await server.until(lambda: len(server.connections) == 1)
        await server.all_gone()


async def test_a_closed_transport_is_not_warmed() -> None:
    """As it makes no calls."""
    async with serve(kept()) as server:
        async with AiohttpTransport.open() as transport:
            pass
        with pytest.raises(TransportClosed):
            await transport.warm(URL(server.url()))


async def test_a_warm_transport_opens_the_next_connection_before_the_last_is_too_old() -> None:
    """After each limit there is another one, and a call finds it ready at any time."""
    async with called_once(kept(), keepalive_timeout=0.5, keep_warm=True) as (transport, server):
        await server.until(lambda: len(server.connections) >= 2)
        before = len(server.connections)
        await finish(transport, server.url())
        assert len(server.connections) == before
        assert not all(each.ended for each in server.connections)


async def test_a_warm_connection_that_dies_is_replaced() -> None:
    """Its peer has closed it; a second later another one is ready, though nobody called."""
    async with called_once(closing_after(0.3), keep_warm=True) as (_, server):
        await server.until(lambda: len(server.connections) >= 2)


async def test_a_peer_that_closes_unused_connections_is_not_hammered() -> None:
    """The pause doubles: within three seconds there are two attempts, not dozens."""

    async def script(connection: Connection) -> None:
        if len(server.connections) == 1:
            await connection.request()
            connection.send(answer(200, dict(TOKEN)))
        connection.finish()

    async with serve(script) as server, AiohttpTransport.open(keep_warm=True) as transport:
        await finish(transport, server.url())
        await asyncio.sleep(3)
        assert 2 <= len(server.connections) <= 4


async def test_a_short_limit_that_the_peer_names_does_not_lengthen_the_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Node announces five seconds: there is a connection ready at any time all the same."""
    monkeypatch.setattr(
        "descope_native.transports._aiohttp.warm._SHORT_LIFE", 0.4
    )  # for a limit of one second
    async with called_once(kept("Keep-Alive: timeout=1"), keep_warm=True) as (_, server):
        async with asyncio.timeout(10):
            await server.until(lambda: len(server.connections) >= 5)


async def test_a_peer_that_is_gone_is_told_in_the_log_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After many failures in a row, and not before."""
    monkeypatch.setattr("descope_native.transports._aiohttp.warm._MAX_PAUSE", 0.01)
    monkeypatch.setattr("descope_native.transports._aiohttp.warm._WARN_AFTER", 3)
    async with AiohttpTransport.open(keep_warm=True) as transport:
        async with serve(closing_after(0.05)) as server:
            await finish(transport, server.url())
        async with asyncio.timeout(20):
            while not told_of_warm_connections(caplog):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
    assert told_of_warm_connections(caplog) == [
        f"no connection to {server.url()} can be kept warm (ConnectError)"
    ]


def told_of_warm_connections(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if "kept warm" in each.getMessage()]


async def test_a_peer_that_never_keeps_an_unused_connection_is_told_in_the_log_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connecting works each time, and yet no connection is ever ready for long."""
    monkeypatch.setattr("descope_native.transports._aiohttp.warm._MAX_PAUSE", 0.01)
    monkeypatch.setattr("descope_native.transports._aiohttp.warm._LOOK_EVERY", 0.01)
    monkeypatch.setattr("descope_native.transports._aiohttp.warm._WARN_AFTER", 3)

    async def script(connection: Connection) -> None:
        await asyncio.sleep(0.01)
        connection.finish()

    async with serve(script) as server, AiohttpTransport.open(keep_warm=True) as transport:
        await transport.warm(URL(server.url()))
        async with asyncio.timeout(20):
            await server.until(lambda: len(server.connections) >= 8)
    assert told_of_warm_connections(caplog) == [
        f"no connection to {server.url()} can be kept warm (each ends soon)"
    ]


async def test_an_older_connection_that_is_usable_is_ready_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that calls have left the peer has closed the younger one; the next call has the other."""
    monkeypatch.setattr("descope_native.transports._aiohttp.warm._LOOK_EVERY", 0.01)
    both = asyncio.Event()

    async def script(connection: Connection) -> None:
        while await connection.request():
            if connection is not server.connections[0]:
                both.set()
                await asyncio.sleep(0.05)  # so that it is given back last
            await both.wait()
            connection.send(answer(200, dict(TOKEN)))

    async with serve(script) as server, AiohttpTransport.open(keep_warm=True) as transport:
        await asyncio.gather(*(finish(transport, server.url()) for _ in range(2)))
        server.connections[1].finish()
        await settled()
        await asyncio.sleep(0.3)
        await finish(transport, server.url())
        assert len(server.connections) == 2


async def test_many_calls_share_one_warm_connection() -> None:
    """While a call has the connection no other is opened for it, unless it takes long."""
    async with called_once(kept(), keep_warm=True) as (transport, server):
        for _ in range(50):
            await finish(transport, server.url())
        assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"keepalive_timeout": 0}, "keepalive_timeout"),
        ({"keepalive_timeout": None}, "keepalive_timeout"),
        ({"keepalive_timeout": float("inf")}, "keepalive_timeout"),
        ({"keep_warm": True, "reuse_connections": False}, "keep_warm"),
    ],
    ids=["zero", "none", "endless", "warm without reuse"],
)
async def test_a_limit_that_cannot_be_right_is_refused(options: dict[str, Any], name: str) -> None:
    """By name, before anything is opened."""
    with pytest.raises(InvalidRequestError, match=name):
        await AiohttpTransport.open(**options).__aenter__()


@pytest.mark.slow
async def test_warm_connections_do_not_pile_up() -> None:
    """However often one is renewed, there are two at most: the ready one, and the one before it."""
    async with called_once(kept(), keepalive_timeout=0.3, keep_warm=True) as (_, server):
        await server.until(lambda: len(server.connections) >= 6)
        assert sum(not each.ended for each in server.connections) <= 3


async def test_a_warm_transport_that_was_opened_elsewhere_closes_in_silence() -> None:
    """Its tasks are another loop's to end."""
    async with called_once(kept(), keep_warm=True) as (transport, _):
        await asyncio.to_thread(asyncio.run, transport.close())


async def test_warm_connections_that_many_calls_have_left_are_not_kept() -> None:
    """Of a busy minute's connections one is kept ready afterwards."""
    arrived = asyncio.Event()

    async def script(connection: Connection) -> None:
        while await connection.request():
            if len(server.connections) == 3:
                arrived.set()
            await arrived.wait()
            connection.send(answer(200, dict(TOKEN)))

    async with (
        serve(script) as server,
        AiohttpTransport.open(keepalive_timeout=0.5, keep_warm=True) as transport,
    ):
        await asyncio.gather(*(finish(transport, server.url()) for _ in range(3)))
        await server.until(lambda: len(server.connections) >= 5)
        assert sum(not each.ended for each in server.connections) <= 3


@pytest.mark.parametrize("limit", [1, 3])
async def test_a_full_pool_is_warmed_without_a_pause(
    limit: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old connection makes room for the next one, and no attempt fails before that."""
    monkeypatch.setattr("descope_native.transports._aiohttp.warm._SHORT_LIFE", 0.0)
    monkeypatch.setattr("descope_native.transports._aiohttp.warm._WARN_AFTER", 1)
    arrived = asyncio.Event()

    async def script(connection: Connection) -> None:
        while await connection.request():
            if len(server.connections) == limit:
                arrived.set()
            await arrived.wait()
            connection.send(answer(200, dict(TOKEN)))

    async with (
        serve(script) as server,
        AiohttpTransport.open(keepalive_timeout=0.3, keep_warm=True, limit=limit) as transport,
    ):
        await asyncio.gather(*(finish(transport, server.url()) for _ in range(limit)))
        await server.until(lambda: len(server.connections) >= limit + 3)
        await finish(transport, server.url())
    assert told_of_warm_connections(caplog) == []


async def test_warming_by_hand_is_kept_up() -> None:
    """`warm()` names an origin to keep ready, before any call."""
    async with (
        serve(kept()) as server,
        AiohttpTransport.open(keepalive_timeout=0.3, keep_warm=True) as transport,
    ):
        await transport.warm(URL(server.url()))
        await server.until(lambda: len(server.connections) >= 2)


async def test_a_transport_that_closes_while_a_connection_is_renewed_leaves_none_open() -> None:
    """Whatever the keeper is at: an old one looked at, or the next one just opened."""
    async with serve(kept()) as server:
        with nothing_said():
            for steps in range(40):
                async with AiohttpTransport.open() as transport:
                    await finish(transport, server.url())
                    renewal = asyncio.create_task(transport._open_another(URL(server.url())))
                    await cancelled_after(steps, renewal)
                    await asyncio.wait([renewal])
                    del renewal
        await server.all_gone()


async def test_an_origin_that_could_not_be_reached_is_kept_warm_once_it_can_be() -> None:
    """A program that goes on although `warm()` has failed need not wait for its first call."""
    arrived = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        writer.close()

    port = unused_port()
    async with AiohttpTransport.open(keep_warm=True) as transport:
        with pytest.raises(ConnectError):
            await transport.warm(URL(f"http://127.0.0.1:{port}"))
        async with await asyncio.start_server(accept, "127.0.0.1", port):
            await arrived.wait()


@pytest.mark.parametrize(
    ("headers", "code"),
    [(["Connection: close"], "code"), ([], "x" * 20_000)],
    ids=["closed by the peer", "a large request"],
)
async def test_an_origin_whose_connection_was_not_kept_is_kept_warm(headers: list[str], code: str) -> None:
    """The next call needs no handshake all the same."""
    async with serve(kept(*headers)) as server, AiohttpTransport.open(keep_warm=True) as transport:
        await finish(transport, server.url(), code)
        await server.until(lambda: len(server.connections) == 2)
        await settled()
        await finish(transport, server.url())
        assert len(server.connections) == 2


async def kept_warm(limits: IdleLimits, opened: list[Rest]) -> WarmKeeper:
    """A keeper whose connections are nobody's, and that has opened one."""
    url = URL("http://localhost")

    async def open_one(_: URL) -> Rest:
        opened.append(Rest(limits, url))
        return opened[-1]

    keeper = WarmKeeper(open_one, limits)
    first = Rest(limits, url)
    first.has_ended = True
    keeper.keep(url, first)
    await opened_are(1, opened)
    return keeper


async def opened_are(count: int, opened: list[Rest]) -> None:
    async with asyncio.timeout(10):
        while len(opened) < count:
            await asyncio.sleep(0.01)


async def test_a_warm_connection_that_a_call_used_up_is_replaced_without_a_pause() -> None:
    """Whoever uses what was opened shows that it is wanted."""
    opened: list[Rest] = []
    keeper = await kept_warm(IdleLimits(55), opened)
    opened[0].is_taken = True
    await opened_are(2, opened)
    await keeper.close()


async def test_a_call_within_the_pause_makes_another_connection_needless() -> None:
    """The pause was for a connection that nobody used; what the call has left is ready."""
    opened: list[Rest] = []
    limits = IdleLimits(55)
    keeper = await kept_warm(limits, opened)
    opened[0].has_ended = True
    await asyncio.sleep(1.2)  # it is looked at every second, and the pause is one more
    keeper.keep(URL("http://localhost"), Rest(limits, URL("http://localhost")))
    await asyncio.sleep(1.2)
    assert len(opened) == 1
    await keeper.close()


async def test_a_call_that_ends_while_the_transport_closes_leaves_no_task() -> None:
    """The second origin's answer is there when the transport is closed."""
    async with serve(kept()) as first, serve(kept()) as second:
        async with AiohttpTransport.open(keep_warm=True) as transport:
            await finish(transport, first.url())
            call = asyncio.create_task(finish(transport, second.url()))
            await second.until(lambda: bool(second.received))
            await asyncio.sleep(0)
        await asyncio.wait([call])
