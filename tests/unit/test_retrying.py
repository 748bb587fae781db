"""Retry: only what is proved safe goes out again, in time, and never more often than it was told."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from typing import Any

import attrs
import freezegun
import pytest
import time_machine
from kit.errors import NAMES_OF_PROOFS, PROOFS
from kit.support import GOOGLE, PROJECT, Answer, Answering, answering_in_memory, session

from descope_native import (
    ConnectError,
    DescopeNativeError,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    Outcome,
    RateLimitedError,
    RejectedError,
    RequestTimeout,
    Retry,
)


@attrs.define
class Time:
    """A clock that only sleeping moves."""

    now: float = 1000.0
    slept: list[float] = attrs.field(factory=list)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.slept.append(seconds)
        self.now += seconds


def retry(time: Time, **options: Any) -> Retry:
    return Retry(sleep=time.sleep, clock=time.clock, **options)


class Attempts:
    """Raises these errors in turn, and then gives a result."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.count = 0

    async def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


REFUSED = ConnectError("refused", "nobody there")


@pytest.mark.parametrize("make", [make for make, *_ in PROOFS], ids=NAMES_OF_PROOFS)
async def test_only_what_is_safe_goes_out_again(make: Callable[[], DescopeNativeError]) -> None:
    """Every kind of error there is: `safe_to_retry` decides, but for a rate limit whose wait is unknown."""
    error = make()
    wait_is_unknown = isinstance(error, RateLimitedError) and error.retry_after is None
    attempts = Attempts(error)
    running = retry(Time()).run(attempts, 60)
    if error.safe_to_retry and not wait_is_unknown:
        assert await running == "done"
        assert attempts.count == 2
    else:
        with pytest.raises(type(error)) as caught:
            await running
        assert caught.value is error
        assert attempts.count == 1


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), asyncio.CancelledError(), KeyboardInterrupt()]
)
async def test_what_is_not_ours_passes_at_once(error: BaseException) -> None:
    """A mistake, a cancellation, an interrupt: none of them is a reason to send a code again."""
    attempts = Attempts(error)
    with pytest.raises(type(error)) as caught:
        await retry(Time()).run(attempts, 60)
    assert caught.value is error
    assert attempts.count == 1


async def test_a_first_success_waits_for_nothing() -> None:
    """No sleep, one attempt."""
    time = Time()
    attempts = Attempts()
    assert await retry(time).run(attempts, 60) == "done"
    assert attempts.count == 1
    assert time.slept == []


@pytest.mark.parametrize("attempts", [1, 2, 3, 7])
async def test_attempts_are_bounded(attempts: int) -> None:
    """The first one counts; the last error is the one that is raised, with nothing chained to it."""
    tried = Attempts(*[ConnectError("refused", f"number {number}") for number in range(10)])
    time = Time()
    with pytest.raises(ConnectError, match=f"number {attempts - 1}") as caught:
        await retry(time, attempts=attempts).run(tried, 1e9)
    assert tried.count == attempts
    assert len(time.slept) == attempts - 1
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_waits_are_exponential_with_full_jitter() -> None:
    """Each is anywhere between 0 and a bound that doubles up to a maximum."""
    bounds = [0.2, 0.4, 0.8, 1.0, 1.0]
    waits: list[list[float]] = [[] for _ in bounds]
    for _ in range(300):
        time = Time()
        await retry(time, attempts=6, initial=0.2, maximum=1.0).run(Attempts(*[REFUSED] * 5), 1e9)
        for wait, all_of_them in zip(time.slept, waits, strict=True):
            all_of_them.append(wait)
    for bound, all_of_them in zip(bounds, waits, strict=True):
        assert 0 <= min(all_of_them) < 0.1 * bound
        assert 0.9 * bound < max(all_of_them) <= bound


@pytest.mark.parametrize("retry_after", [0.0, 1.0, 10.0, 54.0])
async def test_a_rate_limit_is_waited_for_in_full(retry_after: float) -> None:
    """And a little longer, so that a whole backend does not come back at the same moment."""
    time = Time()
    attempts = Attempts(RateLimitedError(429, retry_after=retry_after))
    assert await retry(time, initial=0.2).run(attempts, 60) == "done"
    assert retry_after <= time.slept[0] <= retry_after + 0.2
    assert attempts.count == 2


@pytest.mark.parametrize("retry_after", [54.1, 60.0, 61.0, 3600.0])
async def test_a_wait_that_does_not_fit_the_deadline_is_not_begun(retry_after: float) -> None:
    """The error is raised at once, and its `retry_after` tells the caller how long it would have been."""
    time = Time()
    attempts = Attempts(RateLimitedError(429, retry_after=retry_after))
    with pytest.raises(RateLimitedError) as caught:
        await retry(time).run(attempts, 60)
    assert caught.value.retry_after == retry_after
    assert attempts.count == 1
    assert time.slept == []


async def test_attempts_and_waits_share_one_deadline() -> None:
    """What the first attempts took is missing from the room for the next wait."""
    time = Time()

    async def slow() -> str:
        time.now += 25
        raise RateLimitedError(429, retry_after=10.0)

    with pytest.raises(RateLimitedError):
        await retry(time, attempts=10).run(slow, 60)
    assert len(time.slept) == 1
    assert time.now < 1000 + 25 + 11 + 25 + 1


@pytest.mark.parametrize("before", [0, 1])
async def test_a_rate_limit_without_a_time_is_not_tried_again(before: int) -> None:
    """Somebody asked for a wait, and nobody knows which: none is too short."""
    time = Time()
    limited = RateLimitedError(429)
    attempts = Attempts(*[REFUSED] * before, limited)
    with pytest.raises(RateLimitedError) as caught:
        await retry(time).run(attempts, 60)
    assert caught.value is limited
    assert attempts.count == before + 1
    assert len(time.slept) == before


@pytest.mark.parametrize(
    ("took", "timeout", "again"),
    [
        (0.0, 3.4, True),
        (0.0, 3.3, False),
        (1.0, 5.01, True),
        (1.0, 4.9, False),
        (4.0, 11.01, True),
        (4.0, 10.9, False),
    ],
)
async def test_a_good_code_is_not_sent_where_no_time_is_left_for_its_answer(
    took: float, timeout: float, again: bool
) -> None:
    """What the last attempt took is needed once more behind a wait of 3 s, or a tenth of the deadline."""
    time = Time()
    limited = RateLimitedError(429, retry_after=3.0)
    count = 0

    async def attempt() -> str:
        nonlocal count
        count += 1
        time.now += took
        if count == 1:
            raise limited
        return "done"

    running = retry(time).run(attempt, timeout)
    if again:
        assert await running == "done"
        assert time.now <= 1000 + timeout
    else:
        with pytest.raises(RateLimitedError) as caught:
            await running
        assert caught.value is limited
        assert time.slept == []


async def test_it_is_the_last_attempt_that_tells_how_long_one_takes() -> None:
    """Not the longest: the first of a connection takes longer than the others."""
    time = Time()
    takes = [8.0, 0.5, 0.5]

    async def attempt() -> str:
        time.now += takes.pop(0)
        if takes:
            raise RateLimitedError(429, retry_after=0.0)
        return "done"

    assert await retry(time, initial=0.001, maximum=0.001).run(attempt, 17) == "done"


async def test_a_wait_that_took_too_long_is_the_end() -> None:
    """Whoever held the loop meanwhile has used up the time for an answer."""
    time = Time()

    async def oversleep(seconds: float) -> None:
        await time.sleep(seconds + 50)

    attempts = Attempts(REFUSED)
    with pytest.raises(ConnectError) as caught:
        await Retry(sleep=oversleep, clock=time.clock, initial=5.0).run(attempts, 55)
    assert caught.value is REFUSED
    assert attempts.count == 1
    assert caught.value.__context__ is None


@pytest.mark.parametrize("status", [421, 425])
async def test_421_and_425_are_tried_again_once(status: int) -> None:
    """A server that says twice that it did not look will not look the third time."""
    error = RejectedError(status)
    attempts = Attempts(error, error, error)
    with pytest.raises(RejectedError):
        await retry(Time(), attempts=5).run(attempts, 60)
    assert attempts.count == 2


async def test_an_unread_request_and_a_refused_connection_are_counted_apart() -> None:
    """Once 421, and connections as often as it was told."""
    attempts = Attempts(RejectedError(421), REFUSED, RateLimitedError(429, retry_after=0.0), REFUSED)
    assert await retry(Time(), attempts=5).run(attempts, 60) == "done"
    attempts = Attempts(RejectedError(421), REFUSED, RejectedError(425), REFUSED)
    with pytest.raises(RejectedError) as caught:
        await retry(Time(), attempts=5).run(attempts, 60)
    assert caught.value.status == 425


async def test_cancelled_while_waiting_it_sends_no_more() -> None:
    """The cancellation passes through at once."""
    waiting = asyncio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    attempts = Attempts(REFUSED)
    call = asyncio.create_task(Retry(sleep=sleep).run(attempts, 60))
    await waiting.wait()
    call.cancel("mine")
    with pytest.raises(asyncio.CancelledError, match="mine"):
        await call
    assert attempts.count == 1


@pytest.mark.parametrize("attempts", [0, -1, 1.5, "3", True, None])
def test_attempts_that_cannot_be_right_are_refused(attempts: Any) -> None:
    """When a Retry is made, not when it is needed."""
    with pytest.raises(InvalidRequestError, match=r"^attempts must be a whole number, 1 at least$"):
        Retry(attempts=attempts)


@pytest.mark.parametrize(
    "waits",
    [
        {"initial": 0},
        {"initial": -1.0},
        {"initial": float("nan")},
        {"initial": "1"},
        {"initial": 6.0},
        {"maximum": 0.1},
        {"maximum": float("inf")},
        {"maximum": None},
    ],
)
def test_waits_that_cannot_be_right_are_refused(waits: dict[str, Any]) -> None:
    """Seconds, and the first of them not longer than the longest."""
    with pytest.raises(
        InvalidRequestError, match=r"^initial and maximum must be seconds, 0 < initial <= maximum$"
    ):
        Retry(**waits)


def test_the_bounds_themselves_are_fine() -> None:
    """One attempt; one wait for all."""
    assert Retry(attempts=1, initial=1, maximum=1) == Retry(attempts=1, initial=1.0, maximum=1.0)


def test_without_tenacity_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra; the rest of the package works without."""
    monkeypatch.setitem(sys.modules, "tenacity", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"^Retry needs tenacity: pip install 'descope_native\[retry\]'"
    ) as caught:
        Retry()
    assert caught.value.name == "tenacity"
    assert caught.value.__suppress_context__


def test_a_retry_is_a_value() -> None:
    """Frozen, equal and hashable, so that one may be shared by all finishers."""
    assert Retry() == Retry()
    assert hash(Retry()) == hash(Retry())
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Retry().attempts = 5  # type: ignore[misc]


# --- as part of a call


LIMITED = Answer(429, [("Retry-After", "7")])


async def test_nothing_goes_out_again_unless_it_was_asked_for(answering: Answering) -> None:
    """Off by default, whatever the error says."""
    async with answering(LIMITED, session()) as service:
        with pytest.raises(RateLimitedError):
            await service.finish()
        assert len(service.received) == 1


async def test_a_call_is_sent_again_as_it_was(answering: Answering, caplog: pytest.LogCaptureFixture) -> None:
    """The same bytes; one line is logged for all the attempts."""
    caplog.set_level(logging.INFO, logger="descope_native")
    time = Time()
    async with answering(LIMITED, Answer(421), session(), retry=retry(time, attempts=4)) as service:
        assert (await service.finish()).session_jwt == "s.e.s"
        first, second, third = service.received
    assert first == second == third
    assert time.slept[0] >= 7
    (record,) = caplog.records
    assert "outcome=session" in record.getMessage()
    assert "attempts=3" in record.getMessage()


@pytest.mark.parametrize("status", [400, 401, 404, 408, 500, 502, 503, 520, 522, 524, 302])
async def test_an_answer_that_may_have_taken_the_code_is_the_last(answering: Answering, status: int) -> None:
    """Where the official SDKs send again, this does not."""
    async with answering(Answer(status), session(), retry=retry(Time())) as service:
        with pytest.raises(DescopeNativeError):
            await service.finish()
        assert len(service.received) == 1


async def test_each_attempt_has_what_is_left_of_the_deadline() -> None:
    """The transport's own clock runs over all of them together."""
    lefts: list[float] = []

    async def refuse(request: HttpRequest) -> HttpResponse:
        lefts.append(request.timeout)
        raise ConnectionRefusedError

    transport = InMemoryTransport(refuse)
    finisher = NativeOAuthFinisher(PROJECT, transport, retry=Retry(initial=0.01, maximum=0.02), timeout=5)
    with pytest.raises(ConnectError):
        await finisher.finish(**GOOGLE)
    assert len(lefts) == 3
    assert 5 >= lefts[0] > lefts[1] > lefts[2] > 4


async def test_time_that_ran_out_while_waiting_sends_nothing() -> None:
    """A clock that Retry does not see may still have used the deadline up."""
    sent: list[HttpRequest] = []

    def limit(request: HttpRequest) -> HttpResponse:
        sent.append(request)
        return HttpResponse(429, [("Retry-After", "0")])

    async def oversleep(_: float) -> None:
        await asyncio.sleep(0.06)

    patient = Retry(initial=0.001, maximum=0.001, sleep=oversleep, clock=Time().clock)
    finisher = NativeOAuthFinisher(PROJECT, InMemoryTransport(limit), retry=patient, timeout=0.05)
    with pytest.raises(RateLimitedError) as caught:
        await finisher.finish(**GOOGLE)
    late = caught.value.__cause__
    assert isinstance(late, RequestTimeout)
    assert late.phase == "pool"
    assert len(sent) == 1


@pytest.mark.parametrize("status", [429, 421, 425])
async def test_a_refused_code_has_been_sent_also_where_nobody_is_reached_afterwards(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """NOT_SENT would say that the service never saw it. Nobody is told that, the log neither."""
    caplog.set_level(logging.INFO, "descope_native")
    sent: list[HttpRequest] = []

    def refuse_and_go(request: HttpRequest) -> HttpResponse:
        if sent:
            raise ConnectionRefusedError
        sent.append(request)
        return HttpResponse(status, [("Retry-After", "0")])

    finisher = NativeOAuthFinisher(PROJECT, InMemoryTransport(refuse_and_go), retry=retry(Time()))
    with pytest.raises(RejectedError) as caught:
        await finisher.finish(**GOOGLE)
    assert (caught.value.status, caught.value.outcome) == (status, Outcome.REJECTED)
    assert isinstance(caught.value.__cause__, ConnectError)
    assert f"outcome=rejected error={type(caught.value).__name__} status={status}" in caplog.text


async def test_a_call_cancelled_on_its_way_back_to_who_refused_it_is_no_unsent_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first attempt was answered; the second is cancelled before anything of it left."""
    caplog.set_level(logging.INFO, "descope_native")
    transport = InMemoryTransport(lambda _: HttpResponse(429, [("Retry-After", "0")]))

    class Stuck:
        async def send(self, request: HttpRequest, /) -> HttpResponse:
            if transport.requests:
                request.progress.phase = "pool"
                stuck.set()
                await asyncio.Event().wait()
            return await transport.send(request)

    stuck = asyncio.Event()
    finisher = NativeOAuthFinisher(PROJECT, Stuck(), retry=retry(Time()))
    call = asyncio.create_task(finisher.finish(**GOOGLE))
    await stuck.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert "outcome=rejected error=CancelledError phase=pool" in caplog.text


@pytest.mark.parametrize(
    ("waits_for", "outcome", "status"),
    [("the next try", "rejected", 429), ("its answer", "unknown", None)],
)
async def test_a_cancelled_call_tells_what_its_last_attempt_proved(
    waits_for: str, outcome: str, status: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The service said no to the first; the second is on its way, and may have been a yes."""
    caplog.set_level("INFO", "descope_native")
    waiting = asyncio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        if waits_for == "the next try":
            await asyncio.Event().wait()
        service.arrived.clear()

    no = Answer(429, [("Retry-After", "0")])
    async with answering_in_memory(no, Answer(never=True), retry=Retry(sleep=sleep)) as service:
        call = asyncio.create_task(service.finish())
        await waiting.wait()
        if waits_for == "its answer":
            await service.arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    (record,) = [record for record in caplog.records if record.name == "descope_native"]
    facts = vars(record)
    assert (facts["descope_outcome"], facts["descope_error"]) == (outcome, "CancelledError")
    assert facts["descope_status"] == status


@pytest.mark.parametrize("spare", [0.01, 0.3, 1.0])
async def test_a_rate_limit_that_fits_is_waited_for_however_little_time_is_to_spare(spare: float) -> None:
    """The jitter behind it takes half of it at most; what an answer needs is not to spare."""
    timeout = (4.0 + spare) / 0.9  # a tenth is kept for the answer
    for _ in range(50):
        time = Time()
        attempts = Attempts(RateLimitedError(429, retry_after=4.0))
        assert await retry(time, initial=1.0).run(attempts, timeout) == "done"
        assert 4.0 <= time.slept[0] <= 4.0 + spare / 2 + 1e-9
    time = Time()  # a jitter that is longer than that, as good as surely
    attempts = Attempts(RateLimitedError(429, retry_after=4.0))
    assert await retry(time, initial=1e9, maximum=1e9).run(attempts, timeout) == "done"
    assert time.slept[0] == pytest.approx(4.0 + spare / 2)


@pytest.mark.parametrize("moment", ["2001-09-09", "2040-02-29"])
@pytest.mark.parametrize("freeze", ["plain", "tick", "real_asyncio", "time-machine"])
def test_a_frozen_clock_is_the_loops_business(freeze: str, moment: str) -> None:
    """Libraries that freeze time move the loop's clock or leave it alone; there is no other one."""
    frozen: contextlib.AbstractContextManager[object]
    if freeze == "time-machine":
        frozen = time_machine.travel(moment, tick=False)
    else:
        frozen = freezegun.freeze_time(moment, tick=freeze == "tick", real_asyncio=freeze == "real_asyncio")
    patient = Retry(initial=0.001, maximum=0.001)
    if freeze == "plain":  # nothing sleeps where the loop's own clock stands still
        patient = attrs.evolve(patient, sleep=Time().sleep)
    with frozen:
        limited = RateLimitedError(429, retry_after=0.01)
        assert asyncio.run(patient.run(Attempts(REFUSED, limited), 5)) == "done"
        with pytest.raises(RateLimitedError):
            asyncio.run(patient.run(Attempts(RateLimitedError(429, retry_after=4.9)), 5))


def test_a_retry_says_how_by_name() -> None:
    """Three attempts, waits from 0.2 to 5 seconds, unless told otherwise."""
    plain = Retry()
    assert (plain.attempts, plain.initial, plain.maximum) == (3, 0.2, 5.0)
    with pytest.raises(TypeError):
        Retry(3)  # type: ignore[call-arg]
