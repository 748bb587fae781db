"""The network by way of httpx2: its transport layer and nothing above it. It needs the extra ``httpx``."""

import asyncio
import contextvars
import functools
import logging
import socket
import ssl as tls
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Mapping
from typing import Final, Protocol, Self, cast

import httpx2

from descope_native._numbers import is_count, is_positive
from descope_native.errors import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    InvalidRequestError,
    Phase,
    RequestTimeout,
    TLSError,
    TransportError,
    UnexpectedResponse,
)
from descope_native.transports import HttpRequest, HttpResponse, Progress
from descope_native.transports._lifecycle import (
    CONNECT_REASONS,
    MAX_BODY,
    Answer,
    Call,
    Lifecycle,
    check_max_body,
    opening,
    too_large,
)

__all__ = ["HttpxTransport"]

_PHASES: Final[dict[str, Phase]] = {
    # Only while a connection is being made is it proved that nothing has left.
    "connection.connect_tcp.started": "connect",
    "connection.connect_tcp.complete": "send",
    "connection.start_tls.started": "connect",
    "connection.start_tls.complete": "send",
    "http11.send_request_body.complete": "wait",
    "http11.receive_response_headers.complete": "read",
}
"""What is known of a call once httpx2's trace extension has told this. What it does not tell is not proved:
an event that a later version names otherwise makes an outcome unknown, and never wrong."""

_is_calling: Final = contextvars.ContextVar("_is_calling", default=False)


def _is_not_ours(_: logging.LogRecord) -> bool:
    return not _is_calling.get()


for _name in ("httpcore2.connection", "httpcore2.http11"):  # at DEBUG they quote the headers of answers
    logging.getLogger(_name).addFilter(_is_not_ours)


@functools.cache
def _default_context() -> tls.SSLContext:
    """Made once: reading the system's certificates holds the event loop up."""
    return httpx2.create_ssl_context(trust_env=False)


class HttpxTransport:
    """Carries requests over httpx2's ``AsyncHTTPTransport``. Opened by `HttpxTransport.open`.

    It is not its client that is used: that keeps cookies. How far a call has got is learnt from its trace
    extension, never from the names of its exceptions.

    What httpx2 cannot promise, and `AiohttpTransport` does:

    * Connections are not reused. What a server sends unasked, right behind an answer, would be the answer to
      the next call: httpx2 keeps it, and shows it to nobody. So each call has a connection of its own, and
      pays for a handshake.
    * What a server says on a new connection before the request is there is taken for its answer.
    * In ``connect``, ``NOT_SENT`` is said while TCP or TLS is being set up. A call that ends in the moment
      between the two says ``UNKNOWN``.
    * Its parser waits for the rest of what cannot become an answer, up to 100 KiB or the deadline, and does
      not take a 101.
    * It does not read while it sends: a large request that is refused half-way waits until its deadline.
    * There is no proxy.
    * Where other code holds the event loop beyond a deadline, an answer that came in time may be lost.

    httpx2's own debug log of these calls is left out, since it quotes the headers of answers.
    """

    def __init__(
        self, network: httpx2.AsyncHTTPTransport, *, limit: int, connect_timeout: float, max_body: int
    ) -> None:
        self._network = network
        self._lifecycle = Lifecycle(asyncio.get_running_loop())
        self._slots = asyncio.Semaphore(limit or sys.maxsize)
        self._connect_timeout = connect_timeout
        self._max_body = max_body

    @classmethod
    @opening
    async def open(
        cls,
        *,
        ssl: tls.SSLContext | None = None,
        limit: int | None = 100,
        connect_timeout: float = 5.0,
        max_body: int = MAX_BODY,
    ) -> AsyncGenerator[Self]:
        """An async context manager with connections of its own, closed at the end. It is entered once.

        Args:
            ssl: None checks certificates as httpx2 does by itself; an ``SSLContext`` instead, whose ALPN
                httpx2 sets to HTTP/1.1.
            limit: connections at once; 0 or None for no limit.
            connect_timeout: seconds for DNS and TCP, and as many again for TLS.
            max_body: bytes that an answer's body may have.

        Raises:
            InvalidRequestError: an argument cannot be right.
        """
        if not isinstance(ssl, tls.SSLContext | None):
            raise InvalidRequestError("ssl must be an SSLContext or None")
        limit = limit or 0
        if not is_count(limit, 0):
            raise InvalidRequestError("limit must be a whole number, 0 at least")
        if not is_positive(connect_timeout):
            raise InvalidRequestError("connect_timeout must be seconds, more than 0")
        check_max_body(max_body)
        # No connection is kept: see the class. The places are counted here, where it is known who waits.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        context = _default_context() if ssl is None else ssl
        async with httpx2.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits) as network:
            transport = cls(network, limit=limit, connect_timeout=connect_timeout, max_body=max_body)
            try:
                yield transport
            finally:
                await transport.close()

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """See `descope_native.Transport`."""
        return await self._lifecycle.run(self._send, request)

    async def close(self) -> None:
        """Refuse new calls, end those in flight and wait until they are out.

        They fail with `TransportClosed`. Closing twice is the same as once.
        """
        await self._lifecycle.close()

    async def _send(self, call: Call) -> Answer:
        async with self._slots:
            call.request.progress.phase = "send"
            was_calling = _is_calling.set(True)
            try:
                return await self._call(call)
            finally:
                _is_calling.reset(was_calling)

    async def _call(self, call: Call) -> Answer:
        request = call.request
        trace = _Trace(request.progress)
        status = 0
        try:
            outgoing = httpx2.Request(
                request.method,
                str(request.url),
                headers=dict(request.headers),
                content=request.body,
                extensions={"trace": trace.hear, "timeout": {"connect": self._connect_timeout}},
            )
            response = await self._network.handle_async_request(outgoing)
            status = response.status_code
            try:
                return await self._read(response, call)
            finally:
                await response.aclose()
        except Exception as error:  # noqa: BLE001 -- whatever it is that goes wrong below
            return self._failure(error, status, request.progress.phase)
        finally:
            await trace.close()

    async def _read(self, response: httpx2.Response, call: Call) -> Answer:
        """The answer. One that is no 2xx says enough by its status, and is complete without its body."""
        if not 200 <= response.status_code < 300:
            call.answer_without_body = HttpResponse(response.status_code, _pairs(response))
        parts: list[bytes] = []
        left = self._max_body
        try:
            async for part in cast("AsyncIterable[bytes]", response.stream):
                parts.append(part)
                left -= len(part)
                if left < 0:
                    return call.answer_without_body or too_large(response.status_code, self._max_body)
            return HttpResponse(response.status_code, _pairs(response), b"".join(parts))
        except (httpx2.HTTPError, OSError):
            if call.answer_without_body is None:
                raise
            return call.answer_without_body
        finally:
            del parts  # they hold tokens, and this frame may be in a traceback

    def _failure(self, error: Exception, status: int, phase: Phase) -> DescopeNativeError:
        """What it means that this was raised. Its kind names the error, and never decides what is proved."""
        if phase == "connect":
            if isinstance(error, httpx2.ConnectTimeout):
                return RequestTimeout("connect", self._connect_timeout)
            return _connect_failure(error)
        if isinstance(error, httpx2.RemoteProtocolError) and not _is_end_of_file(error):
            return UnexpectedResponse(status, "the answer is not HTTP", is_damaged=True)
        # Of TLS, once it is set up, what is raised is not even httpx2's.
        if isinstance(error, httpx2.ProtocolError | httpx2.NetworkError | OSError):
            return ConnectionLost(phase, "the connection was lost before the answer was complete")
        return TransportError(phase, f"the transport failed ({type(error).__name__})")


class _Stream(Protocol):
    async def aclose(self) -> None: ...


class _Trace:
    """Keeps a call's progress by what httpx2 tells of it, and its connection."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stream: _Stream | None = None

    async def hear(self, event: str, facts: Mapping[str, object]) -> None:
        if (phase := _PHASES.get(event)) is not None:
            self._progress.phase = phase
        if event == "connection.connect_tcp.complete":
            self._stream = cast("_Stream | None", facts.get("return_value"))

    async def close(self) -> None:
        """End the connection, which httpx2 forgets where it is cancelled in the TLS handshake."""
        if self._stream is not None:
            await self._stream.aclose()


def _pairs(response: httpx2.Response) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
        for name, value in response.headers.raw
    )


def _is_end_of_file(error: httpx2.RemoteProtocolError) -> bool:
    """Whether the connection ended. h11 has one exception for that and for what is not HTTP."""
    return "closed connection" in str(error) or "disconnected" in str(error)


def _connect_failure(error: Exception) -> ConnectError:
    """Why nobody was reached, by the most telling of its causes."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, tls.SSLCertVerificationError):
            return TLSError(f"the certificate is not valid ({cause.verify_message})")
    for cause in causes:
        if isinstance(cause, tls.SSLEOFError | tls.SSLZeroReturnError):
            return ConnectError("reset", "the connection was reset in the TLS handshake")
        if isinstance(cause, tls.SSLError):
            return TLSError(f"the TLS handshake failed ({cause.reason})")
        if isinstance(cause, socket.gaierror):
            return ConnectError("dns", "the host name could not be resolved")
        if isinstance(cause, OSError) and cause.errno in CONNECT_REASONS:
            reason = CONNECT_REASONS[cause.errno]
            return ConnectError(reason, f"nobody could be reached ({reason})")
    return ConnectError("other", "nobody could be reached")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from, and what either is a group of."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
                yield from _causes(each)
        error = error.__cause__ or error.__context__
