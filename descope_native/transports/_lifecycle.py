"""What every transport shares: who may call, until when, and what an interrupted call has proved."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

from descope_native._numbers import is_count
from descope_native.errors import (
    InvalidRequestError,
    Phase,
    RequestTimeout,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)
from descope_native.transports import HttpRequest, HttpResponse, Progress

_forks: Final[list[None]] = []
"""One for each fork between the start of the program and this process. Asking the system for the
process's id instead would cost every call as much as all the rest of its lifecycle."""

with suppress(AttributeError):  # Windows does not fork
    os.register_at_fork(after_in_child=partial(_forks.append, None))

MAX_BODY: Final = 1024 * 1024
"""Bytes that an answer's body may have, unless set."""


def check_max_body(max_body: int) -> None:
    """Raises `InvalidRequestError` for a limit that cannot be right."""
    if not is_count(max_body, 1):
        raise InvalidRequestError("max_body must be a whole number, 1 at least")


def too_large(status: int, max_body: int) -> UnexpectedResponse:
    """What a 2xx means whose body goes beyond the limit."""
    return UnexpectedResponse(status, f"the answer's body is larger than {max_body} bytes")


_ON_TIME: Final = 0.002
"""Seconds by which a timer may be late though nobody holds the loop: some count in milliseconds."""

_TO_READ: Final = 0.02
"""Seconds to read what came before the deadline, where the loop was held up beyond it."""

Attempt = Callable[[HttpRequest], Awaitable[HttpResponse]]


class Lifecycle:
    """Runs calls under their deadline, on one event loop and in one process, until closed.

    The loop is the one that runs when it is made or, where none does, the first that makes a call.

    Closing interrupts the calls in flight through the very clock that enforces their deadline, so
    there is one way out of a call that has to end early, whatever it is waiting for.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        with suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()
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
        deadline = loop.time() + request.timeout
        timer = loop.call_at(deadline, self._expire, clock, request.progress, deadline)
        self._in_flight.add(clock)
        self._drained.clear()
        try:
            async with clock:
                return await attempt(request)
        except TransportError as error:
            if not self.closed or isinstance(error, TransportClosed):
                raise
            failure: TransportError = _closed_in(request.progress.phase)
        except TimeoutError:
            if request.progress.answer is not None:
                return request.progress.answer
            if self.closed:
                failure = _closed_in(request.progress.phase)
            else:
                failure = RequestTimeout(request.progress.phase, request.timeout)
        finally:
            timer.cancel()
            self._in_flight.discard(clock)
            if not self._in_flight:
                self._drained.set()
        raise failure

    def _expire(self, clock: asyncio.Timeout, progress: Progress, deadline: float) -> None:
        """The time is up. Where somebody held the loop meanwhile, what came in time is still to be read."""
        now = asyncio.get_running_loop().time()
        is_late = now - deadline > _ON_TIME and progress.phase in {"send", "wait", "read"}
        if not self.closed and not clock.expired():
            clock.reschedule(now + _TO_READ if is_late else now)

    async def close(self) -> None:
        """Refuse new calls, end those in flight, and return when the last one is out."""
        self.closed = True
        # The calls of another process or loop are not ours to end; and after a fork no loop runs.
        if self._forks != len(_forks) or self._loop is not (running := asyncio.get_running_loop()):
            return
        for clock in self._in_flight:
            if not clock.expired():
                clock.reschedule(running.time())
        await self._drained.wait()

    def _refuse_strangers(self) -> None:
        if self.closed:
            raise _closed_in("pool")
        if self._forks != len(_forks):
            raise TransportClosed("pool", "the transport was opened before a fork; open one per process")
        running = asyncio.get_running_loop()
        self._loop = self._loop or running
        if self._loop is not running:
            raise TransportClosed("pool", "the transport was opened on another event loop; open one per loop")


def _closed_in(phase: Phase) -> TransportClosed:
    return TransportClosed(phase, "the transport is closed")
