"""`finish()` over both transports, against what people write by hand and what the vendor ships.

Costs are CPU time of this process; the server has one of its own.
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

from benchmarks.answer import ID_TOKEN, PATH, REQUEST, answer, as_body
from benchmarks.measure import Costs, Ratio, Settings, installed, interleaved, main, ratio
from benchmarks.server import running
from descope_native import (
    AiohttpTransport,
    FinishRequest,
    HttpResponse,
    InMemoryTransport,
    NativeOAuthFinisher,
    Transport,
)
from descope_native._service.endpoint import make_endpoint
from descope_native._service.operations import FINISH
from descope_native.transports import Progress

Call = Callable[[], Awaitable[Any]]

OURS: Final = "finish()"
UNTYPED: Final = "our transport + json.loads"
IDIOMATIC: Final = "idiomatic aiohttp"
BARE: Final = "bare prepared aiohttp"
OFFICIAL: Final = "official descope client"
HTTPX: Final = "httpx"
MOCKED: Final = "httpx MockTransport"

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


@asynccontextmanager
async def mocked_httpx(_: str) -> AsyncIterator[Call]:
    import httpx

    headers, body = {"Content-Type": "application/json"}, as_body(answer())
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, content=body))
    async with httpx.AsyncClient(transport=transport) as client:

        async def call() -> Any:
            response = await client.post("https://api.descope.com" + PATH, json=REQUEST, headers=HEADERS)
            return response.json()

        yield call


@asynccontextmanager
async def ours_in_memory(_: str) -> AsyncIterator[Call]:
    headers, body = (("Content-Type", "application/json"),), as_body(answer())
    transport = InMemoryTransport(lambda _: HttpResponse(200, headers, body))
    call = finishing(transport)

    async def forgetful_call() -> Any:
        transport.requests.clear()  # kept for tests, and here just a growing heap
        return await call()

    yield forgetful_call
    await transport.close()


async def cpu_one_by_one(call: Call, times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        await call()
    return (time.process_time() - start) / times


async def throughput(call: Call, in_flight: int, times: int) -> float:
    """Calls per second, so many at once."""
    left = iter(range(times))

    async def work() -> None:
        for _ in left:
            await call()

    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(work())
    return times / (time.perf_counter() - start)


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
    networked = {OURS: ours, UNTYPED: our_transport, IDIOMATIC: idiomatic_aiohttp, BARE: bare_aiohttp}
    mocked = {OURS: ours_in_memory}
    if installed("descope"):
        networked[OFFICIAL] = official_client
    if installed("httpx"):
        networked[HTTPX] = httpx_client
        mocked[MOCKED] = mocked_httpx
    with running(as_body(answer())) as base, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        enter = stack.enter_async_context
        calls = {name: runner.run(enter(opened(base))) for name, opened in networked.items()}
        in_memory = {name: runner.run(enter(opened(base))) for name, opened in mocked.items()}
        try:
            return measured(settings, runner, calls, in_memory)
        finally:
            runner.run(stack.aclose())


def measured(
    settings: Settings, runner: asyncio.Runner, calls: dict[str, Call], in_memory: dict[str, Call]
) -> list[Ratio]:
    def interleave(title: str, of: dict[str, Call], rounds: int, measure: Any, *arguments: int) -> Costs:
        def once(call: Call) -> float:
            return float(runner.run(measure(call, *arguments)))

        candidates = {name: partial(once, call) for name, call in of.items()}
        return interleaved(title, candidates, settings.rounds(rounds))

    ratios: list[Ratio] = []
    one = interleave("finish, one by one", calls, 40, cpu_one_by_one, settings.times(100))
    ratios += [
        ratio("finish", f"{OURS} ÷ {IDIOMATIC}", one, (OURS, IDIOMATIC), 1.0),
        ratio("finish", f"{UNTYPED} ÷ {IDIOMATIC}", one, (UNTYPED, IDIOMATIC)),
        ratio("finish", f"{BARE} ÷ {IDIOMATIC}", one, (BARE, IDIOMATIC)),
    ]
    if OFFICIAL in one:
        ratios += [ratio("finish", f"{OFFICIAL} ÷ {OURS}", one, (OFFICIAL, OURS), 5.0, ">=")]
    if HTTPX in one:
        ratios += [ratio("finish", f"{HTTPX} ÷ {OURS}", one, (HTTPX, OURS))]

    pair = {name: calls[name] for name in (OURS, IDIOMATIC)}
    for in_flight in (50, 500):
        title = f"throughput, {in_flight} in flight"
        costs = interleave(title, pair, 30, throughput, in_flight, settings.times(2000))
        name = f"{title}: {OURS} ÷ {IDIOMATIC}"
        ratios += [ratio("finish", name, costs, (OURS, IDIOMATIC), 1.0, ">=", "calls/s")]
    title = "longest stall, 500 in flight"
    costs = interleave(title, pair, 30, longest_stall, settings.times(500))
    ratios += [ratio("finish", f"{title}: {OURS} ÷ {IDIOMATIC}", costs, (OURS, IDIOMATIC), 1.0, unit="ms")]

    costs = interleave("in memory", in_memory, 40, cpu_one_by_one, settings.times(200))
    if MOCKED in costs:
        name = f"in memory: {OURS} ÷ {MOCKED} + .json()"
        ratios += [ratio("finish", name, costs, (OURS, MOCKED), 0.2)]
        for in_flight in (50, 500):
            title = f"in memory, {in_flight} in flight"
            costs = interleave(title, in_memory, 10, throughput, in_flight, settings.times(2000))
            name = f"{title}: {OURS} ÷ {MOCKED}"
            ratios += [ratio("finish", name, costs, (OURS, MOCKED), unit="calls/s")]
    return ratios


if __name__ == "__main__":
    main(finish)
