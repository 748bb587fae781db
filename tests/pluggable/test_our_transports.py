"""Our own transports, by the very cases that anybody's have to pass."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import pytest
from kit.networks import OF_HTTPX

from descope_native import Transport
from descope_native.testing.transport_contract import Case, OpenTransport, Promises, Trust, cases
from descope_native.transports.aiohttp import AiohttpTransport
from descope_native.transports.httpx import HttpxTransport
from descope_native.transports.recording import RecordingTransport


def own(trust: Trust) -> AbstractAsyncContextManager[Transport]:
    return AiohttpTransport.open(ssl=trust.context)


def fresh(trust: Trust) -> AbstractAsyncContextManager[Transport]:
    return AiohttpTransport.open(ssl=trust.context, reuse_connections=False)


@asynccontextmanager
async def borrowed(trust: Trust) -> AsyncGenerator[Transport]:
    connector = aiohttp.TCPConnector(ssl=trust.context)
    async with aiohttp.ClientSession(connector=connector) as session:
        transport = AiohttpTransport(session)
        yield transport
        await transport.close()


def httpx(trust: Trust) -> AbstractAsyncContextManager[Transport]:
    return HttpxTransport.open(ssl=trust.context)


@asynccontextmanager
async def recording(trust: Trust) -> AsyncGenerator[Transport]:
    async with AiohttpTransport.open(ssl=trust.context) as transport:
        yield RecordingTransport(transport, "/dev/null")


OURS: dict[str, tuple[OpenTransport, Promises]] = {
    "aiohttp": (own, Promises()),
    "aiohttp, fresh connections": (fresh, Promises(reuses_connections=False)),
    "aiohttp, a borrowed session": (borrowed, Promises()),
    "httpx": (httpx, OF_HTTPX),
    "a recording": (recording, Promises()),
}


@pytest.mark.parametrize(
    ("open_transport", "case"),
    [
        pytest.param(open_transport, case, id=f"{name}: {case}")
        for name, (open_transport, promises) in OURS.items()
        for case in cases(promises)
    ],
)
async def test_our_transport_holds(open_transport: OpenTransport, case: Case) -> None:
    """All that it promises."""
    await case.run(open_transport)
