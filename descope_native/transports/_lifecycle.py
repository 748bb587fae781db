"""What every transport shares: loop and fork checks, the deadline, and `close()`."""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial, wraps
from types import TracebackType
from typing import Final, ParamSpec, TypeVar

import attrs

from descope_native._clock import running_loop
from descope_native._numbers import is_count
from descope_native.errors import (
    ConnectReason,
    DescopeNativeError,
    InvalidRequestError,
    Phase,
    RequestTimeout,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)
from descope_native.transports import HttpRequest, HttpResponse

_forks: Final[list[None]] = []
"""One for each fork between the start of the program and this process. Asking the system for the
process's id instead would cost every call as much as all the rest of its lifecycle."""

with suppress(AttributeError):  # Windows does not fork
    os.register_at_fork(after_in_child=partial(_forks.append, None))

CONNECT_REASONS: Final[Mapping[int | None, ConnectReason]] = {
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
"""What the system's errors say of a connection that could not be made."""

MAX_BODY: Final = 1024 * 1024
"""Bytes that an answer's body may have, unless set."""


def check_max_body(max_body: int) -> None:
    """Raises `InvalidRequestError` for a limit that cannot be right."""
    if not is_count(max_body, 1):
        raise InvalidRequestError("max_body must be a whole number, 1 at least")


def too_large(status: int, max_body: int) -> UnexpectedResponse:
    """What a 2xx means whose body goes beyond the limit."""
    return UnexpectedResponse(status, f"the answer's body is larger than {max_body} bytes")


_MAX_TIMER_DELAY: Final = 0.002
"""Seconds by which a timer may be late though nobody holds the loop: some count in milliseconds."""

_TIME_TO_READ: Final = 0.02
"""Seconds to read what came before the deadline, where the loop was held up beyond it."""


@attrs.define(eq=False)
class Call:
    """One request, as a transport carries it.

    Attributes:
        request: what is sent.
        deadline: by the event loop's clock.
        answer_without_body: set where a status has come that says enough by itself, and its body is awaited.
            It is the answer where the body does not come in time.
    """

    request: HttpRequest
    deadline: float
    answer_without_body: HttpResponse | None = None


Answer = HttpResponse | DescopeNativeError
"""A failure is returned where it is found and raised in one place, `Lifecycle.run`. Raised at once, it would
have the foreign exception as its context, and the frames below in its traceback."""

Attempt = Callable[[Call], Awaitable[Answer]]
T_co = TypeVar("T_co", covariant=True)


class Opening(AbstractAsyncContextManager[T_co]):
    """What `open` returns: entered once, and where an event loop runs."""

    def __init__(self, opened: AbstractAsyncContextManager[T_co]) -> None:
        self._opened = opened
        self._was_entered = False

    async def __aenter__(self) -> T_co:
        if self._was_entered:
            raise InvalidRequestError("what open() returns is entered once; call open() again")
        if running_loop() is None:
            raise InvalidRequestError("no event loop runs here; enter open() in asyncio.run()")
        self._was_entered = True
        return await self._opened.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._opened.__aexit__(kind, error, traceback)


P = ParamSpec("P")


def opening(
    function: Callable[P, AsyncGenerator[T_co]],
) -> Callable[P, AbstractAsyncContextManager[T_co]]:
    """As `contextlib.asynccontextmanager`, with a clear error where it is entered twice or without a loop."""
    make = asynccontextmanager(function)

    @wraps(function)
    def opened(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T_co]:
        return Opening(make(*args, **kwargs))

    return opened


class Lifecycle:
    """Runs calls under their deadline, on one event loop and in one process, until closed.

    The loop is the one given, else the one that runs when it is made or, where none does, the first that
    makes a call. What has no ``loop`` given and was never used may be carried over a fork.

    Closing interrupts the calls in flight through the very clock that enforces their deadline, so
    there is one way out of a call that has to end early, whatever it is waiting for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._is_bound = loop is not None
        self._loop = loop or running_loop()
        self._forks = len(_forks)
        self._in_flight: set[asyncio.Timeout] = set()
        self._drained = asyncio.Event()
        self._drained.set()
        self.closed = False

    async def run(self, attempt: Attempt, request: HttpRequest) -> HttpResponse:
        """Await the attempt until the deadline, and say what is proved if it does not end well."""
        request.progress.phase = "pool"
        self._refuse_strangers()
        if request.timeout <= 0:  # or a pooled connection would take the code before the clock is looked at
            raise RequestTimeout("pool", request.timeout)
        clock = asyncio.timeout(None)
        loop = asyncio.get_running_loop()
        call = Call(request, loop.time() + request.timeout)
        timer = loop.call_at(call.deadline, self._expire, clock, call)
        self._in_flight.add(clock)
        self._drained.clear()
        try:
            async with clock:
                answer = await attempt(call)
        except TimeoutError:
            timeout = RequestTimeout(request.progress.phase, request.timeout)
            answer = call.answer_without_body or timeout
        finally:
            timer.cancel()
            self._in_flight.discard(clock)
            if not self._in_flight:
                self._drained.set()
        if isinstance(answer, HttpResponse):
            return answer
        if self.closed and isinstance(answer, TransportError) and not isinstance(answer, TransportClosed):
            answer = _closed_in(request.progress.phase)
        raise answer

    def _expire(self, clock: asyncio.Timeout, call: Call) -> None:
        """The time is up. Where somebody held the loop meanwhile, what came in time is still to be read."""
        now = asyncio.get_running_loop().time()
        may_have_come = call.request.progress.phase in {"send", "wait", "read"}
        is_late = now - call.deadline > _MAX_TIMER_DELAY and may_have_come
        if not self.closed and not clock.expired():
            clock.reschedule(now + _TIME_TO_READ if is_late else now)

    async def close(self) -> None:
        """Refuse new calls, end those in flight, and return when the last one is out."""
        self.closed = True
        if not self.is_at_home():  # the calls of another process or loop are not ours to end
            return
        for clock in self._in_flight:
            if not clock.expired():
                clock.reschedule(asyncio.get_running_loop().time())
        await self._drained.wait()

    def is_at_home(self) -> bool:
        """Whether this is the loop and the process that the transport belongs to."""
        running = running_loop()
        return running is not None and self._loop is running and self._forks == len(_forks)

    def _refuse_strangers(self) -> None:
        if self.closed:
            raise _closed_in("pool")
        if self._forks != len(_forks):
            if self._is_bound:
                problem = "the transport was opened before a fork; open one per process"
                raise TransportClosed("pool", problem)
            self._loop, self._forks = None, len(_forks)
        running = running_loop()
        if running is None:
            raise TransportError("pool", "no event loop runs here; run the call with asyncio.run()")
        if self._loop not in {None, running}:
            raise TransportClosed("pool", "the transport was opened on another event loop; open one per loop")
        if asyncio.current_task() is None:  # a deadline needs one
            raise TransportError("pool", "no task runs here; wrap the call in asyncio.create_task()")
        self._loop, self._is_bound = running, True


def _closed_in(phase: Phase) -> TransportClosed:
    return TransportClosed(phase, "the transport is closed")
