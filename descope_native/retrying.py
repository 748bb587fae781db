"""When the same code may go out again, and how long to wait before it does."""

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

import attrs

from descope_native._clock import now
from descope_native._numbers import is_count, is_positive
from descope_native.errors import (
    DescopeNativeError,
    InvalidRequestError,
    RateLimitedError,
    RejectedError,
)

if TYPE_CHECKING:
    from tenacity import RetryCallState

__all__ = ["Retry"]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Retry:
    """Send the same code again where that is proved safe, and nowhere else.

    It looks at ``safe_to_retry`` and stays inside the call's deadline. A code that is sent too late
    for its answer is lost, so the error is raised at once where the next wait would leave less time
    than the last attempt took, or less than a tenth of the deadline. Waits are exponential with full
    jitter; a rate limit's ``retry_after`` is waited for in full, and a rate limit without one is not
    tried again. 421 and 425 are tried again once. Where the service refused the code at first, and
    then could not be reached, that refusal is raised.

    Needs tenacity: ``pip install 'descope_native[retry]'``.

    Attributes:
        attempts: how often the code may go out in all, the first time included.
        initial: the longest first wait, in seconds; it doubles from wait to wait.
        maximum: the longest wait, in seconds.
        sleep: awaited for each wait; tests pass their own.
        clock: seconds that never go back, the event loop's unless given; it must be the clock that
            ``sleep`` moves.

    Raises `InvalidRequestError` for numbers that cannot be right, ``ModuleNotFoundError`` without
    tenacity.
    """

    attempts: int = 3
    initial: float = 0.2
    maximum: float = 5.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = now

    def __attrs_post_init__(self) -> None:
        if not is_count(self.attempts, 1):
            raise InvalidRequestError("attempts must be a whole number, 1 at least")
        waits = is_positive(self.initial) and is_positive(self.maximum)
        if not waits or self.initial > self.maximum:
            raise InvalidRequestError("initial and maximum must be seconds, 0 < initial <= maximum")
        try:
            import_module("tenacity")  # an extra, looked for when it is asked for
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "Retry needs tenacity: pip install 'descope_native[retry]'", name="tenacity"
            ) from None

    async def run(self, attempt: Callable[[], Awaitable[T]], timeout: float) -> T:
        """Await ``attempt`` until it ends well, may not be repeated, or ``timeout`` seconds leave no room."""
        import tenacity  # noqa: PLC0415 -- an extra

        began = self.clock()
        deadline = began + timeout
        needed = timeout / 10  # for the next attempt
        failed: DescopeNativeError | None = None
        jitter = tenacity.wait_random_exponential(multiplier=self.initial, max=self.maximum)
        refusals = 0

        def may_repeat(state: "RetryCallState") -> bool:
            nonlocal failed, needed, refusals
            failed = _error_of(state)
            needed = max(self.clock() - began, timeout / 10)
            refusals += isinstance(failed, RejectedError) and not isinstance(failed, RateLimitedError)
            return failed is not None and _may_be_repeated(failed) and refusals <= 1

        def wait(state: "RetryCallState") -> float:
            pause: float = jitter(state)
            if isinstance(failed, RateLimitedError) and failed.retry_after is not None:
                slack = max(deadline - needed - self.clock() - failed.retry_after, 0.0)
                return failed.retry_after + min(pause, slack / 2)
            return pause

        def is_too_late(pause: float = 0.0) -> bool:
            return self.clock() + pause + needed > deadline

        def is_over(state: "RetryCallState") -> bool:
            return state.attempt_number >= self.attempts or is_too_late(state.upcoming_sleep)

        async for each in tenacity.AsyncRetrying(
            retry=may_repeat,
            wait=wait,
            stop=is_over,
            sleep=self.sleep,
            reraise=True,
        ):
            if failed is not None and is_too_late():  # the wait took longer than it was meant to
                raise failed
            began = self.clock()
            with each:
                return await attempt()
        raise AssertionError  # pragma: no cover -- tenacity ends with a result or the last error


def _error_of(state: "RetryCallState") -> DescopeNativeError | None:
    error = state.outcome and state.outcome.exception()
    return error if isinstance(error, DescopeNativeError) else None


def _may_be_repeated(error: DescopeNativeError) -> bool:
    wait_is_unknown = isinstance(error, RateLimitedError) and error.retry_after is None
    return error.safe_to_retry and not wait_is_unknown
