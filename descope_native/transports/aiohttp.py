"""The real network. The only module that imports aiohttp's client."""

import asyncio
import errno
import math
import select
import socket
import ssl as tls
import sys
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Self, cast

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError
from yarl import URL

from descope_native.errors import (
    ConnectError,
    ConnectionLost,
    ConnectReason,
    DescopeNativeError,
    InvalidRequestError,
    RequestTimeout,
    TLSError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)
from descope_native.transports import HttpRequest, HttpResponse, Progress
from descope_native.transports._lifecycle import Lifecycle

if TYPE_CHECKING:
    from aiohttp.http_writer import StreamWriter

__all__ = ["AiohttpTransport"]

_MAX_BODY: Final = 1024 * 1024
_CONNECT_TIMEOUT: Final = 5.0

_KNOWN_STALE: Final = 10
_UNKNOWN_STALE: Final = 2
"""How many connections are replaced in one call, beside as many as have been used before: those of the
pool may all have gone bad at once, but a peer that spoils each new one as well must not be hammered."""


class AiohttpTransport:
    """Carries requests over aiohttp.

    ``AiohttpTransport(session)`` borrows: it uses the session's connector, with its pool, TLS and DNS
    settings, and its trace configs, and nothing else of it: no cookie jar, middlewares, default headers,
    auth, proxies or ``raise_for_status``, since each of them could hand one user's data to another
    or send a code twice. The session stays its owner's to close. Make it inside the event loop
    that is going to use it.

    `AiohttpTransport.open` opens, owns and closes a session of its own.

    Args:
        session: an open ``aiohttp.ClientSession``.
        proxy: the URL of an HTTP proxy, with user name and password if need be. It takes https only,
            in a tunnel that it cannot look into. Environment variables are not looked at.
        connect_timeout: seconds for DNS, TCP, proxy and TLS together.
        max_body: bytes that an answer's body may have.

    Raises:
        InvalidRequestError: an argument cannot be right.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        proxy: "str | URL | _Proxy | None" = None,
        connect_timeout: float = _CONNECT_TIMEOUT,
        max_body: int = _MAX_BODY,
    ) -> None:
        try:
            via = _checked_proxy(proxy)
        except InvalidRequestError as refusal:
            raise refusal.with_traceback(None) from None  # the frames below hold the password
        finally:
            del proxy
        if not isinstance(session, aiohttp.ClientSession):
            raise InvalidRequestError("session must be an aiohttp.ClientSession")
        connector = session.connector
        if connector is None or connector.closed:
            raise InvalidRequestError("session must be open")
        _check_limits(connect_timeout, max_body)
        self._lifecycle = Lifecycle()
        self._session = aiohttp.ClientSession(
            connector=connector,
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(connect=connect_timeout, ceil_threshold=math.inf),
            proxy=via.url,
        )
        # In place, and not as an argument: instrumentation that patches the class adds its own again.
        self._session.trace_configs[:] = map(_Discreet, session.trace_configs)
        weakref.finalize(self, self._session.detach)
        limits = [limit for limit in (connector.limit, connector.limit_per_host) if limit]
        self._slots = asyncio.Semaphore(min(limits, default=sys.maxsize))
        self._has_proxy = via.url is not None
        self._connect_timeout = connect_timeout
        self._max_body = max_body
        self._used: weakref.WeakSet[ResponseHandler] = weakref.WeakSet()

    @classmethod
    def open(
        cls,
        *,
        ssl: bool | tls.SSLContext | aiohttp.Fingerprint = True,
        proxy: str | URL | None = None,
        limit: int = 100,
        connect_timeout: float = _CONNECT_TIMEOUT,
        reuse_connections: bool = True,
        max_body: int = _MAX_BODY,
    ) -> AbstractAsyncContextManager[Self]:
        """An async context manager with a session of its own, closed at the end.

        Args:
            ssl: True checks certificates against the system's; an ``SSLContext`` (client
                certificates, a private CA) or an ``aiohttp.Fingerprint`` instead. False checks nothing.
            proxy: see the class.
            limit: connections at once; 0 for no limit.
            connect_timeout: see the class.
            reuse_connections: False opens a fresh connection for each call. That alone excludes a
                stray answer that arrives with the next request in flight, and costs a handshake.
            max_body: see the class.

        Raises:
            InvalidRequestError: an argument cannot be right.
        """
        try:
            via = _checked_proxy(proxy)
        except InvalidRequestError as refusal:
            raise refusal.with_traceback(None) from None
        finally:
            del proxy
        if not isinstance(ssl, bool | tls.SSLContext | aiohttp.Fingerprint):
            raise InvalidRequestError("ssl must be a bool, an SSLContext or an aiohttp.Fingerprint")
        if not isinstance(limit, int) or limit < 0:
            raise InvalidRequestError("limit must be a whole number, 0 at least")
        _check_limits(connect_timeout, max_body)

        @asynccontextmanager
        async def opened() -> AsyncGenerator[Self]:
            connector = aiohttp.TCPConnector(
                ssl=ssl,
                limit=limit,
                force_close=not reuse_connections,
                timeout_ceil_threshold=math.inf,
            )
            async with aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar()
            ) as session:
                transport = cls(session, proxy=via, connect_timeout=connect_timeout, max_body=max_body)
                try:
                    yield transport
                finally:
                    await transport.close()

        return opened()

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """See `descope_native.Transport`."""
        return await self._lifecycle.run(self._send, request)

    async def close(self) -> None:
        """Refuse new calls, end those in flight and wait until they are out.

        They fail with `TransportClosed`, whose ``outcome`` says whether the code may be spent.
        Closing twice is the same as once. A borrowed session stays open.
        """
        await self._lifecycle.close()
        self._session.detach()

    async def _send(self, request: HttpRequest) -> HttpResponse:
        if self._has_proxy and request.url.scheme != "https":
            problem = "plain http does not go through a proxy, which could read it"
            raise ConnectError("proxy", problem, safe_to_retry=False)
        async with self._slots:
            known, unknown = len(self._used) + _KNOWN_STALE, _UNKNOWN_STALE
            while True:
                request.progress.phase = "connect"
                body = _Body(request, self._used)
                answer = await self._post(request, body)
                if isinstance(answer, HttpResponse):
                    if body.protocol is not None:
                        self._used.add(body.protocol)
                    return answer
                if not isinstance(answer, _Stale):
                    break
                # Nothing was sent and this connection is gone from the pool, so another one is taken.
                if body.protocol is None or body.protocol in self._used:
                    known -= 1
                else:
                    unknown -= 1
                if known < 0 or unknown < 0:
                    answer = ConnectError("reset", "connections go bad before anything can be sent")
                    break
        raise answer

    async def _post(
        self, request: HttpRequest, body: "_Body"
    ) -> "HttpResponse | DescopeNativeError | _Stale":
        # Failures are handed over by return value: an exception of aiohttp's quotes requests, and so
        # would each traceback and context that it is part of.
        cancellations = _cancellations()
        try:
            return await self._read(
                await self._session.post(
                    request.url, data=body, headers=request.headers, allow_redirects=False
                ),
                request.progress,
                body,
            )
        except asyncio.CancelledError:
            # A session that its owner closes cancels the futures that its callers queue on: nobody
            # cancelled this task, and its caller must not take it for that.
            if not self._session.closed or _cancellations() > cancellations:
                raise
            return TransportClosed(request.progress.phase, "the session was closed")
        except Exception as error:  # noqa: BLE001 -- aiohttp raises ValueError, RuntimeError and more
            if self._session.closed:
                return TransportClosed(request.progress.phase, "the session was closed")
            if request.progress.phase == "connect":
                return self._unsent(error, body)
            return _sent(error, request.progress)
        finally:
            body.drop_unsent()

    async def _read(
        self, response: aiohttp.ClientResponse, progress: Progress, body: "_Body"
    ) -> "HttpResponse | DescopeNativeError | _Stale":
        chunks: list[bytes] = []
        try:
            if progress.phase == "connect":
                response.close()  # even one that was read to its end
                return _Stale()  # an answer to nothing that we asked: it is somebody else's
            progress.phase = "read"
            if not 200 <= response.status < 300:
                progress.answer = HttpResponse(response.status, tuple(response.headers.items()))
            left = self._max_body
            whole = response.content.is_eof()  # as a rule: a small body comes with its head
            with nullcontext() if whole else _told_of_the_end(response.content, body.protocol):
                while not response.content.at_eof():
                    chunks.append(await response.content.readany())
                    left -= len(chunks[-1])
                    if left < 0:
                        problem = f"the answer's body is larger than {self._max_body} bytes"
                        return progress.answer or UnexpectedResponse(response.status, problem)
            return HttpResponse(response.status, tuple(response.headers.items()), b"".join(chunks))
        except (aiohttp.ClientError, OSError, RuntimeError):  # aiohttp raises the last for a lost connection
            return progress.answer or self._cut(response.status, body)
        finally:
            if not response.closed:  # it is where its body was read to the end
                response.close()
            del response, chunks  # they hold tokens, and this frame may be in a traceback

    def _cut(self, status: int, body: "_Body") -> DescopeNativeError:
        """Why the body of a 2xx did not come whole."""
        if self._session.closed:
            return TransportClosed("read", "the session was closed")
        # aiohttp reports bad chunks and lost connections alike, but its protocol knows which it was.
        if body.protocol is not None and isinstance(body.protocol.exception(), HttpProcessingError):
            return UnexpectedResponse(status, "the answer's body is not HTTP")
        return ConnectionLost("read", "the connection was lost within the answer")

    def _unsent(self, error: Exception, body: "_Body") -> "DescopeNativeError | _Stale":
        """Why nothing was sent."""
        if failure := _connect_failure(error, self._connect_timeout):
            return failure
        if self._has_proxy and body.protocol is None:
            return ConnectError("proxy", "the proxy did not open a tunnel", safe_to_retry=False)
        return _Stale()


_SIGNALS: Final = [name for name in dir(aiohttp.TraceConfig) if name.startswith("on_")]


class _Discreet(aiohttp.TraceConfig):
    """A trace config that gets the names of aiohttp's errors and not their texts.

    Those quote what came, tokens included, and a proxy's password; and tracers record them.
    """

    def __init__(self, config: aiohttp.TraceConfig) -> None:
        super().__init__()
        self._config = config
        for name in _SIGNALS:
            getattr(self, name).extend(getattr(config, name))
        self.on_request_exception[:] = map(_without_text, config.on_request_exception)
        self.freeze()

    def trace_config_ctx(self, trace_request_ctx: Any = None) -> SimpleNamespace:
        return self._config.trace_config_ctx(trace_request_ctx)


_OnException = Callable[
    [aiohttp.ClientSession, SimpleNamespace, aiohttp.TraceRequestExceptionParams], Awaitable[object]
]


def _without_text(receive: _OnException) -> _OnException:
    async def receive_without_text(
        session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        name_only = aiohttp.ClientError(type(params.exception).__name__)
        await receive(
            session,
            context,
            aiohttp.TraceRequestExceptionParams(params.method, params.url, params.headers, name_only),
        )

    return receive_without_text


@attrs.frozen
class _Proxy:
    """A proxy's URL, whose password no repr shows."""

    url: URL | None = attrs.field(default=None, repr=False)


class _Stale:
    """A connection went bad before the first byte was handed to it."""


class _Body(aiohttp.BytesPayload):
    """The request's body, which proves whether the request was sent.

    aiohttp keeps the head back until the first write of the body, so what has not passed through here
    has not left, whatever the exception is called. It is also the last moment to look at a pooled connection:
    an answer that waits there now is somebody else's.
    """

    def __init__(self, request: HttpRequest, used: weakref.WeakSet[ResponseHandler]) -> None:
        super().__init__(request.body)
        self._progress = request.progress
        self._used = used
        self.protocol: ResponseHandler | None = None
        self._transport: asyncio.Transport | None = None

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        stream = cast("StreamWriter", writer)
        protocol = self.protocol = cast("ResponseHandler", stream.protocol)
        transport = self._transport = stream.transport
        if transport is not None and protocol not in self._used and _has_unread(transport):
            # New to us, but another user of a borrowed session may have left something there. It may
            # as well be of TLS, so the event loop is let read it before it is judged.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if (
            transport is None
            or transport.is_closing()
            or protocol.should_close
            or (protocol in self._used and _has_unread(transport))
        ):
            raise ConnectionResetError
        self._progress.phase = "send"
        await super().write_with_length(writer, content_length)
        # An answer may come early, while the rest of the body is still being taken.
        self._progress.phase = "wait" if self._progress.phase == "send" else self._progress.phase

    def drop_unsent(self) -> None:
        """Forget what waits in the buffer of a connection that aiohttp has closed.

        It would be sent whenever the peer comes to read it, and the socket stay open until then.
        """
        if self._transport is not None and self.protocol is not None and self.protocol.transport is None:
            self._transport.abort()


@contextmanager
def _told_of_the_end(content: aiohttp.StreamReader, protocol: ResponseHandler | None) -> Generator[None]:
    """Wake who reads a body when its connection is closed, for a part of it that is not HTTP or by the
    session's owner: aiohttp would leave them waiting.
    """
    closed = None if protocol is None else protocol.closed
    if closed is None:
        yield
        return

    def tell(_: object) -> None:
        spoiled = protocol is not None and isinstance(protocol.exception(), HttpProcessingError)
        if spoiled or not (content.is_eof() or content.exception()):
            content.set_exception(aiohttp.ClientPayloadError())

    closed.add_done_callback(tell)
    try:
        yield
    finally:
        closed.remove_done_callback(tell)
        closed.remove_done_callback(_heed)
        closed.add_done_callback(_heed)


def _heed(closed: asyncio.Future[None]) -> None:
    """Look at how a connection ended, or asyncio logs that nobody did."""
    closed.exception()


def _has_unread(transport: asyncio.Transport) -> bool:
    """Whether bytes or an end of file wait in the kernel that the event loop has not come to yet."""
    sock = transport.get_extra_info("socket")
    return sock is None or sock.fileno() < 0 or _is_readable(sock)


def _is_readable(sock: socket.socket) -> bool:
    if not hasattr(select, "poll"):  # on Windows
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _cancellations() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _check_limits(connect_timeout: float, max_body: int) -> None:
    for name, value in (("connect_timeout", connect_timeout), ("max_body", max_body)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise InvalidRequestError(f"{name} must be a number, more than 0")


def _checked_proxy(proxy: "str | URL | _Proxy | None") -> _Proxy:
    if proxy is None or isinstance(proxy, _Proxy):
        return proxy or _Proxy()
    with suppress(ValueError, TypeError):
        url = URL(proxy)
        if url.scheme in {"http", "https"} and url.host:
            return _Proxy(url)
    raise InvalidRequestError("proxy must be an absolute http or https URL")


def _sent(error: Exception, progress: Progress) -> DescopeNativeError:
    """What it means that this came back, once the request may have left."""
    if isinstance(error, aiohttp.ClientResponseError):
        return UnexpectedResponse(0, "the answer is not HTTP")
    if isinstance(error, aiohttp.ClientError | OSError):
        return ConnectionLost(progress.phase, "the connection was lost before an answer came")
    return TransportError(progress.phase, f"the transport failed ({type(error).__name__})")


_CONNECT_REASONS: Final[dict[int | None, ConnectReason]] = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "reset",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EHOSTDOWN: "unreachable",
    errno.ETIMEDOUT: "unreachable",
}


def _connect_failure(  # noqa: C901, PLR0911, PLR0912 -- a table: one case per kind of failure
    error: Exception, connect_timeout: float
) -> DescopeNativeError | None:
    """Why nobody was reached, the most specific kind first; None if somebody was, and was lost."""
    match error:
        case aiohttp.ClientHttpProxyError():
            problem = f"the proxy answered {error.status} to CONNECT"
            return ConnectError("proxy", problem, safe_to_retry=error.status >= 500)
        case aiohttp.ClientProxyConnectionError():
            return ConnectError("proxy", "the proxy could not be reached")
        case aiohttp.ClientConnectorDNSError():
            return ConnectError("dns", "the host name could not be resolved")
        case aiohttp.ServerFingerprintMismatch():
            return TLSError("the certificate does not have the expected fingerprint")
        case aiohttp.ClientConnectorCertificateError():
            return TLSError(_certificate_problem(error.certificate_error))
        case aiohttp.ClientConnectorSSLError():
            cause = cast("aiohttp.ClientConnectorError", error).os_error
            if isinstance(cause, tls.SSLEOFError | tls.SSLZeroReturnError):
                return ConnectError("reset", "the connection was reset in the TLS handshake")
            return TLSError(f"the TLS handshake failed ({_tls_reason(cause)})")
        case aiohttp.ServerTimeoutError():
            return RequestTimeout("connect", connect_timeout)
        case aiohttp.ClientConnectorError():
            # asyncio gives no number to an end of file in the TLS handshake
            lost: ConnectReason = "reset" if isinstance(error.os_error, ConnectionError) else "other"
            reason: ConnectReason = _CONNECT_REASONS.get(error.errno, lost)
            return ConnectError(reason, f"nobody could be reached ({reason})")
        case aiohttp.InvalidURL():
            return ConnectError("other", "the host is not an address", safe_to_retry=False)
        case aiohttp.ClientError() | OSError():
            return None
        case RuntimeError() | AssertionError():  # what an empty answer of the resolver ends in
            return ConnectError("dns", "the host name resolved to nothing")
        case _:
            return TransportError("connect", f"the transport failed ({type(error).__name__})")


def _certificate_problem(error: Exception) -> str:
    code = getattr(error, "verify_message", None)
    return (
        f"the certificate is not valid ({code})" if isinstance(code, str) else "the certificate is not valid"
    )


def _tls_reason(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return reason.lower().replace("_", " ") if isinstance(reason, str) else "no reason given"
