"""`finish()` and `start()` against what people write by hand and what the vendor ships.

Like is compared with like: those that end in typed, frozen objects, and in a line of their own those that
end in dicts. Costs are CPU time of this process; the server has one of its own.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

import aiohttp
from yarl import URL

from benchmarks.answer import ID_TOKEN, PATH, REQUEST, START_ANSWER, START_PATH, answer, as_body
from benchmarks.decode import plain_converter, pydantic_reader
from benchmarks.measure import Costs, Ratio, Settings, installed, interleaved, main, ratio
from benchmarks.server import running
from descope_native import (
    AiohttpTransport,
    FinishRequest,
    FinishResult,
    NativeOAuthFinisher,
    NativeOAuthStarter,
    StartResult,
    Transport,
)
from descope_native._service.endpoint import make_endpoint
from descope_native._service.operations import FINISH
from descope_native.transports import Progress

Call = Callable[[], Awaitable[Any]]

OURS: Final = "finish()"
STOCK: Final = "aiohttp + stock cattrs"
PYDANTIC: Final = "httpx + pydantic"
OFFICIAL: Final = "the official SDK"
"""Of its methods none is typed: each gives a dict."""

UNTYPED: Final = "our transport + json.loads"
IDIOMATIC: Final = "aiohttp, untyped"
BARE: Final = "bare prepared aiohttp, untyped"
HTTPX: Final = "httpx, untyped"

START: Final = "start()"

HEADERS: Final = {"Authorization": "Bearer P2abcdefghijklmnopqrstuvwxyz"}


def finishing(transport: Transport, base: str | None = None) -> Call:
    finisher = NativeOAuthFinisher("P2abcdefghijklmnopqrstuvwxyz", transport, base_url=base)
    return lambda: finisher.finish(provider="google", state_id=REQUEST["stateId"], id_token=ID_TOKEN)


@asynccontextmanager
async def ours(base: str) -> AsyncIterator[Call]:
    async with AiohttpTransport.open() as transport:
        yield finishing(transport, base)


@asynccontextmanager
async def our_transport(base: str) -> AsyncIterator[Call]:
    """All of the safety and none of the types."""
    endpoint = make_endpoint(FINISH.path, "P2abcdefghijklmnopqrstuvwxyz", base, None, allow_http=False)
    proof = FinishRequest(provider="google", state_id=REQUEST["stateId"], id_token=ID_TOKEN)
    async with AiohttpTransport.open() as transport:

        async def call() -> Any:
            return json.loads((await transport.send(endpoint.build_request(proof, 15.0, Progress()))).body)

        yield call


@asynccontextmanager
async def aiohttp_with_cattrs(base: str) -> AsyncIterator[Call]:
    """What one would write who wants our classes, with both libraries as they come."""
    converter = plain_converter()
    async with aiohttp.ClientSession() as session:

        async def call() -> Any:
            async with session.post(base + PATH, json=REQUEST, headers=HEADERS) as response:
                return converter.structure(await response.json(), FinishResult)

        yield call


@asynccontextmanager
async def httpx_with_pydantic(base: str) -> AsyncIterator[Call]:
    import httpx

    read = pydantic_reader()
    async with httpx.AsyncClient() as client:

        async def call() -> Any:
            return read((await client.post(base + PATH, json=REQUEST, headers=HEADERS)).content)

        yield call


@asynccontextmanager
async def our_start(base: str) -> AsyncIterator[Call]:
    async with AiohttpTransport.open() as transport:
        starter = NativeOAuthStarter("P2abcdefghijklmnopqrstuvwxyz", transport, base_url=base)
        yield lambda: starter.start(provider="google")


@asynccontextmanager
async def start_with_cattrs(base: str) -> AsyncIterator[Call]:
    converter, request = plain_converter(), {"provider": "google"}
    async with aiohttp.ClientSession() as session:

        async def call() -> Any:
            async with session.post(base + START_PATH, json=request, headers=HEADERS) as response:
                return converter.structure(await response.json(), StartResult)

        yield call


@asynccontextmanager
async def idiomatic_aiohttp(base: str) -> AsyncIterator[Call]:
    async with aiohttp.ClientSession() as session:

        async def call() -> Any:
            async with session.post(base + PATH, json=REQUEST, headers=HEADERS) as response:
                return await response.json()

        yield call


@asynccontextmanager
async def bare_aiohttp(base: str) -> AsyncIterator[Call]:
    """As little as aiohttp can be asked to do: everything prepared once, nothing checked."""

    url = URL(base + PATH)
    headers = {**HEADERS, "Content-Type": "application/json"}
    body = as_body(dict(REQUEST))
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def call() -> Any:
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                return json.loads(await response.read())

        yield call


@asynccontextmanager
async def official_client(base: str) -> AsyncIterator[Call]:
    """What every method of the vendor's async client comes down to."""
    from descope.http_client_async import HTTPClientAsync

    async with HTTPClientAsync("P2abcdefghijklmnopqrstuvwxyz", base) as client:

        async def call() -> Any:
            return (await client.post(PATH, body=dict(REQUEST))).json()

        yield call


@asynccontextmanager
async def httpx_client(base: str) -> AsyncIterator[Call]:
    import httpx

    async with httpx.AsyncClient() as client:

        async def call() -> Any:
            return (await client.post(base + PATH, json=REQUEST, headers=HEADERS)).json()

        yield call


async def cpu_one_by_one(call: Call, times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        await call()
    return (time.process_time() - start) / times


async def cpu_in_flight(call: Call, in_flight: int, times: int) -> float:
    """CPU seconds per call, with so many at once."""
    left = iter(range(times))

    async def work() -> None:
        for _ in left:
            await call()

    start = time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(work())
    return (time.process_time() - start) / times


async def longest_stall(call: Call, in_flight: int) -> float:
    """The longest turn of the event loop while so many calls start at once.

    In CPU time of this thread: what else the machine does cannot stall the loop, only this process can.
    """
    loop = asyncio.get_running_loop()
    last = time.thread_time()
    longest = 0.0
    ticking = True

    def tick() -> None:
        nonlocal last, longest
        now = time.thread_time()
        longest = max(longest, now - last)
        last = now
        if ticking:
            loop.call_soon(tick)

    loop.call_soon(tick)
    await asyncio.gather(*(call() for _ in range(in_flight)))
    ticking = False
    await asyncio.sleep(0)
    return longest


def finish(settings: Settings) -> list[Ratio]:
    finishes = {OURS: ours, STOCK: aiohttp_with_cattrs}
    finishes |= {UNTYPED: our_transport, IDIOMATIC: idiomatic_aiohttp, BARE: bare_aiohttp}
    if installed("descope"):
        finishes[OFFICIAL] = official_client
    if installed("httpx"):
        finishes[HTTPX] = httpx_client
    if installed("httpx") and installed("pydantic"):
        finishes[PYDANTIC] = httpx_with_pydantic
    with (
        running(as_body(answer())) as base,
        running(as_body(START_ANSWER)) as start_base,
        asyncio.Runner() as runner,
    ):
        stack = AsyncExitStack()

        def opened(clients: dict[str, Any], base: str) -> dict[str, Call]:
            return {name: runner.run(stack.enter_async_context(of(base))) for name, of in clients.items()}

        try:
            calls = opened(finishes, base)
            starts = opened({START: our_start, STOCK: start_with_cattrs}, start_base)
            return [*one_by_one(settings, runner, calls, starts), *in_flight(settings, runner, calls)]
        finally:
            runner.run(stack.aclose())


def interleave(
    runner: asyncio.Runner, title: str, of: dict[str, Call], rounds: int, measure: Any, *arguments: int
) -> Costs:
    def once(call: Call) -> float:
        return float(runner.run(measure(call, *arguments)))

    return interleaved(title, {name: partial(once, call) for name, call in of.items()}, rounds)


def one_by_one(
    settings: Settings, runner: asyncio.Runner, calls: dict[str, Call], starts: dict[str, Call]
) -> list[Ratio]:
    rounds, times = settings.rounds(40), settings.times(100)
    costs = interleave(runner, "finish, one by one", calls, rounds, cpu_one_by_one, times)
    ratios = [ratio("finish", f"{OURS} ÷ {STOCK}", costs, (OURS, STOCK), 0.9)]
    if PYDANTIC in costs:
        ratios += [ratio("finish", f"{PYDANTIC} ÷ {OURS}", costs, (PYDANTIC, OURS))]
    if OFFICIAL in costs:
        ratios += [ratio("finish", f"{OFFICIAL} ÷ {OURS}", costs, (OFFICIAL, OURS), 4.0, ">=")]
    ratios += [ratio("finish", f"{OURS} ÷ {IDIOMATIC}", costs, (OURS, IDIOMATIC))]
    if HTTPX in costs:
        ratios += [ratio("finish", f"{HTTPX} ÷ {OURS}", costs, (HTTPX, OURS))]
    ratios += [
        ratio("finish", f"{UNTYPED} ÷ {IDIOMATIC}", costs, (UNTYPED, IDIOMATIC)),
        ratio("finish", f"{BARE} ÷ {IDIOMATIC}", costs, (BARE, IDIOMATIC)),
    ]
    costs = interleave(runner, "start, one by one", starts, rounds, cpu_one_by_one, times)
    return [*ratios, ratio("start", f"{START} ÷ {STOCK}", costs, (START, STOCK), 0.9)]


def in_flight(settings: Settings, runner: asyncio.Runner, calls: dict[str, Call]) -> list[Ratio]:
    ratios: list[Ratio] = []
    pair = {name: calls[name] for name in (OURS, STOCK)}
    for number in (50, 500):
        title = f"{number} in flight"
        times = settings.times(2000)
        costs = interleave(runner, title, pair, settings.rounds(30), cpu_in_flight, number, times)
        ratios += [ratio("finish", f"{title}: {OURS} ÷ {STOCK}", costs, (OURS, STOCK), 0.9)]
    peers = [name for name in (STOCK, OFFICIAL) if name in calls]
    of = {name: calls[name] for name in (OURS, *peers)}
    title = "longest stall, 500 in flight"
    costs = interleave(runner, title, of, settings.rounds(30), longest_stall, settings.times(500))
    for peer in peers:
        name = f"{title}: {OURS} ÷ {peer}"
        ratios += [ratio("finish", name, costs, (OURS, peer), 1.0, unit="ms")]
    return ratios


if __name__ == "__main__":
    main(finish)
