"""The network by way of aiohttp: its connector, and nothing of its session above that.

A connection is taken from the connector, looked at, and written to at once. Why it is done below the session,
and what that needs of aiohttp, is told in ``_aiohttp/internals.py``.

How far a call has got, and where that is noted:

    pool     Lifecycle.run                   until there is a place among ``limit``
    connect  AiohttpTransport._send          DNS, TCP, proxy, TLS, and whether the connection is clean
    send     AiohttpTransport._converse      before the first byte may leave
    wait     _note_if_all_sent               nothing is left to be sent
    read     AiohttpTransport._converse      the head of the answer is there
"""

import asyncio
import math
import select
import socket
import ssl as tls
import sys
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Self, cast

import aiohttp
from yarl import URL

from descope_native._clock import now
from descope_native._numbers import is_count, is_positive
from descope_native.errors import (
    ConnectError,
    DescopeNativeError,
    InvalidRequestError,
    Phase,
    RequestTimeout,
    TLSError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)
from descope_native.transports import HttpRequest, HttpResponse, Progress
from descope_native.transports._aiohttp.failures import body_failure, connect_failure, failure_once_sent
from descope_native.transports._aiohttp.framing import MAX_LINE
from descope_native.transports._aiohttp.idle import IdleLimits, Rest
from descope_native.transports._aiohttp.internals import (
    SSL_ALLOWED_TYPES,
    Connection,
    Destination,
    Head,
    HttpProcessingError,
    ResponseHandler,
    ReuseTrace,
    Tracer,
    connect,
    end_body,
    end_reading,
    expect_answer,
    failure_of,
    has_come_whole,
    is_usable,
    loop_of,
    may_follow_another_answer,
    read_head,
    transport_of,
    write,
)
from descope_native.transports._aiohttp.outgoing import Outgoing, run_until_first_suspension
from descope_native.transports._aiohttp.proxies import Proxies
from descope_native.transports._aiohttp.warm import WarmKeeper
from descope_native.transports._lifecycle import (
    MAX_BODY,
    Answer,
    Attempt,
    Call,
    Lifecycle,
    check_max_body,
    opening,
    too_large,
)

__all__ = ["AiohttpTransport"]

_CONNECT_TIMEOUT: Final = 5.0
_KEEPALIVE_TIMEOUT: Final = 55.0
_MAX_DESTINATIONS: Final = 64

Connect = Callable[[Outgoing], Awaitable[ConnectError | None]]
Converse = Callable[[Outgoing, Call], Awaitable[Answer]]
_NOTHING_SENT: Final = HttpResponse(200)

_MAX_REPLACED: Final = 2
"""How many connections that we have never used are replaced in one call. Those that we have may all have
gone bad at once, but a peer that spoils each new one as well must not be hammered."""

_MAX_BODY_FOR_REUSE: Final = 16 * 1024
"""Bytes of a request that an idle connection takes at once. TLS does not tell what it still holds back."""

_POLL_INTERVAL: Final = 0.02
"""Seconds between two looks at a connection whose answer is on its way."""


class AiohttpTransport:
    """Carries requests over aiohttp.

    ``AiohttpTransport(session)`` borrows: it uses the session's connector, with its pool, TLS and DNS
    settings, and nothing else of it: no cookie jar, middlewares, default headers, auth, proxies or
    ``raise_for_status``, since each of them could hand one user's data to another or send a code
    twice. Its trace configs hear of connections, and of each call's start, head and failure; not of
    bodies, which hold codes and tokens. A connection that its owner has used before us is closed, not
    taken: what is left in its parser cannot be seen. The session stays its owner's to close. Make it
    inside the event loop that is going to use it. Its idle connections are looked at before they are
    used; those of a session of our own are ended as soon as they say anything unasked.

    `AiohttpTransport.open` opens, owns and closes a session of its own.

    Args:
        session: an open ``aiohttp.ClientSession``.
        proxy: the URL of an HTTP proxy, with user name and password if need be. It takes https only,
            in a tunnel that it cannot look into. Environment variables are not looked at.
        connect_timeout: seconds for DNS, TCP, proxy and TLS together; over a borrowed session, also for
            a place in its pool while its owner's requests fill that.
        keepalive_timeout: seconds that an idle connection is used again; the limits of the session's own
            pool stay. A peer's ``Keep-Alive: timeout=N`` is obeyed, and where a peer closes an idle
            connection earlier, that is remembered for ten minutes.
        max_body: bytes that an answer's body may have.

    Raises:
        InvalidRequestError: an argument cannot be right.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        proxy: str | URL | None = None,
        connect_timeout: float = _CONNECT_TIMEOUT,
        keepalive_timeout: float = _KEEPALIVE_TIMEOUT,
        max_body: int = MAX_BODY,
    ) -> None:
        try:
            proxies = Proxies.of(proxy, trust_env=False)
        except InvalidRequestError as refusal:
            raise refusal.with_traceback(None) from None  # the frames below hold the password
        finally:
            del proxy
        if not isinstance(session, aiohttp.ClientSession):
            raise InvalidRequestError("session must be an aiohttp.ClientSession")
        connector = session.connector
        if connector is None or connector.closed:
            raise InvalidRequestError("session must be open")
        _check_limits(connect_timeout, keepalive_timeout, max_body)
        self._lifecycle = Lifecycle(loop_of(connector))
        self._session = session
        self._connector = connector
        self._proxies = proxies
        self._connect_timeout = float(connect_timeout)
        self._connect_limits = aiohttp.ClientTimeout(connect=self._connect_timeout, ceil_threshold=math.inf)
        self._max_body = max_body
        self._destinations: dict[URL, Destination] = {}
        self._idle_limits = IdleLimits(float(keepalive_timeout))
        self._warm_keeper: WarmKeeper | None = None
        self._is_borrowed = True
        limits = [limit for limit in (connector.limit, connector.limit_per_host) if limit]
        self._slots = asyncio.Semaphore(min(limits, default=sys.maxsize))

    @classmethod
    @opening
    async def open(
        cls,
        *,
        ssl: bool | tls.SSLContext | aiohttp.Fingerprint | None = True,
        proxy: str | URL | None = None,
        trust_env: bool = False,
        limit: int | None = 100,
        connect_timeout: float = _CONNECT_TIMEOUT,
        keepalive_timeout: float = _KEEPALIVE_TIMEOUT,
        keep_warm: bool = False,
        reuse_connections: bool = True,
        max_body: int = MAX_BODY,
    ) -> AsyncGenerator[Self]:
        """An async context manager with a session of its own, closed at the end. It is entered once.

        Args:
            ssl: True or None checks certificates against the system's; an ``SSLContext`` (client
                certificates, a private CA) or an ``aiohttp.Fingerprint`` instead. False checks nothing.
            proxy: see the class.
            trust_env: take the proxy of ``HTTPS_PROXY``, but for the hosts of ``NO_PROXY``, where ``proxy``
                gives none.
            limit: connections at once; 0 or None for no limit.
            connect_timeout: see the class.
            keepalive_timeout: see the class. The usual limits of load balancers are 60 s and more.
            keep_warm: keep one connection ready for each origin that was called, or given to `warm`, so that
                no call needs a handshake. It costs one handshake in 50 seconds.
            reuse_connections: False opens a fresh connection for each call. That alone excludes a
                stray answer that arrives with the next request in flight, and costs a handshake. After a
                request of more than 16 KiB the next call has a fresh one anyway.
            max_body: see the class.

        Raises:
            InvalidRequestError: an argument cannot be right.
        """
        try:
            proxies = Proxies.of(proxy, trust_env=trust_env)
        except InvalidRequestError as refusal:
            raise refusal.with_traceback(None) from None
        finally:
            del proxy
        ssl = True if ssl is None else ssl
        # Not ssl.SSLContext: libraries put another class in its place, and older contexts are none of that.
        if not isinstance(ssl, SSL_ALLOWED_TYPES):
            raise InvalidRequestError("ssl must be a bool, an SSLContext or an aiohttp.Fingerprint")
        limit = 0 if limit is None else limit
        if not is_count(limit, 0):
            raise InvalidRequestError("limit must be a whole number, 0 at least")
        _check_limits(connect_timeout, keepalive_timeout, max_body)
        if keep_warm and not reuse_connections:
            raise InvalidRequestError("keep_warm needs reuse_connections")
        options: dict[str, Any] = {"keepalive_timeout": float(keepalive_timeout)} if reuse_connections else {}
        connector = aiohttp.TCPConnector(
            ssl=ssl,
            limit=limit,
            force_close=not reuse_connections,
            timeout_ceil_threshold=math.inf,
            **options,
        )
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            transport = cls(
                session,
                connect_timeout=connect_timeout,
                keepalive_timeout=keepalive_timeout,
                max_body=max_body,
            )
            transport._proxies = proxies
            transport._is_borrowed = False
            if keep_warm:
                transport._warm_keeper = WarmKeeper(transport._open_another, transport._idle_limits)
            try:
                yield transport
            finally:
                await transport.close()

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """See `descope_native.Transport`."""
        return await self._run(self._send, request)

    async def warm(self, url: URL) -> None:
        """Have a connection ready for the origin of this URL, where there is none yet.

        Raises `TransportError` as a call would that cannot connect: for the start of a program, so that a
        wrong host or certificate is found then.
        """
        rest = await self._park(url, self._connect)
        if self._warm_keeper is not None:
            self._warm_keeper.keep(url, rest)

    async def close(self) -> None:
        """Refuse new calls, end those in flight and wait until they are out.

        They fail with `TransportClosed`, whose ``outcome`` says whether the code may be spent.
        Closing twice is the same as once. A borrowed session stays open.
        """
        if self._warm_keeper is not None and self._lifecycle.is_at_home():
            await self._warm_keeper.close()
        await self._lifecycle.close()

    async def _send(self, call: Call) -> Answer:
        return await self._call(call, self._connect, self._converse)

    async def _open_another(self, url: URL) -> Rest:
        return await self._park(url, self._connect_anew)

    async def _park(self, url: URL, connect: Connect) -> Rest:
        """Put a clean connection into the pool, over which nothing was sent."""
        rest = Rest(self._idle_limits, url.origin())

        async def park(outgoing: Outgoing, _: Call) -> Answer:
            # One that has idled already is no younger for having been looked at.
            known = None if outgoing.wire is None else outgoing.wire.rest
            rest.since = now() if known is None else known.since
            if self._is_borrowed or self._connector.force_close:
                outgoing.drop_connection()
            else:
                outgoing.park_connection(rest)
            return _NOTHING_SENT

        async def attempt(call: Call) -> Answer:
            return await self._call(call, connect, park)

        request = HttpRequest(method="GET", url=url, headers={}, body=b"", timeout=self._connect_timeout)
        await self._run(attempt, request)
        return rest

    async def _run(self, attempt: Attempt, request: HttpRequest) -> HttpResponse:
        try:
            return await self._lifecycle.run(attempt, request)
        except (ConnectError, RequestTimeout) as error:
            is_about_network = error.phase == "connect" and not isinstance(error, TLSError)
            if is_about_network and self._proxies.is_one_ignored(request.url):
                way = "proxy=" if self._is_borrowed else "trust_env=True"
                error.problem += f"; HTTPS_PROXY is set, and {way} would use it"
            raise

    async def _call(self, call: Call, connect: Connect, converse: Converse) -> Answer:
        url = call.request.url
        if url.scheme != "https" and self._proxies.given.url is not None:
            problem = "plain http does not go through a proxy, which could read it"
            return ConnectError("proxy", problem, safe_to_retry=False)
        async with self._slots:
            call.request.progress.phase = "connect"
            try:
                return await self._call_in_its_slot(call, connect, converse)
            finally:
                if self._warm_keeper is not None:  # also where the call has brought no connection
                    self._warm_keeper.keep(url)

    async def _call_in_its_slot(self, call: Call, connect: Connect, converse: Converse) -> Answer:
        progress = call.request.progress
        if closed := self._if_closed(progress.phase):
            return closed
        try:
            outgoing = Outgoing(call.request, self._destination_of(call.request.url), self._session)
        except Exception as error:  # noqa: BLE001 -- as below
            return self._failure(error, call.request)
        answer: Answer
        try:
            if outgoing.tracers:
                await outgoing.tell_start()
            failure: DescopeNativeError | None = await connect(outgoing)
            if failure is None and now() >= call.deadline:  # the loop was held up: no timer has had its turn
                outgoing.drop_connection()
                failure = RequestTimeout("connect", call.request.timeout)
            answer = failure if failure is not None else await converse(outgoing, call)
        except asyncio.CancelledError:
            # A connector that its owner closes cancels the futures that its callers queue on, and a resolver
            # may let its own cancellation out: where nobody cancelled this task, its caller must not
            # take it for that.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                run_until_first_suspension(outgoing.tell_failure("CancelledError"))
                raise
            problem = "the transport failed (CancelledError)"
            answer = self._if_closed(progress.phase) or TransportError(progress.phase, problem)
        except Exception as error:  # noqa: BLE001 -- aiohttp raises ValueError, RuntimeError and more
            answer = self._if_closed(progress.phase) or self._failure(error, call.request)
        if isinstance(answer, DescopeNativeError):
            run_until_first_suspension(outgoing.tell_failure(type(answer).__name__))
        return answer

    def _destination_of(self, url: URL) -> Destination:
        destination = self._destinations.get(url)
        if destination is None:
            if url.scheme not in {"http", "https"}:
                raise aiohttp.InvalidURL(url)
            if len(self._destinations) >= _MAX_DESTINATIONS:  # as a rule there is one for each operation
                self._destinations.clear()
            proxy = self._proxies.proxy_for(url)
            destination = self._destinations[url] = Destination(
                url, proxy.url, proxy.authorization, close=self._connector.force_close
            )
        return destination

    async def _connect(self, outgoing: Outgoing) -> ConnectError | None:
        """Find a connection on which nobody has said anything yet."""
        await _find_out_if_writes_are_held_back(asyncio.get_running_loop())
        replaced = 0
        while replaced <= _MAX_REPLACED:
            reuse = ReuseTrace()
            traces: list[Tracer | ReuseTrace] = [*outgoing.tracers, *([reuse] if self._is_borrowed else [])]
            outgoing.take(await connect(self._connector, outgoing.destination, traces, self._connect_limits))
            is_known = outgoing.wire is not None
            is_clean = False
            try:
                # One that its owner has used before us may hold half of a stray answer in aiohttp's parser.
                if outgoing.is_ready if is_known else not reuse.is_reused:
                    is_clean = await self._is_clean(outgoing.protocol, is_known=is_known)
            finally:
                if not is_clean:
                    outgoing.drop_dirty_connection()
            if is_clean:
                return None
            replaced += not (is_known or reuse.is_reused)
        return ConnectError("reset", "connections go bad before anything can be sent")

    async def _connect_anew(self, outgoing: Outgoing) -> ConnectError | None:
        """Open a connection, while the youngest in the pool stays there for the calls that come meanwhile."""
        opened: list[Connection] = []  # here whoever is cancelled finds what has been opened meanwhile

        async def open_one() -> None:
            opened.append(await connect(self._connector, outgoing.destination, [], self._connect_limits))

        connecting = asyncio.create_task(open_one())
        try:
            await asyncio.sleep(0)
            while connecting.done():  # it came from the pool: only what is new takes longer
                await connecting
                for older in opened[:-1]:  # each look makes it young to aiohttp, so it would stay for good
                    older.close()
                del opened[:-1]
                connecting = asyncio.create_task(open_one())
                await asyncio.sleep(0)
            while opened:
                opened.pop().release()
            await connecting
            outgoing.take(opened.pop())
        finally:
            connecting.cancel()
            for connection in opened:
                connection.close()
        if outgoing.wire is not None:  # the pool is full, and has given what was just put back
            outgoing.drop_connection()
            return await self._connect(outgoing)
        is_clean = False
        try:
            is_clean = await self._is_clean(outgoing.protocol, is_known=False)
        finally:
            if not is_clean:
                outgoing.drop_connection()
        return None if is_clean else ConnectError("reset", "the connection went bad at once")

    async def _is_clean(self, protocol: ResponseHandler, *, is_known: bool) -> bool:
        """Whether nobody has left anything on this connection: an answer that waits there is not ours."""
        if is_known:
            return is_usable(protocol) and not _has_unread(protocol)
        if _has_unread(protocol):
            # New to us, but another user of a borrowed session may have left something there. It may
            # as well be of TLS, so the event loop is let read it before it is judged.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return is_usable(protocol)

    async def _converse(self, outgoing: Outgoing, call: Call) -> Answer:
        """Send over a clean connection, before anybody else has a turn, and read what comes back."""
        request, protocol = outgoing.request, outgoing.protocol
        transport = cast("asyncio.Transport", outgoing.transport)
        progress = request.progress
        origin = request.url.origin()
        is_reusable = False
        try:
            expect_answer(protocol, MAX_LINE)
            wire = outgoing.listen()
            _write_at_once(transport)
            progress.phase = "send"
            await write(protocol, outgoing.start_line, outgoing.headers, request.body)
            transport.set_write_buffer_limits()
            loop = asyncio.get_running_loop()
            if request.url.scheme == "https" and _holds_writes_back.get(loop, False):
                wire.hold_back(loop)
            _note_if_all_sent(transport, progress)
            if self._is_borrowed:
                with self._watching_its_owner(protocol):
                    head, content = await read_head(protocol, request.url)
            else:
                head, content = await read_head(protocol, request.url)
            if wire.is_early and (head.status < 400 or len(request.body) <= _MAX_BODY_FOR_REUSE):
                # Nobody's. A large request may be refused before all of it is there (RFC 9112 §9.3), which
                # is why a refusal of one stands: nothing but a part of it can have reached anybody.
                return UnexpectedResponse(head.status, "the answer came before the request had been sent")
            progress.phase = "read"
            if not 200 <= head.status < 300:
                call.answer_without_body = HttpResponse(head.status, head.pairs)
            if outgoing.tracers:
                run_until_first_suspension(outgoing.tell_answer(head))
            self._idle_limits.heed(origin, head.pairs)
            answer = await self._read_body(outgoing, call, head, content)
            is_kept = wire.is_clean and not self._connector.force_close
            is_reusable = is_kept and _may_be_reused(outgoing, content)
            return answer
        finally:
            if is_reusable:
                rest = Rest(self._idle_limits, origin)
                outgoing.release_connection(rest, to_others=self._is_borrowed)
                if self._warm_keeper is not None:
                    self._warm_keeper.keep(request.url, rest)
            else:
                _note_if_all_sent(transport, progress)
                outgoing.drop_connection()

    async def _read_body(
        self, outgoing: Outgoing, call: Call, head: Head, content: aiohttp.StreamReader
    ) -> Answer:
        protocol, headers = outgoing.protocol, head.pairs
        chunks: list[bytes] = []
        left = self._max_body
        try:
            if has_come_whole(content, left):  # as a rule: it comes with its head
                return HttpResponse(head.status, headers, content.read_nowait())
            with self._watching_the_parser(content, protocol):
                while not content.at_eof():
                    chunks.append(await content.readany())
                    left -= len(chunks[-1])
                    if left < 0:
                        return call.answer_without_body or too_large(head.status, self._max_body)
            return HttpResponse(head.status, headers, b"".join(chunks))
        except (aiohttp.ClientError, HttpProcessingError, OSError, RuntimeError) as error:
            is_malformed = outgoing.wire is not None and outgoing.wire.body.is_malformed
            problem = HttpProcessingError() if is_malformed else error
            failure = self._if_closed("read") or body_failure(head.status, problem, protocol)
            return call.answer_without_body or failure
        finally:
            del headers, chunks  # they hold tokens, and this frame may be in a traceback

    def _watching_its_owner(self, protocol: ResponseHandler) -> AbstractContextManager[None]:
        """Where a borrowed session is closed, aiohttp lets the peer take all of the request first."""

        def look() -> None:
            if self._connector.closed:
                end_reading(protocol, aiohttp.ServerDisconnectedError())

        return _every_moment(look)

    def _watching_the_parser(
        self, content: aiohttp.StreamReader, protocol: ResponseHandler
    ) -> AbstractContextManager[None]:
        """Where a part of a body is not HTTP, or its session is closed, aiohttp leaves its reader waiting."""

        def look() -> None:
            if self._connector.closed or failure_of(protocol) is not None:
                end_body(content, aiohttp.ClientPayloadError())

        return _every_moment(look)

    def _if_closed(self, phase: Phase) -> TransportClosed | None:
        """What is wrong where the owner of a borrowed session has closed it."""
        return TransportClosed(phase, "the session was closed") if self._connector.closed else None

    def _failure(self, error: Exception, request: HttpRequest) -> DescopeNativeError:
        """What it means that this was raised."""
        phase, url = request.progress.phase, request.url
        if phase != "connect":
            return failure_once_sent(error, phase)
        return connect_failure(error, self._connect_timeout, self._proxies.proxy_for(url).url)


@contextmanager
def _every_moment(look: Callable[[], None]) -> Generator[None]:
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def look_again() -> None:
        nonlocal timer
        look()
        timer = loop.call_later(_POLL_INTERVAL, look_again)

    timer = loop.call_later(_POLL_INTERVAL, look_again)
    try:
        yield
    finally:
        timer.cancel()


def _may_be_reused(outgoing: Outgoing, content: aiohttp.StreamReader) -> bool:
    """Whether neither side has anything more to say, so that the next call may have the connection."""
    transport = cast("asyncio.Transport", outgoing.transport)
    return (
        may_follow_another_answer(outgoing.protocol, content)
        and not transport.is_closing()
        and not transport.get_write_buffer_size()
        and len(outgoing.request.body) <= _MAX_BODY_FOR_REUSE
    )


def _note_if_all_sent(transport: asyncio.Transport, progress: Progress) -> None:
    if progress.phase == "send" and not transport.is_closing() and not transport.get_write_buffer_size():
        progress.phase = "wait"


def _write_at_once(transport: asyncio.Transport) -> None:
    """uvloop up to 0.22 keeps a write until the end of the loop's turn, unless it is more than this."""
    transport.set_write_buffer_limits(high=0)


_holds_writes_back: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, bool]] = (
    weakref.WeakKeyDictionary()
)


async def _find_out_if_writes_are_held_back(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio's own loops write at once; of others it is found out, once each.

    uvloop up to 0.22 does not, and where there is TLS between, its transport does not show that.
    """
    if isinstance(loop, asyncio.BaseEventLoop) or loop in _holds_writes_back:
        return
    ours, peers = socket.socketpair()
    with peers:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        transport.write(b"x")
        _holds_writes_back[loop] = transport.get_write_buffer_size() > 0
        transport.abort()


def _has_unread(protocol: ResponseHandler) -> bool:
    """Whether bytes or an end of file wait in the kernel that the event loop has not come to yet."""
    transport = transport_of(protocol)
    if transport is None:
        return True
    sock = transport.get_extra_info("socket")
    return sock is None or sock.fileno() < 0 or _is_readable(sock)


def _is_readable(sock: socket.socket) -> bool:
    if not hasattr(select, "poll"):  # on Windows
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _check_limits(connect_timeout: float, keepalive_timeout: float, max_body: int) -> None:
    if not is_positive(connect_timeout):
        raise InvalidRequestError("connect_timeout must be seconds, more than 0")
    if not is_positive(keepalive_timeout):
        raise InvalidRequestError("keepalive_timeout must be seconds, more than 0")
    check_max_body(max_body)
