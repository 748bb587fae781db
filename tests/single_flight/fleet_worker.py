"""One worker of the fleet: a process that finishes what it is told to, and tells how each ended.

It reads JSON lines and writes JSON lines. `sabotage` takes away one guard, to see whether that is noticed.
"""

import asyncio
import base64
import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis

from descope_native import CallEvent, DescopeNativeError, NativeOAuthFinisher, SingleFlight
from descope_native.single_flight import Found, RedisStore, _flights, _sealing
from descope_native.transports.aiohttp import AiohttpTransport


class _LooksAndThenClaims(RedisStore):
    async def claim(self, key: bytes, claim: bytes, seconds: float, /) -> Found:
        name = f"{self._prefix}{{{key.hex()}}}"
        client: Any = self._redis
        if await client.exists(f"{name}:claim", f"{name}:result"):
            return await super().claim(key, claim, seconds)
        await client.set(f"{name}:claim", base64.b64encode(claim), px=round(seconds * 1000))
        return Found(claim, 0.0)


class _EndsWithAnyCaller(SingleFlight):
    async def _wait(
        self, loop: asyncio.AbstractEventLoop, flight: Any, ticket: Any, until: float | None
    ) -> None:
        try:
            await super()._wait(loop, flight, ticket, until)
        except asyncio.CancelledError:
            flight.task.cancel()
            raise


def sabotage(guard: str) -> None:
    """Take away what makes a promise hold."""
    anything: Any = _flights.Told
    if guard == "outcome":
        anything.is_forgotten = property(lambda told: told.error is not None)
    elif guard == "seal":
        seal: Any = _sealing.Seal
        seal.close = lambda self, plain: plain
        seal.open = lambda self, sealed: sealed


class Clock:
    """Counts the turns of a free loop: on a machine that is busy, time alone says little."""

    TICK = 0.005

    def __init__(self) -> None:
        self.ticks = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.TICK)
            self.ticks += 1


async def submit(order: dict[str, Any], finisher: NativeOAuthFinisher, clock: Clock) -> dict[str, Any]:
    """Finish one proof, and say how that ended."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(
        finisher.finish(
            provider="apple",
            state_id=order["state"],
            code=order["code"],
            user=order["user"],
            timeout=order["timeout"],
        )
    )
    due: list[int] = []
    timer = loop.call_later(order["timeout"], lambda: due.append(clock.ticks))
    if order["cancel_after"] is not None:
        loop.call_later(order["cancel_after"], task.cancel)
    end: dict[str, Any] = {"id": order["id"], "error": None, "outcome": None, "session": None}
    try:
        result = await task
        end["session"] = result.session_jwt
    except asyncio.CancelledError:
        end["error"] = "CancelledError"
    except DescopeNativeError as error:
        end |= {"error": type(error).__name__, "outcome": error.outcome, "text": str(error)}
    except Exception as error:  # noqa: BLE001 -- to be told, since there should be none
        end["error"] = f"undocumented {error!r}"
    timer.cancel()
    return {**end, "late": clock.ticks - due[0] if due else 0}


async def work(options: dict[str, Any]) -> None:
    """Until there are no more orders."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    def tell(line: dict[str, Any]) -> None:
        os.write(1, json.dumps(line).encode() + b"\n")

    sabotage(options["without"])
    store_type: Callable[..., RedisStore] = (
        _LooksAndThenClaims if options["without"] == "claim" else RedisStore
    )
    flight_type = _EndsWithAnyCaller if options["without"] == "cancellation" else SingleFlight
    seconds = options["store_timeout"]
    socket = f"unix://{options['store']}"
    pool = BlockingConnectionPool.from_url(socket, max_connections=20, timeout=seconds)
    redis = Redis.from_pool(pool)
    events: dict[str, int] = {}

    def count(event: CallEvent) -> None:
        how = str(event.single_flight)
        events[how] = events.get(how, 0) + 1

    clock, tasks = Clock(), set[asyncio.Task[None]]()
    ticking = asyncio.create_task(clock.run())
    async with AiohttpTransport.open() as transport, contextlib.aclosing(redis):
        finisher = NativeOAuthFinisher(
            "P2fleet",
            transport,
            base_url=options["service"],
            single_flight=flight_type(
                store=store_type(redis), remember=60, store_timeout=seconds, when_store_fails=options["when"]
            ),
            on_call=count,
        )

        async def carry_out(order: dict[str, Any]) -> None:
            tell(await submit(order, finisher, clock))

        tell({"ready": True})
        while line := await reader.readline():
            task = asyncio.create_task(carry_out(json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    ticking.cancel()
    tell({"hows": events})


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
