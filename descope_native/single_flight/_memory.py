"""What one process remembers of proofs whose call is over."""

import asyncio
from collections import OrderedDict
from itertools import islice
from typing import Any, Final

from descope_native.single_flight._claims import CLAIM_TIME, spent
from descope_native.single_flight._flights import Told


class Memory:
    """What came of a proof, for some seconds, and after that for ten minutes in all that it was spent.

    Everything is kept equally long, so both tables are in the order in which things end, and one timer, for
    what ends next, will do. It is a timer of the loop's, and ends with it.
    """

    def __init__(self, seconds: float, max_entries: int) -> None:
        self._seconds: Final = seconds
        self._max_entries: Final = max_entries
        self._told: Final[OrderedDict[bytes, tuple[float, Told[Any]]]] = OrderedDict()
        self._spent: Final[OrderedDict[bytes, float]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def get(self, key: bytes) -> Told[Any] | None:
        if (found := self._told.get(key)) is not None:
            return found[1]
        return Told(error=spent()) if key in self._spent else None

    def keep(self, key: bytes, told: Told[Any]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds
        self._told[key] = until, told
        if len(self._told) + len(self._spent) > self._max_entries:
            (self._spent or self._told).popitem(last=False)
        if self._timer is None:
            self._timer = loop.call_at(until, self._forget, loop)

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        while self._told and next(iter(self._told.values()))[0] <= now:
            key, (until, _) = self._told.popitem(last=False)
            self._spent[key] = until - self._seconds + CLAIM_TIME
        while self._spent and next(iter(self._spent.values())) <= now:
            self._spent.popitem(last=False)
        ends = [until for until, _ in islice(self._told.values(), 1)] + list(islice(self._spent.values(), 1))
        self._timer = loop.call_at(min(ends), self._forget, loop) if ends else None
