"""A request on its way over aiohttp: its headers, its connection, and the session's tracers."""

import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import aiohttp

from descope_native.transports import HttpRequest
from descope_native.transports._aiohttp.idle import Rest
from descope_native.transports._aiohttp.internals import (
    Connection,
    Destination,
    Head,
    protocol_of,
    tracers_of,
)
from descope_native.transports._aiohttp.wire import Wire

if TYPE_CHECKING:
    import asyncio

_log: Final = logging.getLogger("descope_native")


class Outgoing:
    """A request on its way: its headers, its connection, and the session's tracers.

    The tracers are told what aiohttp's own client tells them, but of bodies, which hold codes and
    tokens, nothing, and of a failure the name. They may add headers.

    Connection and headers are kept here, since frames that hold them show a proxy's password and the bearer.
    """

    def __init__(
        self, request: HttpRequest, destination: Destination, session: aiohttp.ClientSession
    ) -> None:
        self.request = request
        self.destination = destination
        self.start_line = f"{request.method} {request.url.raw_path_qs} HTTP/1.1"
        self.headers = destination.headers.copy()
        self.headers.update(request.headers)
        self.headers["Content-Length"] = str(len(request.body))
        self.tracers = tracers_of(session, _warn)
        self._is_open = False
        self._connection: Connection

    def take(self, connection: Connection) -> None:
        self._connection = connection
        self.protocol = protocol_of(connection)
        self.transport = connection.transport
        protocol = None if self.transport is None else self.transport.get_protocol()
        self.wire = protocol if isinstance(protocol, Wire) else None
        if self.wire is not None and self.wire.rest is not None:
            self.wire.rest.is_taken = True

    @property
    def is_ready(self) -> bool:
        """Whether one that we know is clean, and its peer not about to close it."""
        wire = self.wire
        return wire is not None and wire.is_clean and (wire.rest is None or not wire.rest.is_over)

    def listen(self) -> Wire:
        """From here on, what comes over the connection is for this request."""
        transport = cast("asyncio.Transport", self.transport)
        if self.wire is None:
            self.wire = Wire(transport, self.protocol)
            transport.set_protocol(self.wire)
        else:
            self.wire.listen()
        return self.wire

    def release_connection(self, rest: Rest, *, to_others: bool) -> None:
        """Give it back to its pool, from where others than we may take it."""
        wire = cast("Wire", self.wire)
        if to_others:
            wire.lend(rest)
        else:
            wire.close_if_it_speaks(rest)
        self._connection.release()

    def park_connection(self, rest: Rest) -> None:
        """Give a clean connection, over which nothing was sent, to a pool of ours."""
        wire = self.listen()
        wire.is_clean = True
        wire.close_if_it_speaks(rest)
        self._connection.release()

    def drop_dirty_connection(self) -> None:
        """Close one that was to be used. As a rule its peer has just closed it."""
        if self.wire is not None and self.wire.rest is not None:
            self.wire.rest.end_by_peer()
        self.drop_connection()

    def drop_connection(self) -> None:
        """Close it, with what is still to be sent: that would be, whenever the peer comes to read it."""
        if self.transport is not None:
            self.transport.abort()
        self._connection.close()

    async def tell_start(self) -> None:
        self._is_open = True
        for tracer in self.tracers:
            await tracer.tell_start(self.request.method, self.request.url, self.headers)

    async def tell_answer(self, head: Head) -> None:
        self._is_open = False
        for tracer in self.tracers:
            await tracer.tell_answer(self.request.method, self.request.url, self.headers, head)

    async def tell_failure(self, name: str) -> None:
        if self._is_open:
            for tracer in self.tracers:
                await tracer.tell_failure(self.request.method, self.request.url, self.headers, name)


def _warn(error: Exception) -> None:
    _log.warning("a tracer failed (%s)", type(error).__name__)


def run_until_first_suspension(telling: Coroutine[Any, Any, None]) -> None:
    """Neither an answer nor an error waits for its tracers."""
    with suppress(StopIteration, RuntimeError):  # the latter where somebody's tracer will not be stopped
        telling.send(None)
        telling.close()
