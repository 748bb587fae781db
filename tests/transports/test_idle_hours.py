"""A transport that keeps a connection warm for hours without a call: nothing piles up.

A connection is used for 10 ms where it would be for 55 s: an hour has as many renewals, and takes a second.
"""

import asyncio
import gc
import tracemalloc

import pytest
from kit.certs import Authority
from kit.servers import answer, answering, serve
from kit.support import finish, open_files, open_files_of_a_warm_loop

from descope_native import AiohttpTransport

pytestmark = pytest.mark.slow

LIMIT = 0.01
AN_HOUR = 3600 // 50
"""Renewals: with its default of 55 s a connection is replaced after 50."""

KIBIBYTE = 1024
_SWEPT = 20
"""Idle connections that may still be open: aiohttp closes those that are too old now and then."""


async def idle_for(hours: int, monkeypatch: pytest.MonkeyPatch, *, tls: bool) -> None:
    """An hour to settle in, and then as many as are asked for."""
    monkeypatch.setattr("descope_native.transports._aiohttp.warm._SHORT_LIFE", 0.0)
    authority = Authority()
    theirs = authority.certify("localhost").server_context() if tls else None
    async with serve(answering(answer(200, {"sessionJwt": "s.e.s"})), theirs) as server:
        url = server.url("https" if tls else "http")
        options = {"ssl": authority.client_context(), "keepalive_timeout": LIMIT, "keep_warm": True}

        async def renewals(count: int) -> None:
            for _ in range(count):
                await server.until(lambda: bool(server.connections))
                server.connections.clear()
            gc.collect()

        async with AiohttpTransport.open(**options) as transport:  # type: ignore[arg-type]  # of many types
            await finish(transport, url)
            tracemalloc.start()
            try:
                await renewals(AN_HOUR)
                memory, _ = tracemalloc.get_traced_memory()
                files, tasks = open_files(), len(asyncio.all_tasks())
                for _ in range(hours):
                    await renewals(AN_HOUR)
                    assert len(server.open) <= _SWEPT
                    assert open_files() <= files + 2 * _SWEPT
                    assert len(asyncio.all_tasks()) <= tasks + _SWEPT  # the server's, one per connection
                grown = tracemalloc.get_traced_memory()[0] - memory
                print(f"{hours} hours: {grown} bytes, {open_files() - files} files")
            finally:
                tracemalloc.stop()
            await finish(transport, url)
        await server.all_gone()
    assert grown < (1024 if tls else 64) * KIBIBYTE


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_an_idle_hour_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, *, tls: bool) -> None:
    """With `keep_warm`, nobody calling: files, tasks and memory are where they were an hour before."""
    before = await open_files_of_a_warm_loop()
    await idle_for(1, monkeypatch, tls=tls)
    await asyncio.sleep(0)
    assert open_files() <= before


@pytest.mark.slow
async def test_an_idle_day_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,728 renewals."""
    before = await open_files_of_a_warm_loop()
    await idle_for(24, monkeypatch, tls=False)
    await asyncio.sleep(0)
    assert open_files() <= before
