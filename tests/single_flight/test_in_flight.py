"""Calls with one proof at the same time, in one process."""

import asyncio
import gc
import traceback
from typing import Any

import pytest
from kit.support import PROJECT
from workers import Service, Worker, settled, started, worker

from descope_native import (
    ConnectError,
    HttpRequest,
    HttpResponse,
    InvalidRequestError,
    NativeOAuthStarter,
    Outcome,
    RejectedError,
    RequestTimeout,
    Retry,
    SingleFlight,
    TransportClosed,
    TransportError,
)
from descope_native.single_flight import MemoryStore

NOTHING_KEPT: Any = {"remember": 0}


async def test_calls_with_one_proof_make_one_call() -> None:
    """Five at once get one session, and the log says who led."""
    service = Service()
    async with worker(service) as one:
        results = await asyncio.gather(*(one.finish() for _ in range(5)))
    assert {result.session_jwt for result in results} == {"s.code-1"}
    assert len(service.received) == 1
    assert sorted(str(how) for how in one.hows) == ["joined"] * 4 + ["led"]


@pytest.mark.parametrize(
    "difference",
    [
        {"provider": "google"},
        {"state_id": "state-2"},
        {"code": "code-2"},
        {"code": None, "id_token": "code-1"},
    ],
    ids=["provider", "state", "code", "kind"],
)
async def test_another_proof_makes_another_call(difference: dict[str, str]) -> None:
    """Whatever of it differs."""
    service = Service()
    async with worker(service) as one:
        await asyncio.gather(one.finish(), one.finish(**difference))
    assert len(service.received) == 2
    assert one.hows == ["led", "led"]


async def test_another_project_makes_another_call() -> None:
    """Also where two finishers share one single flight."""
    service, shared = Service(), SingleFlight()
    async with worker(service, shared) as one:
        other = type(one.finisher)(
            "P2other", one.transport, base_url="http://localhost", single_flight=shared
        )
        await one.finish()
        await other.finish(provider="apple", state_id="state-1", code="code-1")
    assert len(service.received) == 2


async def test_a_name_makes_no_other_proof() -> None:
    """Apple names the person once, and a phone that submits again may have lost that."""
    service = Service()
    async with worker(service) as one:
        await one.finish(user='{"name":{"firstName":"Ada"}}')
        await one.finish()
    assert len(service.received) == 1


@pytest.mark.parametrize("leaves", [0, 1, 2], ids=["leader", "follower", "both followers"])
async def test_a_caller_that_is_cancelled_ends_nobody_elses_call(leaves: int) -> None:
    """Neither the first nor another: who stays gets the session."""
    service = Service(is_held=True)
    async with worker(service, SingleFlight(**NOTHING_KEPT)) as one:
        tasks = await started(one.finish(), one.finish(), one.finish())
        gone = {0: tasks[:1], 1: tasks[1:2], 2: tasks[1:]}[leaves]
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
        assert all(task.cancelled() for task in gone)
        service.may_answer.set()
        for task in tasks:
            if task not in gone:
                assert (await task).session_jwt == "s.code-1"
    assert len(service.received) == 1
    assert [event.outcome for event in one.events[: len(gone)]] == ["unknown"] * len(gone)


async def test_a_call_that_all_have_left_goes_on_where_it_is_remembered() -> None:
    """The phone hung up and comes back: its session is there."""
    service = Service(is_held=True)
    async with worker(service) as one:
        (task,) = await started(one.finish())
        task.cancel()
        await asyncio.wait([task])
        service.may_answer.set()
        await settled()
        assert (await one.finish()).session_jwt == "s.code-1"
    assert len(service.received) == 1
    assert one.hows == ["led", "replayed"]
    assert [event.outcome for event in one.events] == ["unknown", "session"]


@pytest.mark.parametrize(("remember", "told"), [(30, "unknown"), (0, "not_sent")])
async def test_who_leaves_before_anything_was_sent_is_told_whether_it_may_yet_be(
    remember: float, told: str
) -> None:
    """The log says so: a call that goes on may send the proof, one that ends with its caller will not."""
    held = asyncio.Event()

    async def send(request: HttpRequest, /) -> HttpResponse:
        request.progress.phase = "connect"
        await held.wait()
        return HttpResponse(200, (), b'{"sessionJwt":"s.code-1"}')

    async with worker(Service(), SingleFlight(remember=remember)) as one:
        one.transport.send = send  # type: ignore[method-assign]
        (task,) = await started(one.finish())
        task.cancel()
        await asyncio.wait([task])
        held.set()
    assert [event.outcome for event in one.events] == [told]


async def test_a_call_that_all_have_left_is_cancelled_where_nothing_is_remembered() -> None:
    """With `remember=0` there is nobody for whom it could go on."""
    service = Service(is_held=True)
    async with worker(service, SingleFlight(**NOTHING_KEPT)) as one:
        tasks = await started(one.finish(), one.finish())
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await settled()  # though nobody lets the service answer
    assert len(service.received) == 1


async def test_a_submit_that_meets_a_call_on_its_way_out_makes_its_own() -> None:
    """With `remember=0` a call is cancelled once all have left it; what comes then is another call."""
    service = Service()

    async def send(request: HttpRequest, /) -> HttpResponse:
        if not service.received:
            service.received.append(request)
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.05)
        return await service.answer(request)

    async with worker(service, SingleFlight(**NOTHING_KEPT)) as one:
        one.transport.send = send  # type: ignore[method-assign]
        (gone,) = await started(one.finish())
        gone.cancel()
        await asyncio.sleep(0.01)
        assert (await one.finish()).session_jwt == "s.code-1"


async def test_without_remembering_the_next_submit_goes_out() -> None:
    """`remember=0` joins what is in flight, and no more."""
    service = Service()
    async with worker(service, SingleFlight(**NOTHING_KEPT)) as one:
        await one.finish()
        await one.finish()
    assert len(service.received) == 2
    assert one.hows == ["led", "led"]


async def test_each_waits_under_its_own_deadline() -> None:
    """A follower in a hurry is told that it does not know; the leader gets the session."""
    service = Service(is_held=True)
    async with worker(service) as one:
        (leader,) = await started(one.finish())
        with pytest.raises(RequestTimeout) as caught:
            await one.finish(timeout=0.05)
        assert caught.value.outcome is Outcome.UNKNOWN
        assert (caught.value.phase, round(caught.value.seconds, 2)) == ("wait", 0.05)
        service.may_answer.set()
        assert (await leader).session_jwt == "s.code-1"
    assert one.hows == ["joined", "led"]
    assert (one.events[0].outcome, one.events[0].phase, one.events[0].attempts) == ("unknown", "wait", 0)


async def test_a_leader_whose_time_is_up_has_told_all() -> None:
    """What was sent is not sent again: its followers do not know either, however much time they have."""
    service = Service(is_held=True)
    async with worker(service) as one:
        leader, follower = await started(one.finish(timeout=0.05), one.finish())
        for task in leader, follower:
            with pytest.raises(RequestTimeout) as caught:
                await task
            assert caught.value.outcome is Outcome.UNKNOWN
    assert len(service.received) == 1


async def test_a_follower_leads_where_the_leaders_time_was_up_before_anything_was_sent() -> None:
    """It has more time, and the proof is still good."""
    service, loop = Service(), asyncio.get_running_loop()

    async def send(request: HttpRequest, /) -> HttpResponse:
        request.progress.phase = "connect"
        if len(phases) == 0:
            phases.append("connect")
            await asyncio.sleep(request.timeout)
            raise RequestTimeout("connect", request.timeout)
        return await service.answer(request)

    phases: list[str] = []
    async with worker(service) as one:
        one.transport.send = send  # type: ignore[method-assign]
        began = loop.time()
        leader, follower = await started(one.finish(timeout=0.1), one.finish())
        assert (await follower).session_jwt == "s.code-1"
        with pytest.raises(RequestTimeout) as caught:
            await leader
    assert caught.value.phase == "connect"
    assert loop.time() - began < 2
    assert sorted(str(how) for how in one.hows) == ["led", "led"]


async def test_closing_the_transport_ends_the_call() -> None:
    """For all who wait for it, and also where it is remembered."""
    service = Service(is_held=True)
    async with worker(service) as one:
        tasks = await started(one.finish(), one.finish())
        await one.transport.close()
        for task in tasks:
            with pytest.raises(TransportClosed) as caught:
                await task
            assert caught.value.outcome is Outcome.UNKNOWN


async def test_errors_are_each_callers_own_object() -> None:
    """With a traceback of its own, or one caller's frames would grow on another's error."""
    service = Service(status=401, is_held=True)
    async with worker(service) as one:
        tasks = await started(one.finish(), one.finish(), one.finish())
        service.may_answer.set()
        await asyncio.wait(tasks)
        errors = [task.exception() for task in tasks]
        with pytest.raises(RejectedError) as caught:
            await one.finish()
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 4
    assert {(type(error), str(error)) for error in errors} == {(RejectedError, str(errors[0]))}
    assert all(error is not None and error.__context__ is None for error in errors)
    depths = [len(traceback.extract_tb(error.__traceback__)) for error in errors if error]
    assert max(depths[1:]) < 12


class Unreachable(ConnectError):
    """A kind of somebody's transport."""


@pytest.mark.parametrize(
    ("raised", "kind", "outcome"),
    [
        (ZeroDivisionError("a mistake"), TransportError, Outcome.UNKNOWN),
        (Unreachable("refused", "nobody there"), ConnectError, Outcome.NOT_SENT),
    ],
    ids=["a mistake", "a kind of its own"],
)
async def test_a_transports_own_error_is_the_leaders_and_one_of_ours_for_the_others(
    raised: Exception, kind: type[TransportError], outcome: Outcome
) -> None:
    """It is raised as it is for who made the call; the others get the kind of ours that proves the same."""
    service = Service(is_held=True, raises=raised)
    async with worker(service) as one:
        leader, follower = await started(one.finish(), one.finish())
        service.may_answer.set()
        with pytest.raises(type(raised)):
            await leader
        with pytest.raises(TransportError) as caught:
            await follower
        assert (type(caught.value), caught.value.outcome) == (kind, outcome)


async def test_a_call_that_is_cancelled_from_outside_is_told_as_what_it_proves() -> None:
    """Who cancels every task there is cancels that of the call, too."""
    service = Service(is_held=True)
    async with worker(service) as one:
        (caller,) = await started(one.finish())
        (flight,) = asyncio.all_tasks() - {asyncio.current_task(), caller}
        flight.cancel()
        with pytest.raises(TransportError) as caught:
            await caller
        assert caught.value.outcome is Outcome.UNKNOWN
        with pytest.raises(TransportError):
            await one.finish()
    assert len(service.received) == 1


async def test_retries_are_part_of_the_one_call() -> None:
    """Whoever joins waits for what comes of them."""
    service = Service(status=429)

    async def pause(seconds: float) -> None:
        service.status = 200
        await asyncio.sleep(0)

    async def answer(_: HttpRequest) -> HttpResponse:
        if len(service.received) == 1:
            return HttpResponse(429, (("Retry-After", "0"),))
        return HttpResponse(200, (), b'{"sessionJwt":"s.code-1"}')

    async with worker(service, retry=Retry(sleep=pause)) as one:
        service.answering = answer
        results = await asyncio.gather(one.finish(), one.finish())
    assert len(service.received) == 2
    assert {result.session_jwt for result in results} == {"s.code-1"}


async def test_a_refusal_stays_one_where_the_next_attempt_reached_nobody() -> None:
    """The service has seen the proof, and whoever joined is told so."""

    async def answer(_: HttpRequest) -> HttpResponse:
        if len(service.received) == 1:
            return HttpResponse(425)
        raise ConnectionRefusedError

    async def pause(seconds: float) -> None:
        await asyncio.sleep(0)

    service = Service()
    async with worker(service, retry=Retry(attempts=2, sleep=pause)) as one:
        service.answering = answer
        for outcome in await asyncio.gather(one.finish(), one.finish(), return_exceptions=True):
            assert isinstance(outcome, RejectedError)
            assert outcome.status == 425


async def test_a_single_flight_belongs_to_its_event_loop() -> None:
    """On another one nothing is sent, and that is said."""
    service, shared = Service(), SingleFlight()
    async with worker(service, shared) as one:
        await one.finish()

    async def elsewhere() -> None:
        async with worker(service, shared) as other:
            with pytest.raises(TransportClosed) as caught:
                await other.finish(code="code-2")
            assert caught.value.outcome is Outcome.NOT_SENT

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert len(service.received) == 1


def test_outside_of_an_event_loop_nothing_is_sent() -> None:
    """A coroutine that is driven by hand has no loop to wait on."""
    service = Service()

    async def make() -> Worker:
        async with worker(service) as made:
            return made

    made = asyncio.run(make())
    with pytest.raises(TransportError, match="no event loop runs here"):
        made.finish().send(None)


@pytest.mark.parametrize("eager", [False, True], ids=["lazy", "eager"])
async def test_it_works_where_tasks_start_eagerly(eager: bool) -> None:
    """With Python 3.12's eager tasks a call may have ended before its task is known."""
    loop = asyncio.get_running_loop()
    factory = getattr(asyncio, "eager_task_factory", None)
    if eager and factory is not None:
        loop.set_task_factory(factory)
    try:
        service = Service()
        async with worker(service) as one:

            async def at_once(request: HttpRequest, /) -> HttpResponse:
                service.received.append(request)
                return HttpResponse(200, (), b'{"sessionJwt":"s.x"}')

            one.transport.send = at_once  # type: ignore[method-assign]
            results = await asyncio.gather(one.finish(), one.finish())
        assert len(service.received) == 1
        assert {result.session_jwt for result in results} == {"s.x"}
    finally:
        loop.set_task_factory(None)


async def test_a_deadline_that_has_passed_sends_nothing() -> None:
    """Also where no time is left for the call."""
    service = Service()
    async with worker(service) as one:
        with pytest.raises(RequestTimeout) as caught:
            await one.finish(timeout=1e-9)
        assert caught.value.outcome is Outcome.NOT_SENT
        await one.finish()
    assert len(service.received) == 1


def requests_alive() -> set[int]:
    return {id(each) for each in gc.get_objects() if type(each).__name__ == "FinishRequest"}


async def test_nothing_is_left_of_callers_that_have_gone() -> None:
    """No reference cycle keeps a request, with its proof, until the collector comes."""
    service = Service()
    gc.collect()
    gc.disable()
    try:
        async with worker(service) as one:
            before = requests_alive()
            for _ in range(2):  # the second is told again
                await one.finish()
            await asyncio.sleep(0)
            assert requests_alive() <= before
    finally:
        gc.enable()


async def test_a_caller_may_be_cancelled_in_the_moment_of_the_answer() -> None:
    """Whatever comes first within one turn of the loop."""
    service = Service()
    async with worker(service) as one:

        async def answer(request: HttpRequest, /) -> HttpResponse:
            await service.may_answer.wait()
            tasks[0].cancel()
            return await service.answer(request)

        one.transport.send = answer  # type: ignore[method-assign]
        tasks = await started(one.finish(), one.finish())
        service.may_answer.set()
        await asyncio.wait(tasks)
        assert tasks[0].cancelled()
        assert tasks[1].result().session_jwt == "s.code-1"


@pytest.mark.parametrize(
    "options",
    [
        {"remember": -1},
        {"remember": 601},
        {"remember": "30"},
        {"remember": False},
        {"remember": float("nan")},
        {"store_timeout": 0},
        {"max_entries": 0},
        {"when_store_fails": "wait"},
        {"store": object()},
        {"store": MemoryStore(), "remember": 0},
    ],
    ids=lambda options: "-".join(f"{name}={type(value).__name__}" for name, value in options.items()),
)
def test_settings_that_cannot_be_right_are_refused(options: dict[str, Any]) -> None:
    """When it is made, not in a call."""
    with pytest.raises(InvalidRequestError):
        SingleFlight(**options)


async def test_only_a_finisher_takes_one() -> None:
    """A start has no proof, and what is no single flight is refused."""
    async with worker(Service()) as one:
        with pytest.raises(InvalidRequestError, match="a start has none"):
            NativeOAuthStarter(PROJECT, one.transport, single_flight=SingleFlight())
        wrong: Any = "yes"
        with pytest.raises(InvalidRequestError, match="single_flight must be a SingleFlight or None"):
            type(one.finisher)(PROJECT, one.transport, single_flight=wrong)


async def test_a_call_that_reaches_nobody_tells_all_who_wait() -> None:
    """And the proof is still good: the next submit goes out."""
    service = Service(is_held=True, raises=ConnectionRefusedError())
    async with worker(service) as one:
        tasks = await started(one.finish(), one.finish())
        service.may_answer.set()
        for task in tasks:
            with pytest.raises(ConnectError) as caught:
                await task
            assert caught.value.outcome is Outcome.NOT_SENT
        service.raises = None
        assert (await one.finish()).session_jwt == "s.code-1"
    assert len(service.received) == 2
