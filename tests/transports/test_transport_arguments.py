"""What a network transport takes, and what it refuses before anything is opened."""

import asyncio
import inspect
import math
import select
import ssl
import traceback
from fractions import Fraction
from functools import total_ordering
from numbers import Integral
from typing import Any

import aiohttp
import pytest
from kit.certs import GOOD, Authority
from kit.servers import TOKEN, Connection, answering, serve, session
from kit.support import CODE, Watched, failure, finish
from yarl import URL

from descope_native import AiohttpTransport, ConnectError, InvalidRequestError, TLSError

LIMITS: list[dict[str, Any]] = [
    {name: value}
    for name in ("connect_timeout", "max_body")
    for value in (0, -1, "5", None, True, float("nan"), float("inf"))
]


@pytest.mark.parametrize(
    "options",
    [
        *LIMITS,
        {"limit": -1},
        {"limit": "5"},
        {"ssl": "yes"},
        *(
            {"proxy": no_proxy}
            for no_proxy in ("ftp://x", 5, b"http://p", "p", "http://", "http://[", URL("/p"))
        ),
    ],
)
async def test_opening_refuses_what_cannot_be_right(options: dict[str, Any]) -> None:
    """When it is entered, before anything is opened; the error names the argument."""
    with pytest.raises(InvalidRequestError, match=f"^{next(iter(options))} must be "):
        await AiohttpTransport.open(**options).__aenter__()


@pytest.mark.parametrize("options", [*LIMITS, {"proxy": "ftp://x"}, {"proxy": "no url"}])
async def test_borrowing_refuses_what_cannot_be_right(options: dict[str, Any]) -> None:
    """Likewise, with a session that is as it should be."""
    async with aiohttp.ClientSession() as owner:
        with pytest.raises(InvalidRequestError, match=f"^{next(iter(options))} must be "):
            AiohttpTransport(owner, **options)


@total_ordering
class Whole:
    """A whole number that is no int, as numpy has them."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return self.value == other

    def __lt__(self, other: int) -> bool:
        return self.value < other

    def __bool__(self) -> bool:
        return self.value != 0

    def __sub__(self, other: int) -> int:
        return self.value - other

    __hash__ = None  # type: ignore[assignment]


Integral.register(Whole)


class Name(str):
    """A string of somebody's own, as an enum or a settings library has them."""

    __slots__ = ()


@pytest.mark.parametrize(
    "options",
    [
        {"ssl": None},
        {"ssl": aiohttp.Fingerprint(bytes(32))},
        {"limit": None},
        {"limit": Whole(3)},
        {"connect_timeout": Fraction(1, 2)},
        {"max_body": Whole(10_000)},
        {"proxy": ""},
        {"proxy": Name("")},
    ],
    ids=lambda options: " ".join(f"{name} {type(value).__name__}" for name, value in options.items()),
)
async def test_what_aiohttp_takes_is_taken(options: dict[str, Any]) -> None:
    """A call goes through; what is empty was not given."""
    async with serve(answering(session("t.o.k"))) as server, AiohttpTransport.open(**options) as transport:
        assert (await finish(transport, server.url())).session_jwt == "t.o.k"


async def test_a_proxy_may_be_a_string_of_ones_own() -> None:
    """As the settings library has it that read it."""
    async with AiohttpTransport.open(proxy=Name("http://localhost:1")) as transport:
        with pytest.raises(ConnectError) as caught:
            await finish(transport, "https://localhost:2")
    assert caught.value.reason == "proxy"


async def test_no_limit_is_none() -> None:
    """In the pool of a session that is borrowed."""
    connector = aiohttp.TCPConnector(limit=None)  # type: ignore[arg-type]  # as its documentation has it
    async with (
        serve(answering(session("t.o.k"))) as server,
        aiohttp.ClientSession(connector=connector) as owner,
    ):
        assert (await finish(AiohttpTransport(owner), server.url())).session_jwt == "t.o.k"


@pytest.mark.parametrize("old", [True, False])
async def test_a_context_may_be_older_than_the_class_that_took_its_place(
    monkeypatch: pytest.MonkeyPatch, *, old: bool
) -> None:
    """Libraries put a class of theirs in the place of ssl.SSLContext; contexts of both kinds are taken."""
    authority = Authority()
    before = ssl.SSLContext

    class Replacement(before):  # type: ignore[misc, valid-type]
        pass

    context = before(ssl.PROTOCOL_TLS_CLIENT) if old else Replacement(ssl.PROTOCOL_TLS_CLIENT)
    authority.trusted_by(context)
    server_context = authority.certify().server_context()
    monkeypatch.setattr(ssl, "SSLContext", Replacement)
    assert isinstance(context, ssl.SSLContext) is not old
    async with (
        serve(answering(session("t.o.k")), server_context) as server,
        AiohttpTransport.open(ssl=context) as transport,
    ):
        assert (await finish(transport, server.url("https"))).session_jwt == "t.o.k"


async def test_only_an_open_session_can_be_borrowed() -> None:
    """Neither anything else nor one that is closed."""
    not_a_session: Any = object()
    with pytest.raises(InvalidRequestError, match="session"):
        AiohttpTransport(not_a_session)
    async with aiohttp.ClientSession() as owner:
        pass
    with pytest.raises(InvalidRequestError, match="open"):
        AiohttpTransport(owner)
    connector = aiohttp.TCPConnector()  # which may be shared, and then the session itself does not know
    async with aiohttp.ClientSession(connector=connector, connector_owner=False) as owner:
        await connector.close()
        with pytest.raises(InvalidRequestError, match="open"):
            AiohttpTransport(owner)


async def test_connections_are_looked_at_where_there_is_no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has select() only: clean connections are used again, and at once, spoiled ones are not."""
    monkeypatch.delattr(select, "poll")

    async def script(connection: Connection) -> None:
        while await connection.request():
            connection.send(session("my.own.token"))

    async with serve(script) as server, AiohttpTransport.open() as transport:
        for _ in range(2):
            await finish(transport, server.url(), timeout=0.9)
        assert len(server.connections) == 1
        server.connections[0].send(session("some.body.else"))  # in the kernel: the loop has not seen it yet
        assert (await finish(transport, server.url(), timeout=0.9)).session_jwt == "my.own.token"
        assert len(server.connections) == 2


async def test_a_refused_proxy_leaves_no_password_in_a_traceback() -> None:
    """Nor in any local of ours: whoever collects errors with their frames does not get it."""
    async with aiohttp.ClientSession() as owner:

        async def borrow(proxy: str) -> None:
            AiohttpTransport(owner, proxy=proxy)

        async def own(proxy: str) -> None:
            await AiohttpTransport.open(proxy=proxy).__aenter__()

        for make in (borrow, own):
            with pytest.raises(InvalidRequestError) as caught:
                await make("ftp://user:canary@proxy")
            frames = [
                frame
                for frame, _ in traceback.walk_tb(caught.value.__traceback__)
                if frame.f_globals["__name__"].startswith("descope_native")
            ]
            assert frames
            assert all("canary" not in repr(frame.f_locals) for frame in frames)
            assert caught.value.__cause__ is caught.value.__context__ is None


async def test_five_seconds_is_the_time_for_a_connection_unless_told() -> None:
    """And is not rounded up, as aiohttp would."""
    asked: list[aiohttp.ClientTimeout] = []

    class Asked(aiohttp.TCPConnector):
        async def connect(self, request: Any, traces: Any, timeout: aiohttp.ClientTimeout) -> Any:
            asked.append(timeout)
            return await super().connect(request, traces, timeout)

    async with serve(answering()) as server, aiohttp.ClientSession(connector=Asked()) as owner:
        await finish(AiohttpTransport(owner), server.url())
    assert [(limits.connect, limits.ceil_threshold) for limits in asked] == [(5.0, math.inf)]
    assert inspect.signature(AiohttpTransport.open).parameters["connect_timeout"].default == 5.0


async def test_a_hundred_connections_are_open_at_once_and_no_more() -> None:
    """Unless told otherwise; who comes next waits in the pool."""
    async with serve(Connection.gone) as server, AiohttpTransport.open() as transport:
        watched = Watched(transport)
        calls = [asyncio.create_task(finish(watched, server.url())) for _ in range(101)]
        await server.until(lambda: server.received.count(CODE.encode()) == 100)
        await watched.reached("pool", 101)
        await transport.close()
        await asyncio.gather(*calls, return_exceptions=True)
    assert len(server.connections) == 100


async def test_certificates_are_checked_unless_told_otherwise() -> None:
    """One that nobody vouches for is taken with ``ssl=False`` only."""
    async with serve(answering(), GOOD) as server:
        async with AiohttpTransport.open() as transport:
            assert isinstance(await failure(transport, server.url("https")), TLSError)
        async with AiohttpTransport.open(ssl=False) as transport:
            assert (await finish(transport, server.url("https"))).session_jwt == TOKEN
