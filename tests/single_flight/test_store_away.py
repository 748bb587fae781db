"""A store that fails, hangs, or loses its answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from kit.support import GOOGLE, PROJECT
from store_servers import StoreServer
from test_among_workers import Counting, workers
from workers import Service, settled, started

from descope_native import (
    ConnectError,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    NativeOAuthFinisher,
    Outcome,
    RateLimitedError,
    RejectedError,
    RequestTimeout,
    Retry,
    SingleFlight,
)
from descope_native.single_flight import Found, MemoryStore, RedisStore

SECRET = "secret-in-an-error"


async def fail() -> None:
    raise ConnectionError(SECRET)


async def hang() -> None:
    await asyncio.Event().wait()


AWAY: dict[str, Callable[[], Awaitable[None]]] = {"fails": fail, "hangs": hang}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", AWAY)
async def test_a_sign_in_is_worth_more_than_its_guard(
    how: str, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By default the proof goes out unguarded, soon, and the log warns."""
    service, store, loop = Service(), Counting(), asyncio.get_running_loop()
    setattr(store, when, {"claim": AWAY[how], "settle": AWAY[how]})
    async with workers(1, service, store, store_timeout=0.2) as (one,):
        began = loop.time()
        with caplog.at_level(logging.WARNING, "descope_native"):
            assert (await one.finish()).session_jwt == "s.code-1"
        assert loop.time() - began < 0.35
        await settled()
        assert (await one.finish()).session_jwt == "s.code-1"
    told = [record.getMessage() for record in caplog.records if "single flight" in record.getMessage()]
    kind = {"fails": "ConnectionError", "hangs": "TimeoutError"}[how]
    assert told == [
        f"single flight: the store failed ({kind}); the proof goes out unguarded",
        f"single flight: the store failed ({kind}); other workers are not told",
    ]
    assert SECRET not in caplog.text
    assert one.hows == ["led", "replayed"]  # by the worker's own memory
    assert len(service.received) == 1


@pytest.mark.parametrize(
    "said",
    [
        None,
        (b"claim", 0.0, None),
        Found(b"claim", None),  # type: ignore[arg-type]  # what a store of somebody's may say
        Found("claim", 0.0),  # type: ignore[arg-type]  # the same
        Found(None, 0.0, "result"),  # type: ignore[arg-type]  # the same
    ],
    ids=["nothing", "a tuple", "no age", "a claim that is text", "a result that is text"],
)
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_a_store_that_is_none_costs_no_sign_in(said: Any, is_async: bool) -> None:
    """Whatever it answers, or however: the proof goes out unguarded, as where it is away."""

    class Odd(MemoryStore):
        async def claim(self, key: bytes, claim: bytes, seconds: float, /) -> Any:
            return said

    class Blocking(MemoryStore):
        def claim(self, key: bytes, claim: bytes, seconds: float, /) -> Any:
            return said

    service = Service()
    async with workers(1, service, Odd() if is_async else Blocking()) as (one,):
        assert (await one.finish()).session_jwt == "s.code-1"
        await settled()


@pytest.mark.parametrize("how", AWAY)
async def test_or_it_is_refused(how: str) -> None:
    """As told when it was made: nothing is sent, and that is proved."""
    service, store, loop = Service(), Counting(before={"claim": AWAY[how]}), asyncio.get_running_loop()
    async with workers(1, service, store, store_timeout=0.2, when_store_fails="refuse") as (one,):
        began = loop.time()
        with pytest.raises(ConnectError, match="store of single flight failed") as caught:
            await one.finish()
        assert loop.time() - began < 0.35
        assert caught.value.outcome is Outcome.NOT_SENT
        assert caught.value.safe_to_retry
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert SECRET not in str(caught.value)
        store.before.clear()
        await settled()
        assert (await one.finish()).session_jwt == "s.code-1"
    assert len(service.received) == 1
    assert [event.outcome for event in one.events] == ["not_sent", "session"]


async def test_a_claim_whose_answer_was_lost_is_let_go_of() -> None:
    """Or a proof that was refused unsent could not be sent by another worker."""
    service, store = Service(), Counting(after={"claim": hang})
    async with workers(2, service, store, store_timeout=0.2, when_store_fails="refuse") as (one, other):
        with pytest.raises(ConnectError):
            await one.finish()
        store.after.clear()
        await settled()
        assert (await other.finish()).session_jwt == "s.code-1"
    assert store.asked == ["claim", "release", "claim", "settle"]


@pytest.mark.parametrize("how", AWAY)
async def test_a_result_that_cannot_be_written_costs_nobody_a_session(how: str) -> None:
    """Nor the time to wait for that."""
    service, store, loop = Service(), Counting(before={"settle": AWAY[how]}), asyncio.get_running_loop()
    async with workers(2, service, store, store_timeout=0.2) as (one, other):
        began = loop.time()
        results = await asyncio.gather(one.finish(), one.finish())
        assert loop.time() - began < 0.35
        assert {result.session_jwt for result in results} == {"s.code-1"}
        with pytest.raises(RequestTimeout) as caught:
            await other.finish(timeout=0.2)
        assert caught.value.outcome is Outcome.UNKNOWN
    assert len(service.received) == 1


async def test_a_store_takes_no_more_than_its_time_from_a_call() -> None:
    """For the claim and the result together."""
    loop = asyncio.get_running_loop()

    async def late() -> None:
        await asyncio.sleep(0.3)

    store = Counting(before={"claim": late, "settle": late})
    async with workers(2, Service(), store, store_timeout=0.4) as (one, other):
        began = loop.time()
        await one.finish()
        assert loop.time() - began < 0.5
        store.before.clear()
        assert (await other.finish()).session_jwt == "s.code-1"  # it was written all the same


async def test_a_deadline_counts_where_the_store_is_slow() -> None:
    """A result is given in time, and a claim that takes too long sends nothing."""
    loop = asyncio.get_running_loop()
    store = Counting(before={"settle": hang})
    async with workers(1, Service(), store, store_timeout=5) as (one,):
        began = loop.time()
        assert (await one.finish(timeout=0.2)).session_jwt == "s.code-1"
        assert loop.time() - began < 0.4
        store.before["claim"] = hang
        with pytest.raises(RequestTimeout) as caught:
            await one.finish(code="code-2", timeout=0.2)
        assert (caught.value.phase, caught.value.outcome) == ("pool", Outcome.NOT_SENT)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


async def test_a_store_that_will_not_be_cancelled_is_not_waited_for() -> None:
    """Some clients take long to let go of a connection; one may even be cancelled by itself."""
    service, loop = Service(), asyncio.get_running_loop()

    async def cling() -> None:
        try:
            await asyncio.sleep(0.3)
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)
            raise ConnectionError(SECRET) from None

    async def give_up() -> None:
        raise asyncio.CancelledError

    store = Counting(before={"claim": cling, "settle": give_up})
    async with workers(1, service, store, store_timeout=0.1) as (one,):
        began = loop.time()
        assert (await one.finish()).session_jwt == "s.code-1"
        assert loop.time() - began < 0.4


async def test_cancellation_passes_through_at_once() -> None:
    """Also while the store hangs."""
    service, store = Service(), Counting(before={"claim": hang})
    async with workers(1, service, store, store_timeout=0.3) as (one,):
        (caller,) = await started(one.finish())
        caller.cancel()
        done, _ = await asyncio.wait([caller], timeout=0.1)
        assert done == {caller}
        assert caller.cancelled()


async def test_a_proof_that_another_worker_has_is_not_sent_where_the_store_goes_away() -> None:
    """Once that is known, an outage is waited for, by default too."""
    service, store = Service(is_held=True), Counting()
    async with workers(2, service, store, store_timeout=0.1) as (one, other):
        leader, waiting = await started(one.finish(), other.finish())
        await service.arrived.wait()
        await asyncio.sleep(0.05)
        store.before["claim"] = fail
        await asyncio.sleep(0.4)
        assert not waiting.done()
        store.before.clear()
        service.may_answer.set()
        assert (await leader).session_jwt == "s.code-1"
        assert (await waiting).session_jwt == "s.code-1"
    assert len(service.received) == 1


async def test_what_went_out_unguarded_overrules_no_session() -> None:
    """Two workers sent a proof while the store was away: who was refused does not take the other's place."""
    service, store = Service(), Counting()
    async with workers(3, service, store) as (one, other, third):
        await one.finish()
        store.before["claim"] = fail
        service.status = 400
        with pytest.raises(RejectedError):
            await other.finish()
        store.before.clear()
        assert (await third.finish()).session_jwt == "s.code-1"


async def test_a_result_that_cannot_be_sealed_costs_nobody_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with writing it."""
    import os  # noqa: PLC0415 -- patched below

    async with workers(1, Service(), MemoryStore()) as (one,):
        noise = os.urandom

        def no_noise(size: int) -> bytes:
            if size == 12:
                raise OSError(SECRET)
            return noise(size)

        monkeypatch.setattr(os, "urandom", no_noise)
        assert (await one.finish()).session_jwt == "s.code-1"


async def test_a_server_that_stops_and_comes_back() -> None:
    """Refused while it is away, guarded before and afterwards, and nothing is lost over a crash."""
    service = Service()
    async with StoreServer("valkey") as server, server.client() as client:
        options: dict[str, Any] = {"store_timeout": 0.3, "when_store_fails": "refuse"}
        async with workers(2, service, RedisStore(client), **options) as (one, other):
            await one.finish()
            server.kill()
            with pytest.raises(ConnectError):
                await other.finish()
            await server.start()
            assert (await other.finish()).session_jwt == "s.code-1"
    assert len(service.received) == 1


async def test_what_a_store_has_taken_is_not_left_for_another_attempt() -> None:
    """One deadline spans the store and all retries: a wait that ends beyond it is not begun."""

    class Slow(MemoryStore):
        async def claim(self, key: bytes, claim: bytes, seconds: float, /) -> Found:
            await asyncio.sleep(0.3)
            return await super().claim(key, claim, seconds)

    sent: list[HttpRequest] = []

    def refuse(request: HttpRequest) -> HttpResponse:
        sent.append(request)
        return HttpResponse(429, (("Retry-After", "1"),))

    transport = InMemoryTransport(refuse)
    finisher = NativeOAuthFinisher(
        PROJECT, transport, timeout=1.3, retry=Retry(), single_flight=SingleFlight(store=Slow())
    )
    with pytest.raises(RateLimitedError):
        await finisher.finish(**GOOGLE)
    assert len(sent) == 1
