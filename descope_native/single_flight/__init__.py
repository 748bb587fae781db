"""One sign-in, however often it is submitted: one call for all who bring the same proof.

    single_flight = SingleFlight()  # one per process, or with a store for all of them:
    single_flight = SingleFlight(store=RedisStore(redis.asyncio.Redis(host="…")))
    finisher = NativeOAuthFinisher("P2…", transport, single_flight=single_flight)

A phone whose connection drops after its code has left it sends the code again; people tap twice; proxies
repeat. A code that reaches the service twice is refused, and what the first one gave may be revoked
(RFC 6749 §4.1.2). Here the second submit gets what the first one got.
"""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any, Literal, TypeVar, cast, get_args

from descope_native._clock import running_loop
from descope_native._numbers import is_count, is_positive
from descope_native.errors import (
    InvalidRequestError,
    Outcome,
    RequestTimeout,
    TransportClosed,
    TransportError,
)
from descope_native.single_flight._claims import CLAIM_TIME, Claim, Terms
from descope_native.single_flight._flights import Codec, Flight, How, Ticket, Told, unwrap, wake
from descope_native.single_flight._memory import Memory
from descope_native.single_flight._redis import RedisStore
from descope_native.single_flight._sealing import Seal, require_cryptography
from descope_native.single_flight._stores import Found, MemoryStore, Store

__all__ = ["Codec", "Found", "How", "MemoryStore", "RedisStore", "SingleFlight", "Store", "Ticket"]

T = TypeVar("T")

_WhenStoreFails = Literal["send", "refuse"]


class SingleFlight:
    """One call for all who bring the same proof, at the same time or soon after each other.

    The same proof means the same project, provider, state, and code or id token.

    **In flight.** Whoever brings a proof whose call is under way waits for that call, within a deadline of
    its own. The call ends by the deadline of whoever came first. It is a task of its own, so neither that
    caller's cancellation nor another's ends it while anybody waits for it or its result is to be remembered;
    closing the transport does.

    **Afterwards**, for ``remember`` seconds, a session is given again without a call, and an error whose
    outcome is ``REJECTED`` or ``UNKNOWN`` is raised again. After that, until ten minutes are over, the proof
    is still not sent: a `TransportError` with outcome ``UNKNOWN`` says that it was. Whatever proves that the
    proof is still good (``NOT_SENT``, or ``safe_to_retry`` as for a rate limit) is forgotten at once; where a
    store fails just then, that proof counts as sent.

    **Across workers**, with a ``store``: one claims the proof and sends it, the others ask the store for
    the result, ten times a second at most, within their deadlines. Where a worker dies before it has told
    its result, nobody sends the proof again: the others raise ``UNKNOWN`` once that worker's time was up.

    **Security.** For ``remember`` seconds the same proof gives the same session again *to whoever holds it*.
    This is what an idempotency key is. The service alone would refuse the second submit, so what somebody
    has copied on its way or from a log is worth ``remember`` seconds more. State and code are single-use
    secrets that travel over TLS, so 30 seconds are a fair price for people who are not signed out by a bad
    connection. Set ``remember=0`` where proofs may be seen by others, and do log no request bodies.
    A store learns nothing. Its keys are a keyed hash of the proof (HKDF-SHA256), what it holds is
    encrypted and authenticated (AES-256-GCM) with a key that is derived from the proof and kept nowhere.
    Who can write to it can make proofs go out twice or not at all, and can store a session of their own
    making for a proof of their own making: protect writing to it as you protect your own session store.

    It belongs to the event loop that uses it first. Several finishers may share one.

    Args:
        remember: seconds, 0 to 600. With 0, calls in flight are joined, nothing is kept afterwards, and a
            call that nobody waits for any more is cancelled; that cannot be combined with a store.
        store: where workers meet, `RedisStore` for example. Needs the extra ``redis``.
        store_timeout: seconds that the store may take away from a call, in all, before it is held to be away.
        max_entries: how many results are remembered in this process; beyond that the oldest are forgotten.
        when_store_fails: what happens to a proof where the store cannot be asked. ``send``: it goes out
            unguarded, with a warning in the log. ``refuse``: the call fails as ``NOT_SENT``.

    Raises:
        InvalidRequestError: an argument cannot be right.
        ModuleNotFoundError: there is a store, and the extra ``redis`` is not installed.
    """

    def __init__(
        self,
        *,
        remember: float = 30.0,
        store: Store | None = None,
        store_timeout: float = 0.5,
        max_entries: int = 10_000,
        when_store_fails: _WhenStoreFails = "send",
    ) -> None:
        if remember is False or (remember != 0 and not (is_positive(remember) and remember <= CLAIM_TIME)):
            raise InvalidRequestError("remember must be seconds, 0 to 600")
        if not is_positive(store_timeout):
            raise InvalidRequestError("store_timeout must be seconds, more than 0")
        if not is_count(max_entries, 1):
            raise InvalidRequestError("max_entries must be a whole number, 1 at least")
        if when_store_fails not in get_args(_WhenStoreFails):
            raise InvalidRequestError("when_store_fails must be 'send' or 'refuse'")
        if store is not None:
            if not all(callable(getattr(store, name, None)) for name in ("claim", "settle", "release")):
                raise InvalidRequestError("store must have claim(), settle() and release()")
            if not remember:
                raise InvalidRequestError(
                    "a store is for results that are remembered: remember must not be 0"
                )
            require_cryptography()
        self._remember = float(remember)
        self._store_timeout = float(store_timeout)
        refuses = when_store_fails == "refuse"
        self._terms = None if store is None else Terms(store, float(store_timeout), float(remember), refuses)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flights: dict[bytes, Flight[Any]] = {}
        self._closing: set[Flight[Any]] = set()
        self._memory = Memory(self._remember, max_entries)

    async def run(
        self,
        proof: bytes,
        send: Callable[[], Awaitable[T]],
        ticket: Ticket,
        *,
        deadline: float,
        codec: Codec[T],
    ) -> T:
        """What ``send`` returns or raises, called once for all who bring this proof.

        Args:
            proof: what identifies it, unambiguously. It is hashed at once.
            send: makes the call. It runs in a task of its own, and keeps the deadline.
            ticket: is filled in for the log.
            deadline: when this caller gives up, by the loop's clock.
            codec: how a result goes through a store.

        Raises:
            RequestTimeout: the deadline passed while somebody else's call was waited for.
            TransportError: what came of somebody else's call cannot be known.
            Exception: whatever ``send`` raises.
        """
        loop = self._bind()
        seal = Seal.of(proof) if self._terms else None
        key = seal.name if seal else blake2b(proof).digest()
        del proof
        seconds = max(deadline - loop.time(), 0.0)
        while True:
            kept: Told[T] | None = self._memory.get(key)
            if kept is not None:
                ticket.how = "replayed"
                return unwrap(kept.anew("read"))
            flight: Flight[T] | None = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = Flight(ticket.phase, deadline)
                claim = Claim(self._terms, seal, codec) if self._terms and seal else None
                flight.task = loop.create_task(self._fly(key, flight, send, claim))
                await self._wait(loop, flight, ticket, None)
                return unwrap(cast("Told[T]", flight.told))  # it is set before the flight lands
            ticket.how = "joined"
            await self._wait(loop, flight, ticket, deadline)
            if flight.told is None:
                raise RequestTimeout("wait", seconds)
            if _is_for_all(flight.told) or loop.time() >= deadline:
                return unwrap(flight.told.anew(flight.phase()))

    async def _wait(
        self, loop: asyncio.AbstractEventLoop, flight: Flight[T], ticket: Ticket, until: float | None
    ) -> None:
        """Until the flight has landed or, for who has joined it, until then."""
        waiter: asyncio.Future[None] = loop.create_future()
        flight.waiters.append(waiter)
        timer = None if until is None else loop.call_at(until, wake, waiter)
        if flight.told is not None:  # at once, where tasks start eagerly
            wake(waiter)
        try:
            await waiter
        finally:
            flight.waiters.remove(waiter)
            if timer is None:
                ticket.how = flight.how
            else:
                timer.cancel()
            if flight.told is None:
                self._leave(flight, ticket)

    def _leave(self, flight: Flight[Any], ticket: Ticket) -> None:
        if flight.waiters or self._remember:
            ticket.goes_on = True
        else:
            flight.is_abandoned = True
            flight.task.cancel()

    async def _fly(
        self,
        key: bytes,
        flight: Flight[T],
        send: Callable[[], Awaitable[T]],
        claim: Claim[T] | None,
    ) -> None:
        try:
            told: Told[T] | None = None if claim is None else await claim.obtain(flight)
            is_ours = told is None
            if told is None:
                try:
                    told = Told(await send())
                except Exception as error:  # noqa: BLE001 -- it is raised where the call was made
                    told = Told(error=error)
            self._tell(key, flight, told, keep=is_ours)  # or the worker whose it is remembers it
            if claim is not None and claim.may_be_stored:
                await self._close(claim, flight)
        finally:
            if flight.told is None:
                ended = TransportError(flight.phase(), "the call was ended from outside")
                told = Told(error=ended, is_for_all=not flight.is_abandoned)
                self._tell(key, flight, told, keep=True)
            flight.land()

    def _tell(self, key: bytes, flight: Flight[T], told: Told[T], *, keep: bool) -> None:
        flight.told = told
        del self._flights[key]
        if keep and self._remember and not told.is_forgotten:
            self._memory.keep(key, told if told.error is None else told.anew(flight.phase()))

    async def _close(self, claim: Claim[T], flight: Flight[T]) -> None:
        """Store what was told. Those who wait are kept waiting for that, but not for a slow store."""
        told = cast("Told[T]", flight.told)
        loop = asyncio.get_running_loop()
        left = min(self._store_timeout - claim.seconds_used, flight.deadline - loop.time())
        timer = loop.call_later(left, flight.land)
        self._closing.add(flight)  # or nobody might hold the task
        try:
            await claim.close(told)
        finally:
            self._closing.discard(flight)
            timer.cancel()

    def _bind(self) -> asyncio.AbstractEventLoop:
        running = running_loop()
        if running is None:
            raise TransportError("pool", "no event loop runs here; run the call with asyncio.run()")
        if self._loop is None:
            self._loop = running
        elif self._loop is not running:
            raise TransportClosed("pool", "the SingleFlight belongs to another event loop; make one per loop")
        return running


def _is_for_all(told: Told[Any]) -> bool:
    """Whether no caller can get more than this: not where nothing was sent, as its caller's time was up or
    the transport was closed.
    """
    is_early = (
        isinstance(told.error, RequestTimeout | TransportClosed) and told.error.outcome is Outcome.NOT_SENT
    )
    return told.is_for_all and not is_early
