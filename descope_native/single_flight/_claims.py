"""How one worker comes to send a proof that all workers share, or not to."""

import asyncio
import logging
import os
import random
import struct
from collections.abc import Coroutine
from typing import Any, Final, Generic, TypeVar

import attrs

from descope_native.errors import ConnectError, Phase, RequestTimeout, TransportError
from descope_native.single_flight._flights import Codec, Flight, Told, unseal
from descope_native.single_flight._sealing import Seal
from descope_native.single_flight._stores import SPENT, Found, Store

T = TypeVar("T")
Answer = TypeVar("Answer")

_log: Final = logging.getLogger("descope_native")

CLAIM_TIME: Final = 600.0
"""Seconds for which no proof goes out again once it may have been sent: more than any is good for."""

_PAUSE: Final = 0.1
"""Seconds between two questions about one proof, at least; up to half as much again is added at random."""

_MARK: Final = struct.Struct(">16sd")  # what tells claims apart, and the seconds after which one is overdue


@attrs.frozen
class Terms:
    """What a `SingleFlight` was told about its store."""

    store: Store
    timeout: float
    remember: float
    refuses: bool


@attrs.define
class Claim(Generic[T]):
    """One worker's claim to one proof, from before it is made until what came of it is stored.

    Attributes:
        may_be_stored: the store has accepted the claim, or its answer was lost.
        seconds_used: what the store has taken to grant it.
    """

    _terms: Terms
    _seal: Seal
    _codec: Codec[T] = attrs.field(repr=False)
    _mark: bytes = attrs.field(init=False, default=b"")
    _is_sure: bool = attrs.field(init=False, default=False)
    may_be_stored: bool = attrs.field(init=False, default=False)
    seconds_used: float = attrs.field(init=False, default=0.0)

    async def obtain(self, flight: Flight[T]) -> Told[T] | None:
        """None where this worker is to send the proof, else what there is to tell instead."""
        loop = asyncio.get_running_loop()
        terms, own_phase, seconds = self._terms, flight.phase, max(flight.deadline - loop.time(), 0.0)
        # Never one that was used before: a store that was slow may still carry out its release.
        self._mark = _MARK.pack(os.urandom(16), seconds + terms.timeout)
        is_waiting = False
        while True:
            asked = loop.time()
            found, trouble = await _ask(self._ask_for_it(), min(terms.timeout, flight.deadline - asked))
            self.seconds_used = loop.time() - asked
            if found is not None and found.claim == self._mark and found.result is None:
                flight.how, flight.phase = "led", own_phase
                self.may_be_stored = self._is_sure = True
                return None
            if found is None and not is_waiting:
                self.may_be_stored = True  # the answer may have been lost, not the question
                return self._without_store(trouble, seconds, is_late=loop.time() >= flight.deadline)
            told = found and self._read(found)
            if told:
                flight.how = "joined" if is_waiting else "replayed"
                return told
            # Another worker has it. Once that is known, it is not sent from here while that claim stands.
            is_waiting, flight.how, flight.phase = True, "joined", _elsewhere
            left = flight.deadline - loop.time()
            if left <= 0 or not flight.waiters:
                return Told(error=RequestTimeout("wait", seconds), is_for_all=False)
            await asyncio.sleep(min(_PAUSE * random.uniform(1, 1.5), left))  # noqa: S311 -- spreads load

    async def close(self, told: Told[T]) -> None:
        """Store what came of it or, where the proof is still good, let go of it. Never raises."""
        if told.is_forgotten:
            closing = self._release()
        elif self._is_sure or told.error is None:
            closing = self._settle(told)
        else:  # another worker may have done better
            return
        _, trouble = await _ask(closing, self._terms.timeout)
        if trouble:
            _log.warning("single flight: the store failed (%s); other workers are not told", trouble)

    async def _ask_for_it(self) -> Found:
        """Here and not where it is asked, so that whatever a store does is trouble with the store."""
        found: object = await self._terms.store.claim(self._seal.name, self._mark, CLAIM_TIME)
        if not (
            isinstance(found, Found)
            and isinstance(found.claim, bytes | None)
            and isinstance(found.age, int | float)
            and isinstance(found.result, bytes | None)
        ):
            raise TypeError
        return found

    async def _release(self) -> None:
        await self._terms.store.release(self._seal.name, self._mark)

    async def _settle(self, told: Told[T]) -> None:
        sealed = told.seal(self._seal, self._codec)
        await self._terms.store.settle(self._seal.name, sealed, self._terms.remember, CLAIM_TIME)

    def _without_store(self, trouble: str, seconds: float, *, is_late: bool) -> Told[T] | None:
        if is_late:
            return Told(error=RequestTimeout("pool", seconds), is_for_all=False)
        if self._terms.refuses:
            problem = f"the store of single flight failed ({trouble}), so nothing was sent"
            return Told(error=ConnectError("other", problem))
        _log.warning("single flight: the store failed (%s); the proof goes out unguarded", trouble)
        return None

    def _read(self, found: Found) -> Told[T] | None:
        """What another worker has told, or that it will not, or None while it still may."""
        if found.result is not None:
            told = unseal(found.result, self._seal, self._codec)
            return told or Told(error=_lost("what another worker told of it cannot be read"))
        if found.claim == SPENT:
            return Told(error=spent())
        try:
            _, overdue = _MARK.unpack(found.claim or b"")
        except struct.error:
            return Told(error=_lost("the claim of another worker cannot be read"))
        if found.age < overdue:
            return None
        return Told(error=_lost("the worker that had it never told what came of it"))


def spent() -> TransportError:
    """The error for a proof whose result has expired."""
    return _lost("what came of it is no longer remembered")


def _lost(why: str) -> TransportError:
    return TransportError("read", f"the proof was submitted before, and {why}; start the sign-in again")


def _elsewhere() -> Phase:
    """The phase of a call that another worker makes."""
    return "wait"


async def _ask(asking: Coroutine[Any, Any, Answer], seconds: float) -> tuple[Answer | None, str]:
    """What the store answers, or the kind of failure. Whatever it raises costs nobody a session.

    It is asked in a task of its own, which is not waited for once the time is up: a client may take long to
    notice that it is cancelled. redis-py 5.0 does, where a connection is being made.
    """
    task = asyncio.create_task(asking)
    _asked.add(task)
    task.add_done_callback(_forget)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
    if not task.done():
        return None, "TimeoutError"
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    return (task.result(), "") if error is None else (None, type(error).__name__)


_asked: Final[set[asyncio.Task[Any]]] = set()
"""Until they are done, since the event loop itself holds no task."""


def _forget(task: asyncio.Task[Any]) -> None:
    _asked.discard(task)
    if not task.cancelled():
        task.exception()  # or asyncio would complain that nobody looked
