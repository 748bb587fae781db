"""How long a connection may idle before it is used again: shorter than its peer keeps it."""

import re
from collections.abc import Iterable
from typing import Final

import attrs
from yarl import URL

from descope_native._clock import now

_FORGET: Final = 600.0
"""Seconds that a learned limit counts. It may have been a deploy, which closes all connections at once."""

_MIN_LEARNED: Final = 0.2
"""Seconds. What is closed earlier was not closed for idling."""

_SHARE: Final = 0.9
_TRANSIT: Final = 0.05
"""A connection is reused for 90 % of the peer's idle timeout, less 0.05 s for the request to arrive."""

_TIMEOUT: Final = re.compile(r"(?:^|[,;\s])timeout\s*=\s*\"?(\d{1,9})", re.ASCII | re.IGNORECASE)


@attrs.define
class _Origin:
    announced: float | None = None
    learned: float | None = None
    learned_at: float = 0.0


class IdleLimits:
    """What is known of each origin's idle timeout. It is a guess where it was not told: a limit that was
    seen too low costs a handshake, one that was seen too high a sign-in.

    Args:
        configured: seconds, the limit where an origin shows no lower one.
    """

    def __init__(self, configured: float) -> None:
        self._configured = configured
        self._origins: dict[URL, _Origin] = {}

    def usable_for(self, origin: URL) -> float:
        """The seconds that a connection may have idled and still be used."""
        known = self._origins.get(origin)
        if known is None:
            return self._configured
        if known.learned is not None and now() - known.learned_at > _FORGET:
            known.learned = None
        limits = [limit for limit in (known.announced, known.learned) if limit is not None]
        return min([self._configured, *(max(limit * _SHARE - _TRANSIT, 0.0) for limit in limits)])

    def heed(self, origin: URL, headers: Iterable[tuple[str, str]]) -> None:
        """Take note of ``Keep-Alive: timeout=N``, where an answer has it; the last answer counts."""
        announced = None
        for name, value in headers:
            if len(name) == 10 and name.lower() == "keep-alive" and (found := _TIMEOUT.search(value)):
                announced = float(found[1])
        if announced is not None or origin in self._origins:
            self._origins.setdefault(origin, _Origin()).announced = announced

    def note_closed(self, origin: URL, idle: float) -> None:
        """Learn from a peer that has closed a connection that had idled for these seconds."""
        if not _MIN_LEARNED <= idle < self.usable_for(origin):
            return
        known = self._origins.setdefault(origin, _Origin())
        known.learned, known.learned_at = idle, now()


class Rest:
    """One connection that waits in the pool. It ends when a call takes it, or its peer closes or spoils it.

    Attributes:
        since: by the event loop's clock.
        is_taken: a call has the connection.
        has_ended: the peer has closed it, or said something that nobody asked for.
    """

    def __init__(self, limits: IdleLimits, origin: URL) -> None:
        self._limits = limits
        self._origin = origin
        self.since = now()
        self.is_taken = False
        self.has_ended = False

    @property
    def is_over(self) -> bool:
        """Whether the peer may be about to close it."""
        return now() - self.since > self._limits.usable_for(self._origin)

    def end_by_peer(self) -> None:
        """The peer has closed it. That is learned from once, however often it is told."""
        if self.has_ended:
            return
        self.has_ended = True
        self._limits.note_closed(self._origin, now() - self.since)
