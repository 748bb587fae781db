"""What aiohttp does not document, and this transport uses. Each such name stands here and nowhere else.

Why it works below aiohttp's session: a connection is taken from the connector, looked at, and written to
at once. A version over the session passed the same 1,484 tests of contract and TLS, and 12,000 calls of the
harness, in 229 lines instead of 690. What it could not do decided:

* bounds: an idle connection whose server does not stop sending took 718 MB, since aiohttp reads what nobody
  asked for. Here it is closed at its first byte, and interim answers are not kept;
* cost: a call took 1.4 to 1.6 times as much;
* facts: it could not tell a body that was cut from one that is not HTTP.

The price is these names. They are the same in aiohttp 3.14.3 and 3.14.5, on which they were tried, and
``tests/transports/test_internals.py`` fails by name where one is missing or takes other arguments. aiohttp is
pinned below 4 for them. In its main branch two differ: `ClientRequest`, see `Destination`, and the mapping of
an answer's headers, which is not used for that.

    name                                 what for
    ClientRequest(...)                   says where a connection goes; never sent itself
    BaseConnector.connect(…, traces, timeout)
                                         takes a connection from the pool, or opens one
    BaseConnector._loop                  the event loop that its sockets belong to
    Connection.protocol                  what stands between its transport and its reader
    ResponseHandler                      that protocol, of which
      set_response_params, read            begin to read an answer, and wait for its head
      should_close, is_connected           whether the pool would use it again
      transport                            the connection's, or None once it is lost, or aiohttp has closed it
      exception, set_exception             why reading failed, and ending it
    RawResponseMessage                   the head: code, reason, version, headers, raw_headers
    StreamReader.total_bytes             how much of a body has come
    StreamReader.set_exception           ends the reading of a body
    EMPTY_PAYLOAD                        the body of an answer that has none
    HttpProcessingError                  what is not HTTP
    StreamWriter: write_headers, write   sends head and body in one piece
    Trace(…), send_…, trace_config_ctx   tell a session's tracers
    ClientConnectorError.os_error, ClientConnectorCertificateError.certificate_error
                                         why no connection was made
    SSL_ALLOWED_TYPES                    what `TCPConnector` takes as ``ssl``
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import aiohttp
import attrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import SSL_ALLOWED_TYPES
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, StreamWriter
from aiohttp.tracing import Trace
from yarl import URL

__all__ = [
    "SSL_ALLOWED_TYPES",
    "Connection",
    "Destination",
    "Head",
    "HttpProcessingError",
    "ResponseHandler",
    "ReuseTrace",
    "Tracer",
    "certificate_error_of",
    "connect",
    "end_body",
    "end_reading",
    "expect_answer",
    "failure_of",
    "has_come_whole",
    "is_closed_by_aiohttp",
    "is_usable",
    "loop_of",
    "may_follow_another_answer",
    "os_error_of",
    "protocol_of",
    "read_head",
    "tracers_of",
    "transport_of",
    "write",
]

Pairs = tuple[tuple[str, str], ...]
Traces = Sequence["Tracer | ReuseTrace"]


# --- a connection

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


def loop_of(connector: aiohttp.BaseConnector) -> asyncio.AbstractEventLoop:
    return connector._loop  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- nothing public tells it


async def connect(
    connector: aiohttp.BaseConnector, destination: Destination, traces: Traces, limits: aiohttp.ClientTimeout
) -> Connection:
    return await connector.connect(destination, cast("list[Trace]", traces), limits)


def protocol_of(connection: Connection) -> ResponseHandler:
    return cast("ResponseHandler", connection.protocol)


def transport_of(protocol: ResponseHandler) -> asyncio.Transport | None:
    """None once the connection is closed."""
    return cast("asyncio.Transport", protocol.transport) if protocol.is_connected() else None


def is_usable(protocol: ResponseHandler) -> bool:
    """Whether it is open, and nothing has come over it that nobody asked for."""
    return protocol.is_connected() and not protocol.should_close


def is_closed_by_aiohttp(protocol: ResponseHandler) -> bool:
    """Of a connection that is just lost: whether its pool has closed it. Else its peer has, or we have."""
    return protocol.transport is None


# --- a request, and its answer


@attrs.define
class Head:
    """The head of an answer. Tracers get it where aiohttp has a ``ClientResponse``, whose names it uses."""

    url: URL
    status: int
    reason: str
    version: aiohttp.HttpVersion
    headers: Mapping[str, str] = attrs.field(repr=False)
    pairs: Pairs = attrs.field(repr=False)
    method: str = "POST"

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def real_url(self) -> URL:
        return self.url


def expect_answer(protocol: ResponseHandler, max_line: int) -> None:
    """From here on what comes is parsed, as it is: aiohttp does not bound what it decompresses."""
    protocol.set_response_params(
        auto_decompress=False, read_until_eof=True, max_line_size=max_line, max_field_size=max_line
    )


async def write(protocol: ResponseHandler, start_line: str, headers: Any, body: bytes) -> None:
    """Hand the whole request to the transport, without waiting for the peer to take it.

    It does not yield to the event loop. An answer may come while the rest of a body is still being taken.
    """
    writer = StreamWriter(protocol, asyncio.get_running_loop())
    await writer.write_headers(start_line, headers)  # kept back for the body
    await writer.write(body, drain=False)


async def read_head(protocol: ResponseHandler, url: URL) -> tuple[Head, aiohttp.StreamReader]:
    message, content = await protocol.read()
    pairs = as_text(message.raw_headers)
    return Head(url, message.code, message.reason, message.version, message.headers, pairs), content


def as_text(raw_headers: Iterable[tuple[bytes, bytes]]) -> Pairs:
    """What aiohttp makes of them as well; its own mapping joins lines of one name as of version 4."""
    return tuple(
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
        for name, value in raw_headers
    )


def has_come_whole(content: aiohttp.StreamReader, limit: int) -> bool:
    """Whether all of a body is there, and within its limit."""
    return content.is_eof() and content.total_bytes <= limit


def may_follow_another_answer(protocol: ResponseHandler, content: aiohttp.StreamReader) -> bool:
    """Whether aiohttp would use the connection again. A 101 or 204 may have more behind it than it should."""
    return content.is_eof() and content is not aiohttp.EMPTY_PAYLOAD and not protocol.should_close


def end_reading(protocol: ResponseHandler, error: Exception) -> None:
    """Raise it from `read_head`."""
    protocol.set_exception(error)


def end_body(content: aiohttp.StreamReader, error: Exception) -> None:
    """Raise it where the rest of a body is awaited."""
    content.set_exception(error)


def failure_of(protocol: ResponseHandler) -> BaseException | None:
    """What has ended the reading, though aiohttp may leave those who read a body waiting."""
    return protocol.exception()


# --- why there is no connection


def os_error_of(error: aiohttp.ClientConnectorError) -> OSError:
    return error.os_error


def certificate_error_of(error: aiohttp.ClientConnectorCertificateError) -> Exception:
    return error.certificate_error


# --- a session's tracers


class Tracer:
    """One that a session has, told what aiohttp tells it, and harmless.

    Its failures are logged and cost nobody a call, a session or, in the connector, a socket.
    """

    def __init__(self, trace: Trace, warn: Callable[[Exception], None]) -> None:
        self._trace = trace
        self._warn = warn

    def __getattr__(self, signal: str) -> Callable[..., Awaitable[None]]:
        send = getattr(self._trace, signal)

        async def send_harmlessly(*arguments: object) -> None:
            try:
                await send(*arguments)
            except Exception as error:  # noqa: BLE001 -- it is somebody else's code
                self._warn(error)

        return send_harmlessly

    async def tell_start(self, method: str, url: URL, headers: Any) -> None:
        await self.send_request_start(method, url, headers)

    async def tell_answer(self, method: str, url: URL, headers: Any, head: Head) -> None:
        await self.send_request_end(method, url, headers, head)

    async def tell_failure(self, method: str, url: URL, headers: Any, name: str) -> None:
        """Its name alone: aiohttp's errors quote what came, and a proxy's password."""
        await self.send_request_exception(method, url, headers, aiohttp.ClientError(name))


def tracers_of(session: aiohttp.ClientSession, warn: Callable[[Exception], None]) -> list[Tracer]:
    return [
        Tracer(Trace(session, config, config.trace_config_ctx()), warn) for config in session.trace_configs
    ]


class ReuseTrace:
    """A tracer that tells whether a connection came from the pool; nothing else that is public does."""

    def __init__(self) -> None:
        self.is_reused = False

    async def send_connection_reuseconn(self) -> None:
        self.is_reused = True

    def __getattr__(self, signal: str) -> Callable[..., Awaitable[None]]:
        return _ignore


async def _ignore(*_: object, **__: object) -> None:
    """Any other signal."""
