"""Where workers meet: what a store has to do, and the one that is memory."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

import attrs

from descope_native._numbers import is_count
from descope_native.errors import InvalidRequestError

SPENT: Final = b""
"""The claim on a key whose result was stored, also after the result has expired."""


@attrs.frozen
class Found:
    """What a store holds under a key.

    Attributes:
        claim: the claim that holds the key; the caller's own where the caller has it.
        age: seconds since that claim was made, by the store's clock.
        result: the result, if there is one.
    """

    claim: bytes | None
    age: float
    result: bytes | None = attrs.field(default=None, repr=False)


class Store(Protocol):
    """What workers share. Anything with these three methods is a store.

    Keys, claims and results are bytes that mean nothing to a store. Whoever writes one owes the caller that

    * each method is atomic, whoever calls at the same time from other processes and machines;
    * what was acknowledged is kept until its time is up, by one clock for all callers;
    * a method that is called again with the same arguments, because its answer was lost, does no harm;
    * failures are raised, of whatever type.

    `SingleFlight` bounds how long it waits for each of them, and cancels what takes longer.
    """

    async def claim(self, key: bytes, claim: bytes, seconds: float, /) -> Found:
        """Claim the key for ``seconds`` if it has neither claim nor result, and say what is there now."""
        ...

    async def settle(self, key: bytes, result: bytes, seconds: float, spent: float, /) -> None:
        """Keep the result for ``seconds``, and replace any claim by an empty one for ``spent`` seconds."""
        ...

    async def release(self, key: bytes, claim: bytes, /) -> None:
        """Forget this claim. Another claim, or none, is left as it is."""
        ...


@attrs.define
class _Entry:
    claim: bytes
    claimed: float
    claimed_until: float
    result: bytes | None = attrs.field(default=None, repr=False)
    result_until: float = 0.0


class MemoryStore:
    """A store for one process, for tests and for several `SingleFlight` on one event loop.

    One `SingleFlight` alone needs none: it remembers by itself.

    Args:
        max_entries: how many keys are kept; beyond that the oldest are forgotten.
        clock: seconds that never go back.
    """

    def __init__(self, *, max_entries: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        if not is_count(max_entries, 1):
            raise InvalidRequestError("max_entries must be a whole number, 1 at least")
        self._max_entries = max_entries
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    # Nothing is awaited, so each method is atomic on its loop.
    async def claim(self, key: bytes, claim: bytes, seconds: float, /) -> Found:
        now = self._clock()
        entry = self._entry(key, now)
        if entry is None:
            entry = self._keep(key, _Entry(claim, now, now + seconds))
        return Found(entry.claim, now - entry.claimed, entry.result)

    async def settle(self, key: bytes, result: bytes, seconds: float, spent: float, /) -> None:
        now = self._clock()
        self._keep(key, _Entry(SPENT, now, now + spent, result, now + seconds))

    async def release(self, key: bytes, claim: bytes, /) -> None:
        entry = self._entries.get(key)
        if entry is not None and entry.claim == claim:
            del self._entries[key]

    def _entry(self, key: bytes, now: float) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.result_until <= now:
            entry.result = None
        return entry if entry.result is not None or entry.claimed_until > now else None

    def _keep(self, key: bytes, entry: _Entry) -> _Entry:
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
        return entry
