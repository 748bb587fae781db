"""One call, however many wait for it."""

from asyncio import Future, Task
from collections.abc import Callable
from typing import Generic, Literal, Protocol, TypeVar, cast

import attrs

from descope_native.errors import DescopeNativeError, Outcome, Phase
from descope_native.single_flight._sealing import Seal, decode_error, encode_error, fresh

T = TypeVar("T")

How = Literal["led", "joined", "replayed"]
"""How a caller came by what it got: by its own call, by one that was under way, or by one that was over."""


class Codec(Protocol[T]):
    """How a result becomes bytes, and again a result."""

    def encode(self, result: T, /) -> bytes:
        """The result in the wire's own JSON."""
        ...

    def decode(self, text: bytes, /) -> T:
        """The result again. Raises ``ValueError`` for bytes of another version."""
        ...


class Ticket(Protocol):
    """One caller's part in a flight, for its log line.

    Attributes:
        how: is set to how the caller came by what it got.
        goes_on: is set where the caller was cancelled and the call continues.
    """

    how: How | None
    goes_on: bool

    def phase(self) -> Phase:
        """How far the caller's own call has got; asked only where it leads."""
        ...


@attrs.define
class Told(Generic[T]):
    """What came of a call: a result, or an error.

    Attributes:
        is_for_all: what came of it holds for each caller. False where only the time of the first one was up,
            or the call was cancelled because all of its callers had left.
    """

    result: T | None = attrs.field(default=None, repr=False)
    error: Exception | None = None
    is_for_all: bool = True

    @property
    def is_forgotten(self) -> bool:
        """Whether the proof is still good, so that it may go out again at once."""
        error = self.error
        return (
            error is not None
            and isinstance(error, DescopeNativeError)
            and (error.outcome is Outcome.NOT_SENT or error.safe_to_retry)
        )

    def anew(self, phase: Phase) -> "Told[T]":
        """The same for another caller."""
        return self if self.error is None else Told(error=fresh(self.error, phase))

    def seal(self, seal: Seal, codec: Codec[T]) -> bytes:
        if self.error is None:
            return seal.close(b"R" + codec.encode(cast("T", self.result)))
        return seal.close(b"E" + encode_error(fresh(self.error, "wait")))


def unwrap(told: Told[T]) -> T:
    """Return it or raise it. No frame keeps the error, which has that frame in its traceback."""
    error, result = told.error, told.result
    del told
    if error is None:
        return cast("T", result)
    try:
        raise error
    finally:
        del error


def unseal(sealed: bytes, seal: Seal, codec: Codec[T]) -> Told[T] | None:
    """What was sealed, or None if this cannot be read: it was changed, or another version wrote it."""
    text = seal.open(sealed)
    if text is None:
        return None
    if text[:1] == b"R":
        try:
            return Told(codec.decode(text[1:]))
        except ValueError:
            return None
    error = decode_error(text[1:])
    return None if error is None else Told(error=error)


class Flight(Generic[T]):
    """A call that is under way, in a task of its own."""

    __slots__ = ("deadline", "how", "is_abandoned", "phase", "task", "told", "waiters")

    def __init__(self, phase: Callable[[], Phase], deadline: float) -> None:
        self.phase = phase
        self.deadline = deadline
        self.how: How = "led"
        self.is_abandoned = False
        self.told: Told[T] | None = None
        self.task: Task[None]  # once it has started
        self.waiters: list[Future[None]] = []

    def land(self) -> None:
        """Let all who wait go on."""
        for waiter in self.waiters:
            wake(waiter)


def wake(waiter: Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
