"""The transports over a real network, and what each promises beyond what all must keep."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

import aiohttp
import attrs

from descope_native import Transport
from descope_native.testing.transport_contract import Promises
from descope_native.transports.aiohttp import AiohttpTransport
from descope_native.transports.httpx import HttpxTransport


class OpenTransport(Transport, Protocol):
    """What `open` gives."""

    async def close(self) -> None: ...


@attrs.frozen
class Network:
    """One of them. To put another through the tests of this folder, add it to `NETWORKS`."""

    name: str
    open: Callable[..., AbstractAsyncContextManager[OpenTransport]]
    """Takes ``ssl``, ``limit``, ``connect_timeout``, ``max_body`` and ``reuse_connections``."""
    promises: Promises = attrs.Factory(Promises)
    """What it claims beyond what every transport owes; a test says with `needs` which of them it is about."""


@asynccontextmanager
async def borrowing(
    *, ssl: Any = True, limit: int = 100, reuse_connections: bool = True, **options: Any
) -> AsyncIterator[AiohttpTransport]:
    """`AiohttpTransport(session)`, whose session is set to this by its owner."""
    connector = aiohttp.TCPConnector(ssl=ssl, limit=limit, force_close=not reuse_connections)
    async with aiohttp.ClientSession(connector=connector) as session:
        transport = AiohttpTransport(session, **options)
        yield transport
        await transport.close()
        assert not session.closed


def over_httpx(
    *, ssl: Any = True, reuse_connections: bool = False, **options: Any
) -> AbstractAsyncContextManager[HttpxTransport]:
    """`HttpxTransport`, which never reuses a connection."""
    return HttpxTransport.open(ssl=None if ssl is True else ssl, **options)


OF_HTTPX: Final = Promises(
    reuses_connections=False,
    refuses_early_answers=False,
    tells_bad_heads=False,
    reads_while_sending=False,
)
NETWORKS: Final = (
    Network("aiohttp", AiohttpTransport.open),
    Network("borrowed session", borrowing),
    Network("httpx", over_httpx, OF_HTTPX),
)
