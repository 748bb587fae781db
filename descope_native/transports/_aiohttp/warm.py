"""Keeps one connection ready for each origin, so that a rare call needs no handshake."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final
from weakref import WeakSet

import attrs
from yarl import URL

from descope_native._clock import now
from descope_native.errors import TransportError
from descope_native.transports._aiohttp.idle import IdleLimits, Rest

_log: Final = logging.getLogger("descope_native")

_LEAD: Final = 5.0
"""Seconds before the youngest connection becomes too old at which the next one is opened; a fifth of its time
where that is less."""

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks at a connection."""

_SHORT_LIFE: Final = 2.0
"""Seconds. A connection that nobody used and that was closed sooner counts as failed."""

_MAX_PAUSE: Final = 60.0
"""Seconds. The pause doubles after each failure, up to this."""

_WARN_AFTER: Final = 10
"""Failures in a row, of either kind, after which the log is told once. It takes some minutes."""


@attrs.define(eq=False)
class _Origin:
    pooled: WeakSet[Rest] = attrs.field(factory=WeakSet[Rest])
    """Nothing else holds the rest of a connection that a call has taken."""
    newest: Rest | None = None
    opened: Rest | None = None
    """The last one that was opened here, until it is known how it ended."""
    pause: float = 0.0
    failures: int = 0

    def add(self, rest: Rest) -> None:
        self.pooled.add(rest)
        self.newest = rest

    def succeed(self) -> None:
        self.opened = None
        self.pause = 0.0
        self.failures = 0

    def fail(self) -> None:
        self.opened = None
        self.pause = min(max(self.pause * 2, 1.0), _MAX_PAUSE)
        self.failures += 1


class WarmKeeper:
    """One task for each origin. It opens a connection where none is ready, one at a time.

    Args:
        open_one: opens a connection to the origin of a URL and parks it. Raises `TransportError`.
        limits: tell how long a connection stays usable.
    """

    def __init__(self, open_one: Callable[[URL], Awaitable[Rest]], limits: IdleLimits) -> None:
        self._open_one = open_one
        self._limits = limits
        self._origins: dict[URL, _Origin] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._is_closed = False

    def keep(self, url: URL, rest: Rest | None = None) -> None:
        """Keep one ready for the origin of this URL. This one waits in the pool from now on, if any does."""
        if self._is_closed:
            return
        origin = url.origin()
        state = self._origins.get(origin)
        if state is None:
            state = self._origins[origin] = _Origin()
            self._tasks.append(asyncio.create_task(self._keep(url, origin, state)))
        if rest is not None:
            state.add(rest)
            state.succeed()

    async def close(self) -> None:
        self._is_closed = True  # or a call that ends meanwhile would begin another task
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, url: URL, origin: URL, state: _Origin) -> None:
        while True:
            await self._until_none_is_ready(origin, state)
            if state.opened is not None:
                self._judge(state.opened, origin, state)
            await asyncio.sleep(state.pause)
            if self._ready_for(origin, state) > 0:  # a call has brought one meanwhile
                continue
            try:
                state.opened = await self._open_one(url)
            except TransportError as error:
                self._fail(origin, state, type(error).__name__)
            else:
                state.add(state.opened)

    def _judge(self, opened: Rest, origin: URL, state: _Origin) -> None:
        """See how the last one that was opened here has ended."""
        has_lived = not opened.has_ended and now() - opened.since >= _SHORT_LIFE
        if opened.is_taken or has_lived:
            state.succeed()
        else:
            self._fail(origin, state, "each ends soon")

    def _fail(self, origin: URL, state: _Origin, problem: str) -> None:
        state.fail()
        if state.failures == _WARN_AFTER:
            _log.warning("no connection to %s can be kept warm (%s)", origin, problem)

    async def _until_none_is_ready(self, origin: URL, state: _Origin) -> None:
        while True:
            newest = state.newest
            left = self._ready_for(origin, state)
            # A call that has it gives it back as a rule.
            wait = _LOOK_EVERY if newest is None or newest.is_taken else 0.0
            await asyncio.sleep(min(left, _LOOK_EVERY) if left > 0 else wait)
            if left <= 0 and state.newest is newest:
                return

    def _ready_for(self, origin: URL, state: _Origin) -> float:
        """Seconds; none where no connection is ready."""
        limit = self._limits.usable_for(origin)
        young_since = now() - limit + min(_LEAD, limit / 5)
        left = [rest.since - young_since for rest in state.pooled if not (rest.is_taken or rest.has_ended)]
        return max(left, default=0.0)
