"""A proof that is submitted again when its call is over: in one process, and by another worker."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import attrs
import pytest
from store_servers import PROGRAMS, StoreServer
from workers import Service, Worker, settled, worker

from descope_native import (
    DescopeNativeError,
    HttpRequest,
    HttpResponse,
    Outcome,
    RejectedError,
    RequestTimeout,
    ServerError,
    SingleFlight,
    TransportError,
    UnexpectedResponse,
)
from descope_native.single_flight import MemoryStore, RedisStore


@attrs.frozen
class Fleet:
    """Who submits first, and who submits again; and how to wait until they have forgotten."""

    first: Worker
    again: Worker
    forgotten: Callable[[], Any]


REMEMBER = 0.3


@asynccontextmanager
async def fleet(kind: str, service: Service) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        store: Any = None
        if kind == "memory store":
            store = MemoryStore()
        elif kind != "one process":
            server = await stack.enter_async_context(StoreServer(kind))
            store = RedisStore(await stack.enter_async_context(server.client()))
        made = [
            await stack.enter_async_context(worker(service, SingleFlight(remember=REMEMBER, store=store)))
            for _ in range(1 if store is None else 2)
        ]
        yield Fleet(made[0], made[-1], lambda: asyncio.sleep(REMEMBER * 1.5))
        await settled()


KINDS = ["one process", "memory store", *PROGRAMS]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Who submits again: the same worker, or another that shares a store with it."""
    return str(request.param)


async def test_a_session_is_given_again(kind: str) -> None:
    """Equal to the first one in every field, and without a call."""
    service = Service()
    async with fleet(kind, service) as workers:
        first = await workers.first.finish()
        again = await workers.again.finish()
    assert again == first
    assert again.refresh_jwt == "r.code-1"
    assert len(service.received) == 1
    assert workers.again.events[-1].single_flight == "replayed"
    assert (workers.again.events[-1].attempts, workers.again.events[-1].phase) == (0, "read")


TOLD_AGAIN: dict[str, tuple[int, type[DescopeNativeError], Outcome]] = {
    "rejected": (401, RejectedError, Outcome.REJECTED),
    "unknown": (503, ServerError, Outcome.UNKNOWN),
    "no session": (204, UnexpectedResponse, Outcome.UNKNOWN),
}


@pytest.mark.parametrize("what", TOLD_AGAIN)
async def test_what_may_have_spent_the_proof_is_told_again(kind: str, what: str) -> None:
    """The same error, and no call: the proof may be spent, and a second one could take away what it gave."""
    status, error, outcome = TOLD_AGAIN[what]
    service = Service(status=status)
    async with fleet(kind, service) as workers:
        told = []
        for each in workers.first, workers.again:
            with pytest.raises(error) as caught:
                await each.finish()
            told.append(caught.value)
        assert told[0] is not told[1]
        assert str(told[0]) == str(told[1])
        assert vars(told[0]) == vars(told[1])
        assert told[1].outcome is outcome
        assert workers.again.events[-1].outcome == outcome.value
        assert workers.again.events[-1].error == error.__name__
    assert len(service.received) == 1


async def test_a_timeout_after_sending_is_told_again(kind: str) -> None:
    """Nobody knows whether the service has it; asking again could only do harm."""
    service = Service(is_held=True)
    async with fleet(kind, service) as workers:
        with pytest.raises(RequestTimeout):
            await workers.first.finish(timeout=0.05)
        with pytest.raises(RequestTimeout) as caught:
            await workers.again.finish()
        assert caught.value.outcome is Outcome.UNKNOWN
    assert len(service.received) == 1


FORGOTTEN: dict[str, Service] = {
    "nobody reached": Service(raises=ConnectionRefusedError()),
    "rate limit": Service(status=429),
    "misdirected": Service(status=421),
}


@pytest.mark.parametrize("what", FORGOTTEN)
async def test_what_has_not_spent_the_proof_is_forgotten_at_once(kind: str, what: str) -> None:
    """The next submit goes out and gets the session."""
    service = attrs.evolve(FORGOTTEN[what], received=[])
    async with fleet(kind, service) as workers:
        with pytest.raises(DescopeNativeError):
            await workers.first.finish()
        service.status, service.raises = 200, None
        assert (await workers.again.finish()).session_jwt == "s.code-1"
    assert len(service.received) == 2
    assert workers.again.events[-1].single_flight == "led"


@pytest.mark.parametrize("status", [200, 401], ids=["session", "rejected"])
async def test_later_the_proof_is_still_not_sent(kind: str, status: int) -> None:
    """What came of it is forgotten, that it was sent is not."""
    service = Service(status=status)
    async with fleet(kind, service) as workers:
        with suppress(RejectedError):
            await workers.first.finish()
        await workers.forgotten()
        for each in workers.first, workers.again:
            with pytest.raises(TransportError, match="no longer remembered") as caught:
                await each.finish()
            assert caught.value.outcome is Outcome.UNKNOWN
            assert not caught.value.safe_to_retry
    assert len(service.received) == 1


async def test_drift_is_given_again(kind: str) -> None:
    """What was odd about an answer is as worth knowing to whoever gets it from a store."""

    async def odd(_: HttpRequest) -> HttpResponse:
        user = rb'"user":{"TOTP":"yes","userId":"U","customAttributes":{"x":[1e999,null,"\ud83d\ude00"]}}'
        body = b'{"sessionJwt":"s","firstSeen":1,"new":{"a":1},' + user + b"}"
        return HttpResponse(201, (), body)

    service = Service(answering=odd)
    async with fleet(kind, service) as workers:
        first, again = await workers.first.finish(), await workers.again.finish()
    assert {each.path for each in first.drift} >= {"user.TOTP", "firstSeen", "status"}
    assert again == first
    assert again.drift == first.drift
    assert again.extra == first.extra
    assert len(service.received) == 1


async def test_what_is_remembered_is_bounded() -> None:
    """Beyond the bound the oldest is forgotten, and its proof goes out again."""
    service = Service()
    async with worker(service, SingleFlight(max_entries=2)) as one:
        for code in "abcba":
            await one.finish(code=code)
    assert [re.findall(rb'"code": ?"(\w)"', each.body)[0] for each in service.received] == [
        *(b"a", b"b", b"c", b"a")
    ]


async def test_the_mark_of_a_spent_proof_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of one proof after ten minutes, while another's time still runs."""
    monkeypatch.setattr("descope_native.single_flight._memory.CLAIM_TIME", 0.5)
    service = Service()
    single_flight = SingleFlight(remember=0.2)
    async with worker(service, single_flight) as one:
        await one.finish(code="a")
        await asyncio.sleep(0.15)
        await one.finish(code="b")
        await asyncio.sleep(0.15)  # the first one's session is forgotten
        with pytest.raises(TransportError, match="no longer remembered"):
            await one.finish(code="a")
        assert (await one.finish(code="b")).session_jwt == "s.b"
        await asyncio.sleep(0.25)  # and now its mark
        await one.finish(code="a")
        with pytest.raises(TransportError, match="no longer remembered"):
            await one.finish(code="b")
    assert len(service.received) == 3


async def test_a_mark_makes_room_before_a_session_does() -> None:
    """Where both are too many, what is worth less goes first."""
    service = Service()
    async with worker(service, SingleFlight(remember=0.2, max_entries=2)) as one:
        await one.finish(code="a")
        await asyncio.sleep(0.3)
        await one.finish(code="b")
        await one.finish(code="c")
        assert (await one.finish(code="b")).session_jwt == "s.b"
        await one.finish(code="a")
    assert len(service.received) == 4
