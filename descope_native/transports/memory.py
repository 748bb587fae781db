"""A transport with a handler instead of a network, for tests and benchmarks."""

import asyncio
import inspect
import socket
import ssl
from collections.abc import Awaitable, Callable

import attrs

from descope_native.errors import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    Phase,
    TLSError,
    TransportClosed,
    TransportError,
)
from descope_native.transports import HttpRequest, HttpResponse
from descope_native.transports._lifecycle import MAX_BODY, Answer, Call, Lifecycle, check_max_body, too_large

__all__ = ["Handler", "InMemoryTransport"]

Handler = Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]


class InMemoryTransport:
    """Hands each request to ``handler``, sync or async, and its answer back.

    ``requests`` keeps what was sent, in order. Everything else is as over a real network: a call
    yields to the event loop, ends at its deadline (``RequestTimeout``, phase ``wait``), can be
    cancelled, and fails with ``TransportClosed`` once closed. What a handler raises is told as it
    would be over a network:

    * ``ConnectionRefusedError`` and ``socket.gaierror`` as a ``ConnectError``;
    * ``ssl.SSLCertVerificationError`` as a ``TLSError``;
    * ``TimeoutError`` as a ``RequestTimeout``, without anybody having to wait for the deadline;
    * any other ``OSError`` as a ``ConnectionLost``, unless it is about a file: that is a mistake;
    * errors of this library as they are, and whatever a mistake in the handler raises, too.

    A 204 or 304 has no body, and one that is too large counts as over a network, too.

    It belongs to the event loop it is made in or, made outside of any, to the first that uses it; and to
    the process that uses it first.

    Args:
        handler: what answers.
        max_body: bytes that an answer's body may have.

    Raises:
        InvalidRequestError: an argument cannot be right.
    """

    def __init__(self, handler: Handler, *, max_body: int = MAX_BODY) -> None:
        check_max_body(max_body)
        self._handler = handler
        self._max_body = max_body
        self._lifecycle = Lifecycle()
        self.requests: list[HttpRequest] = []

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """See `descope_native.Transport`."""
        return await self._lifecycle.run(self._hand_over, request)

    async def close(self) -> None:
        """Refuse new calls and end those in flight. Closing twice is the same as once."""
        await self._lifecycle.close()

    async def _hand_over(self, call: Call) -> Answer:
        request = call.request
        await asyncio.sleep(0)  # a real network yields here, and tests should meet what that brings
        if self._lifecycle.closed:
            return TransportClosed("pool", "the transport is closed")
        self.requests.append(request)
        request.progress.phase = "wait"
        try:
            answer = self._handler(request)
            if inspect.isawaitable(answer):
                answer = await answer
            request.progress.phase = "read"
            return self._as_it_would_come(answer)
        except DescopeNativeError as error:
            return error
        except TimeoutError:  # what keeps the time tells it
            raise
        except OSError as error:
            if error.filename is not None:
                raise
            return _as_over_a_network(error, request.progress.phase)

    def _as_it_would_come(self, answer: HttpResponse) -> Answer:
        is_too_large = len(answer.body) > self._max_body
        if is_too_large and 200 <= answer.status < 300:
            return too_large(answer.status, self._max_body)
        has_no_body = is_too_large or answer.status in {204, 304}  # RFC 9110 §6.4.1
        return attrs.evolve(answer, body=b"") if has_no_body else answer


def _as_over_a_network(error: OSError, phase: Phase) -> TransportError:
    match error:
        case ConnectionRefusedError():
            return ConnectError("refused", "the handler refused the connection")
        case socket.gaierror():
            return ConnectError("dns", "the handler did not resolve the host name")
        case ssl.SSLCertVerificationError():
            return TLSError("the handler's certificate is not valid")
        case _:
            return ConnectionLost(phase, "the handler dropped the connection")
