"""The transports over a real network, and what each promises beyond what all must keep."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Literal, Protocol, get_args

import aiohttp
import attrs

from descope_native import Transport
from descope_native.transports.aiohttp import AiohttpTransport

Promise = Literal[
    "reuses connections",  # a clean connection carries the next call as well
    "looks before it writes",  # what waits on a connection before its request has left is nobody's answer
    "has a proxy",  # `open` takes one
]


class OpenTransport(Transport, Protocol):
    """What `open` gives."""

    async def close(self) -> None: ...


@attrs.frozen
class Network:
    """One of them. To put another through the tests of this folder, add it to `NETWORKS`."""

    name: str
    open: Callable[..., AbstractAsyncContextManager[OpenTransport]]
    """Takes ``ssl``, ``limit``, ``connect_timeout``, ``max_body`` and ``reuse_connections``."""
    promises: frozenset[Promise]


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


ALL: Final[frozenset[Promise]] = frozenset(get_args(Promise))
NETWORKS: Final = (
    Network("aiohttp", AiohttpTransport.open, ALL),
    Network("borrowed session", borrowing, ALL),
)
