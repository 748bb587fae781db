"""A request on its way over aiohttp: its headers, its connection, and the session's tracers."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import aiohttp
import attrs
from aiohttp.http import HttpVersion
from aiohttp.tracing import Trace
from yarl import URL

from descope_native.transports import HttpRequest
from descope_native.transports._aiohttp.wire import Wire

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

_log: Final = logging.getLogger("descope_native")


_WITHOUT_DEFAULT: Final[dict[str, Any]] = {
    name: None
    for name, parameter in inspect.signature(aiohttp.ClientRequest).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
}
"""What aiohttp 4 wants to be told of a request, and aiohttp 3 does not."""


class Destination(aiohttp.ClientRequest):
    """What a connector wants to know of a request, and the headers that say where it goes.

    It is never sent itself.
    """

    def __init__(self, url: URL, proxy: URL | None, proxy_authorization: str | None, *, close: bool) -> None:
        self._proxy_authorization = proxy_authorization
        options: dict[str, Any] = _WITHOUT_DEFAULT | {
            "headers": {"Connection": "close"} if close else {},
            "skip_auto_headers": ("Accept", "Accept-Encoding", "User-Agent"),
            "ssl": True,
            "proxy": proxy,
            "loop": asyncio.get_running_loop(),
        }
        super().__init__("POST", url, **options)

    @property
    def proxy_headers(self) -> Any:
        """New ones each time, since aiohttp adds to them, and looks for a connection by what is in them."""
        if self._proxy_authorization is None:
            return None
        return {"Proxy-Authorization": self._proxy_authorization}

    @proxy_headers.setter
    def proxy_headers(self, _: object) -> None:
        """What aiohttp makes of its arguments has none."""


Pairs = tuple[tuple[str, str], ...]


def as_text(raw_headers: Iterable[tuple[bytes, bytes]]) -> Pairs:
    """What aiohttp makes of them as well; its own mapping joins lines of one name as of version 4."""
    return tuple(
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
        for name, value in raw_headers
    )


@attrs.define
class Head:
    """The head of an answer. Tracers get it where aiohttp has a ``ClientResponse``, whose names it uses."""

    url: URL
    status: int
    reason: str
    version: HttpVersion
    headers: Mapping[str, str] = attrs.field(repr=False)
    pairs: Pairs = attrs.field(repr=False)
    method: str = "POST"

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def real_url(self) -> URL:
        return self.url


class Outgoing:
    """A request on its way: its headers, its connection, and the session's tracers.

    The tracers are told what aiohttp's own client tells them, but of bodies, which hold codes and
    tokens, nothing, and of a failure the name: what aiohttp's errors say quotes what came, and a proxy's
    password. They may add headers.

    Connection and headers are kept here, since frames that hold them show a proxy's password and the bearer.
    """

    def __init__(
        self, request: HttpRequest, destination: aiohttp.ClientRequest, session: aiohttp.ClientSession
    ) -> None:
        self.request = request
        self.destination = destination
        self.start_line = f"{request.method} {request.url.raw_path_qs} HTTP/1.1"
        self.headers = destination.headers.copy()
        self.headers.update(request.headers)
        self.headers["Content-Length"] = str(len(request.body))
        self.traces = [
            cast("Trace", _Harmless(Trace(session, config, config.trace_config_ctx())))
            for config in session.trace_configs
        ]
        self._is_open = False
        self._connection: Connection

    def take(self, connection: "Connection") -> None:
        self._connection = connection
        self.protocol = cast("ResponseHandler", connection.protocol)
        self.transport = connection.transport
        protocol = None if self.transport is None else self.transport.get_protocol()
        self.wire = protocol if isinstance(protocol, Wire) else None

    def listen(self) -> None:
        """From here on, what comes over the connection is for this request."""
        transport = cast("asyncio.Transport", self.transport)
        if self.wire is None:
            self.wire = Wire(transport, self.protocol)
            transport.set_protocol(self.wire)
        else:
            self.wire.listen()

    def release_connection(self, *, to_others: bool) -> None:
        """Give it back to its pool, from where others than we may take it."""
        wire = cast("Wire", self.wire)
        if to_others:
            wire.lend()
        else:
            wire.rest()
        self._connection.release()

    def drop_connection(self) -> None:
        """Close it, with what is still to be sent: that would be, whenever the peer comes to read it."""
        if self.transport is not None:
            self.transport.abort()
        self._connection.close()

    async def tell_start(self) -> None:
        self._is_open = True
        for trace in self.traces:
            await trace.send_request_start(self.request.method, self.request.url, self.headers)

    async def tell_answer(self, head: Head) -> None:
        self._is_open = False
        response = cast("aiohttp.ClientResponse", head)
        for trace in self.traces:
            await trace.send_request_end(self.request.method, self.request.url, self.headers, response)

    async def tell_failure(self, name: str) -> None:
        if self._is_open:
            for trace in self.traces:
                error = aiohttp.ClientError(name)
                await trace.send_request_exception(self.request.method, self.request.url, self.headers, error)


class _Harmless:
    """A tracer whose failures are logged and cost nobody a call, a session or, in the connector, a socket."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __getattr__(self, signal: str) -> Callable[..., Awaitable[None]]:
        send = getattr(self._trace, signal)

        async def send_harmlessly(*arguments: object) -> None:
            try:
                await send(*arguments)
            except Exception as error:  # noqa: BLE001 -- it is somebody else's code
                _log.warning("a tracer failed (%s)", type(error).__name__)

        return send_harmlessly


class ReuseTrace:
    """A tracer that tells whether a connection came from the pool; nothing else that is public does."""

    def __init__(self) -> None:
        self.is_reused = False

    def as_trace(self) -> Trace:
        return cast("Trace", self)

    async def send_connection_reuseconn(self) -> None:
        self.is_reused = True

    def __getattr__(self, signal: str) -> Callable[..., Awaitable[None]]:
        return _ignore


async def _ignore(*_: object, **__: object) -> None:
    """Any other signal."""


def run_without_waiting(telling: Coroutine[Any, Any, None]) -> None:
    """Run it as far as it comes without waiting: neither an answer nor an error waits for its tracers."""
    with suppress(StopIteration, RuntimeError):  # the latter where somebody's tracer will not be stopped
        telling.send(None)
        telling.close()
