"""Keeps one connection ready for each origin, so that a rare call needs no handshake."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
from yarl import URL

from descope_native._clock import now
from descope_native.errors import TransportError
from descope_native.transports._aiohttp.idle import IdleLimits, Rest

_log: Final = logging.getLogger("descope_native")

_LEAD: Final = 5.0
"""Seconds before the newest connection becomes too old at which the next one is opened; a fifth of its time
where that is less."""

_LOOK_EVERY: Final = 1.0
_SHORT_LIFE: Final = 2.0
_MAX_PAUSE: Final = 60.0
"""Seconds. Where a connection could not be opened, or nobody used it and its peer closed it or it lived
shorter than this, the pause before the next one doubles up to this."""

_WARN_AFTER: Final = 10
"""Failures in a row, some minutes, after which the log is told once."""


@attrs.define(eq=False)
class _Origin:
    newest: Rest
    opened: Rest | None = None
    """The last one that was opened here, until it is known how it ended."""
    pause: float = 0.0

    def lengthen_pause(self) -> None:
        self.pause = min(max(self.pause * 2, 1.0), _MAX_PAUSE)


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

    def note_rest(self, url: URL, rest: Rest) -> None:
        """A connection to this URL waits in the pool from now on."""
        if self._is_closed:
            return
        origin = url.origin()
        state = self._origins.get(origin)
        if state is None:
            state = self._origins[origin] = _Origin(rest)
            self._tasks.append(asyncio.create_task(self._keep(url, origin, state)))
        state.newest = rest
        state.pause = 0.0

    async def close(self) -> None:
        self._is_closed = True  # or a call that ends meanwhile would begin another task
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, url: URL, origin: URL, state: _Origin) -> None:
        failures = 0
        while True:
            await self._until_none_is_ready(origin, state)
            newest = state.newest
            if newest is state.opened:
                state.opened = None
                has_lived = not newest.has_ended and now() - newest.since >= _SHORT_LIFE
                if newest.is_taken or has_lived:
                    state.pause = 0.0
                else:
                    state.lengthen_pause()
            await asyncio.sleep(state.pause)
            if self._ready_for(origin, state) > 0:  # a call has brought one meanwhile
                continue
            try:
                state.newest = state.opened = await self._open_one(url)
            except TransportError as error:
                state.lengthen_pause()
                failures += 1
                if failures == _WARN_AFTER:
                    _log.warning("no connection to %s can be kept warm (%s)", origin, type(error).__name__)
            else:
                failures = 0

    async def _until_none_is_ready(self, origin: URL, state: _Origin) -> None:
        while True:
            newest = state.newest
            left = self._ready_for(origin, state)
            await asyncio.sleep(min(left, _LOOK_EVERY) if left > 0 else newest.is_taken * _LOOK_EVERY)
            # A call that has it gives it back as a rule.
            if left <= 0 and state.newest is newest:
                return

    def _ready_for(self, origin: URL, state: _Origin) -> float:
        """Seconds; none where the newest connection is not ready."""
        rest = state.newest
        if rest.is_taken or rest.has_ended:
            return 0.0
        limit = self._limits.usable_for(origin)
        return rest.since + limit - min(_LEAD, limit / 5) - now()
