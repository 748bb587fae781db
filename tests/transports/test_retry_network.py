"""Retries over a real network: worth having, and never a code twice."""

import random
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from kit.servers import TOKEN, Connection, Script, Server, answer, answering, serve, session, unused_port
from kit.support import PROJECT

from descope_native import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    FinishResult,
    NativeOAuthFinisher,
    Outcome,
    RateLimitedError,
    RejectedError,
    Retry,
    ServerError,
)
from descope_native.transports.aiohttp import AiohttpTransport

CALLS = 1000
SEED = 3


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def retry(self, attempts: int = 3) -> Retry:
        return Retry(attempts=attempts, sleep=self.sleep, clock=self)


class SometimesElsewhere(AbstractResolver):
    """Sends three of ten connects to a port that nobody listens on: the kernel refuses them."""

    def __init__(self) -> None:
        self._dead = unused_port()
        self._random = random.Random(SEED)
        self.refused = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        refused = self._random.random() < 0.3
        self.refused += refused
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=self._dead if refused else port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def unreliable(
    script: Script, retry: Retry | None
) -> AsyncIterator[tuple[NativeOAuthFinisher, Server, SometimesElsewhere]]:
    """A fresh connect for each try, 30 % of them refused."""
    resolver = SometimesElsewhere()
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
    async with (
        serve(script) as server,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        transport = AiohttpTransport(session)
        yield NativeOAuthFinisher(PROJECT, transport, base_url=server.url(), retry=retry), server, resolver
        await transport.close()


def codes_at(server: Server) -> Counter[str]:
    return Counter(re.findall(r"code-\d+-end", server.received.decode()))


async def finish_all(finisher: NativeOAuthFinisher) -> dict[str, FinishResult | DescopeNativeError]:
    ended: dict[str, FinishResult | DescopeNativeError] = {}
    for number in range(CALLS):
        code = f"code-{number}-end"
        try:
            ended[code] = await finisher.finish(provider="apple", state_id="state", code=code)
        except DescopeNativeError as error:
            ended[code] = error
    return ended


@pytest.mark.parametrize(
    ("attempts", "least", "most"), [(1, 0.60, 0.80), (3, 0.92, 1.0)], ids=["one try", "three tries"]
)
async def test_three_tries_make_up_for_thirty_per_cent_of_refused_connects(
    attempts: int, least: float, most: float
) -> None:
    """From about 70 % to about 97 %; what was sent went out once, what was not is labelled so."""
    clock = Clock()
    async with unreliable(answering(), clock.retry(attempts)) as (finisher, server, resolver):
        ended = await finish_all(finisher)
    failed = {code: error for code, error in ended.items() if isinstance(error, DescopeNativeError)}
    success = 1 - len(failed) / CALLS
    print(
        f"seed {SEED}: {resolver.refused} connects refused, success {success:.1%}, {len(clock.slept)} waits"
    )
    assert 0.25 < resolver.refused / (CALLS + len(clock.slept)) < 0.35
    assert least <= success <= most
    for error in failed.values():
        assert type(error) is ConnectError
        assert error.reason == "refused"
        assert error.outcome is Outcome.NOT_SENT
    assert codes_at(server) == dict.fromkeys(ended.keys() - failed.keys(), 1)


async def test_no_code_reaches_a_server_twice_that_loses_connections_as_well() -> None:
    """Refused is tried again; lost after the request was read is not, however many tries are left."""
    chance = random.Random(SEED)

    async def script(connection: Connection) -> None:
        await connection.request()
        if chance.random() < 0.7:
            connection.send(session())
        connection.finish()

    async with unreliable(script, Clock().retry(attempts=5)) as (finisher, server, _):
        ended = await finish_all(finisher)
    counted = Counter(type(end) for end in ended.values())
    print(f"seed {SEED}: {counted}")
    assert counted.keys() <= {FinishResult, ConnectionLost, ConnectError}
    assert counted[ConnectionLost] > CALLS / 5
    assert codes_at(server) == dict.fromkeys(
        (code for code, end in ended.items() if not isinstance(end, ConnectError)), 1
    )


@asynccontextmanager
async def finishing(
    *answers: bytes, clock: Clock, **options: Any
) -> AsyncIterator[tuple[Callable[[], Any], Server]]:
    async with serve(answering(*answers)) as server, AiohttpTransport.open() as transport:
        options.setdefault("retry", clock.retry())
        finisher = NativeOAuthFinisher(PROJECT, transport, base_url=server.url(), **options)
        yield lambda: finisher.finish(provider="apple", state_id="state", code="code-1-end"), server


LIMITED = answer(429, b"", "Retry-After: 7")


async def test_the_wait_that_a_rate_limit_asks_for_is_waited_in_full() -> None:
    """Not less than it says, and little more: the jitter keeps a whole backend from coming back at once."""
    clock = Clock()
    async with finishing(LIMITED, session(), clock=clock) as (finish, server):
        assert (await finish()).session_jwt == TOKEN
    assert len(clock.slept) == 1
    assert 7 < clock.slept[0] <= 7.2
    assert codes_at(server) == {"code-1-end": 2}


@pytest.mark.parametrize("header", [(), ("Retry-After: soon",)], ids=["none", "unreadable"])
async def test_a_rate_limit_whose_wait_is_not_known_is_not_tried_again(header: tuple[str, ...]) -> None:
    """Whoever asks for a wait does not want the next request at once."""
    clock = Clock()
    async with finishing(answer(429, b"", *header), session(), clock=clock) as (finish, server):
        with pytest.raises(RateLimitedError) as caught:
            await finish()
    assert caught.value.retry_after is None
    assert clock.slept == []
    assert codes_at(server) == {"code-1-end": 1}


async def test_a_wait_that_does_not_fit_is_not_begun() -> None:
    """The caller hears at once, and from the error when it may be tried again."""
    clock = Clock()
    async with finishing(LIMITED, session(), clock=clock, timeout=7) as (finish, server):
        with pytest.raises(RateLimitedError) as caught:
            await finish()
    assert caught.value.retry_after == 7
    assert clock.slept == []
    assert codes_at(server) == {"code-1-end": 1}


async def test_a_rate_limit_that_does_not_end_is_raised_after_the_last_try() -> None:
    """With the last answer, not the first."""
    clock = Clock()
    last = answer(429, b"", "Retry-After: 9")
    async with finishing(LIMITED, LIMITED, last, clock=clock, timeout=20) as (finish, server):
        with pytest.raises(RateLimitedError) as caught:
            await finish()
    assert caught.value.retry_after == 9
    assert len(clock.slept) == 2
    assert codes_at(server) == {"code-1-end": 3}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RejectedError),
        (401, RejectedError),
        (409, RejectedError),
        (408, ServerError),
        (503, ServerError),
    ],
)
async def test_no_other_answer_is_tried_again(status: int, error: type[DescopeNativeError]) -> None:
    """A 503 proves nothing about the code, and a Retry-After on it changes nothing about that."""
    clock = Clock()
    async with finishing(answer(status, b"", "Retry-After: 0"), session(), clock=clock) as (finish, server):
        with pytest.raises(error):
            await finish()
    assert clock.slept == []
    assert codes_at(server) == {"code-1-end": 1}


@pytest.mark.parametrize("status", [421, 425])
async def test_an_answer_that_says_it_did_not_look_is_tried_again_once(status: int) -> None:
    """RFC 9110 and RFC 8470 let the request go out again; a second answer like it means something else."""
    clock = Clock()
    async with finishing(answer(status, b""), clock=clock) as (finish, server):
        with pytest.raises(RejectedError):
            await finish()
    assert len(clock.slept) == 1
    assert codes_at(server) == {"code-1-end": 2}


async def test_without_a_retry_nothing_is_tried_again() -> None:
    """Off unless asked for."""
    async with finishing(LIMITED, session(), clock=Clock(), retry=None) as (finish, server):
        with pytest.raises(RateLimitedError):
            await finish()
    assert codes_at(server) == {"code-1-end": 1}
