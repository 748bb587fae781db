"""Thousands of calls, half through faults: files, tasks, connections and memory are back where they were.

20,000 calls take too long for each interpreter (`nox -s tests-slow` makes them); 2,000 are always made.
"""

import asyncio
import gc
import itertools
import tracemalloc
from collections import Counter

import pytest
from kit.certs import Authority
from kit.servers import Connection, Server, answer, chunked, serve, session
from kit.support import finish, open_files, open_files_of_a_warm_loop

from descope_native import DescopeNativeError
from descope_native.transports.aiohttp import AiohttpTransport

pytestmark = pytest.mark.slow

MEBIBYTE = 1 << 20
IDLE_TLS = 300 * 1024
"""What asyncio's buffers for TLS take of both ends of an idle connection; how many there are is chance."""


def half_faulty() -> "itertools.cycle[str]":
    faults = ["FIN", "RST", "cut", "garbage", "503", "400", "bad chunk", "stray", "half a head", "never"]
    return itertools.cycle([each for fault in faults for each in ("good", fault)])


async def soak(calls: int, *, warm_up: int, tls: bool = False) -> None:  # noqa: C901, PLR0915 -- one case per fault
    kinds = half_faulty()

    async def script(connection: Connection) -> None:  # noqa: C901 -- as above
        while await connection.request():
            kind = next(kinds)
            good = session("t.o.ken")
            if kind in {"good", "stray"}:
                connection.send(good)
            if kind == "stray":
                connection.send(good)
            elif kind == "FIN":
                connection.finish()
            elif kind == "RST":
                connection.reset()
            elif kind == "cut":
                connection.send(good[:-9])
                connection.finish()
            elif kind == "half a head":
                connection.send(good[:9])
                connection.reset()
            elif kind == "garbage":
                connection.send(b"\0" * 99)
            elif kind == "bad chunk":
                connection.send(chunked(b"{") + b"ZZ\r\n")
            elif kind in {"400", "503"}:
                connection.send(answer(int(kind), b"x" * 500))
            elif kind == "never":
                await connection.gone()

    ends: Counter[str] = Counter()
    authority = Authority()
    theirs = authority.certify("localhost").server_context() if tls else None

    async def some(server: Server, transport: AiohttpTransport, count: int) -> None:
        left = iter(range(count))

        async def work() -> None:
            for _ in left:
                try:
                    await finish(transport, server.url("https" if tls else "http"), timeout=0.5)
                except DescopeNativeError as error:
                    ends[type(error).__name__] += 1
                else:
                    ends["session"] += 1

        await asyncio.gather(*(work() for _ in range(20)))
        # Idle ones are kept, by both sides; all others are gone.
        await server.until(lambda: len(server.open) <= 20)
        server.connections.clear()

    async with serve(script, theirs) as server:
        tracemalloc.start()
        try:
            async with AiohttpTransport.open(limit=20, ssl=authority.client_context()) as transport:
                await some(server, transport, warm_up)
                gc.collect()
                memory, idle = tracemalloc.get_traced_memory()[0], len(server.open)
                files, tasks = open_files(), len(asyncio.all_tasks())
                await some(server, transport, calls)
                gc.collect()
                more = max(len(server.open) - idle, 0) * IDLE_TLS if tls else 0
                assert tracemalloc.get_traced_memory()[0] - memory < MEBIBYTE + more
                assert open_files() <= files + 2 * 20
                assert len(asyncio.all_tasks()) <= tasks + 20  # the server's, one per idle connection
            await server.until(lambda: not server.open)
        finally:
            tracemalloc.stop()
    print(ends)
    assert sum(ends.values()) == calls + warm_up
    assert 0.3 < ends["session"] / (calls + warm_up) < 0.7
    assert len(ends) >= 5


async def test_faults_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    """2,000 calls, 50 % faults."""
    caplog.set_level("CRITICAL", "descope_native")  # pytest keeps what is logged
    before = await open_files_of_a_warm_loop()
    await soak(1500, warm_up=500)
    await asyncio.sleep(0)
    assert open_files() <= before


@pytest.mark.slow
async def test_faults_over_tls_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    """2,000 calls, 50 % faults, and connections that nobody says goodbye over."""
    caplog.set_level("CRITICAL", "descope_native")
    before = await open_files_of_a_warm_loop()
    await soak(1500, warm_up=500, tls=True)
    await asyncio.sleep(0)
    assert open_files() <= before


@pytest.mark.slow
async def test_a_long_run_of_faults_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    """10,000 calls, 50 % faults."""
    caplog.set_level("CRITICAL", "descope_native")
    before = await open_files_of_a_warm_loop()
    await soak(9_000, warm_up=1000)
    await asyncio.sleep(0)
    assert open_files() <= before
