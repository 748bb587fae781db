"""One proof at several workers at the same time, and workers that die."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest
from store_servers import PROGRAMS, StoreServer
from workers import Service, Worker, settled, started, worker

from descope_native import ConnectError, Outcome, RequestTimeout, SingleFlight, TransportError
from descope_native.single_flight import Found, MemoryStore, RedisStore, Store


@attrs.define
class Counting:
    """A store that counts what it is asked, and may hold an answer back, lose it, or fail."""

    inner: Store = attrs.field(factory=MemoryStore)
    asked: list[str] = attrs.field(factory=list)
    before: dict[str, Any] = attrs.field(factory=dict)
    after: dict[str, Any] = attrs.field(factory=dict)

    async def _do(self, name: str, *arguments: Any) -> Any:
        self.asked.append(name)
        if name in self.before:
            await self.before[name]()
        answer = await getattr(self.inner, name)(*arguments)
        if name in self.after:
            await self.after[name]()
        return answer

    async def claim(self, key: bytes, claim: bytes, seconds: float, /) -> Found:
        found: Found = await self._do("claim", key, claim, seconds)
        return found

    async def settle(self, key: bytes, result: bytes, seconds: float, spent: float, /) -> None:
        await self._do("settle", key, result, seconds, spent)

    async def release(self, key: bytes, claim: bytes, /) -> None:
        await self._do("release", key, claim)


class Spying(MemoryStore):
    """A store whose owner looks at what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: dict[bytes, bytes] = {}

    async def settle(self, key: bytes, result: bytes, seconds: float, spent: float, /) -> None:
        self.settled[key] = result
        await super().settle(key, result, seconds, spent)


@asynccontextmanager
async def workers(number: int, service: Service, store: Store, **options: Any) -> AsyncIterator[list[Worker]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(worker(service, SingleFlight(store=store, **options)))
            for _ in range(number)
        ]
        await settled()


@pytest.mark.parametrize("kind", ["memory", *PROGRAMS])
async def test_workers_make_one_call_together(kind: str) -> None:
    """Three workers with three callers each: one session for nine, and one call."""
    service = Service(is_held=True)
    async with AsyncExitStack() as stack:
        store: Any = MemoryStore()
        if kind != "memory":
            server = await stack.enter_async_context(StoreServer(kind))
            store = RedisStore(await stack.enter_async_context(server.client()))
        claims = asyncio.Semaphore(0)

        async def count() -> None:
            claims.release()

        store = Counting(store, after={"claim": count})
        made = await stack.enter_async_context(workers(3, service, store))
        tasks = await started(*(each.finish() for each in made for _ in range(3)))
        for _ in made:  # or the answer could be there before the last worker asks
            await claims.acquire()
        service.may_answer.set()
        results = await asyncio.gather(*tasks)
    assert {result.session_jwt for result in results} == {"s.code-1"}
    assert len(service.received) == 1
    hows = sorted(str(how) for each in made for how in each.hows)
    assert hows == ["joined"] * 8 + ["led"]


async def test_who_leads_asks_the_store_twice() -> None:
    """A claim, and what came of it: no more round trips than that."""
    store = Counting()
    async with workers(1, Service(), store) as (one,):
        await one.finish()
    assert store.asked == ["claim", "settle"]


async def test_who_waits_asks_ten_times_a_second_at_most() -> None:
    """However many callers of one worker wait, and not all workers at the same moments."""
    service, store = Service(is_held=True), Counting()
    async with workers(2, service, store) as (one, other):
        leader = await started(one.finish())
        await service.arrived.wait()
        store.asked.clear()
        waiting = await started(*(other.finish() for _ in range(5)))
        await asyncio.sleep(1)
        asked = len(store.asked)
        service.may_answer.set()
        await asyncio.gather(*leader, *waiting)
    assert 4 <= asked <= 11


async def test_who_waits_gives_up_at_its_own_deadline() -> None:
    """It does not know what the other worker will be told."""
    service, loop = Service(is_held=True), asyncio.get_running_loop()
    async with workers(2, service, MemoryStore()) as (one, other):
        leader = await started(one.finish())
        await service.arrived.wait()
        began = loop.time()
        with pytest.raises(RequestTimeout) as caught:
            await other.finish(timeout=0.25)
        assert 0.2 < loop.time() - began < 1
        assert (caught.value.phase, caught.value.outcome) == ("wait", Outcome.UNKNOWN)
        assert other.events[-1].single_flight == "joined"
        service.may_answer.set()
        await asyncio.gather(*leader)
        assert (await other.finish()).session_jwt == "s.code-1"  # nothing of that was remembered


async def test_a_caller_with_more_time_waits_on_where_another_gives_up() -> None:
    """Both wait in one worker for what another worker does; only the first was in a hurry."""
    service = Service(is_held=True)
    async with workers(2, service, MemoryStore()) as (one, other):
        leader = await started(one.finish())
        await service.arrived.wait()
        hasty, patient = await started(other.finish(timeout=0.15), other.finish())
        with pytest.raises(RequestTimeout):
            await hasty
        await asyncio.sleep(0.05)
        assert not patient.done()
        service.may_answer.set()
        results = await asyncio.gather(patient, *leader)
    assert {result.session_jwt for result in results} == {"s.code-1"}
    assert len(service.received) == 1


async def test_a_worker_whose_callers_have_gone_asks_no_more() -> None:
    """What another worker does goes on without being watched."""
    service, store = Service(is_held=True), Counting()
    async with workers(2, service, store) as (one, other):
        leader = await started(one.finish())
        await service.arrived.wait()
        (gone,) = await started(other.finish())
        gone.cancel()
        await asyncio.wait([gone])
        await asyncio.sleep(0.2)
        store.asked.clear()
        await asyncio.sleep(0.3)
        assert store.asked == []
        service.may_answer.set()
        await asyncio.gather(*leader)
    assert len(service.received) == 1


async def test_a_worker_that_dies_leaves_the_proof_unknown() -> None:
    """Nobody sends it again. Who asks while it may still tell waits; once its time is up, nobody does."""
    service, loop = Service(is_held=True), asyncio.get_running_loop()
    async with workers(2, service, MemoryStore(), store_timeout=0.1) as (dying, other):
        (caller,) = await started(dying.finish(timeout=0.5))
        await service.arrived.wait()
        began = loop.time()
        (flight,) = asyncio.all_tasks() - {asyncio.current_task(), caller}
        flight.cancel()  # as the end of the process would: nothing is told to the store
        await asyncio.wait([caller])
        with pytest.raises(TransportError, match="never told what came of it") as caught:
            await other.finish()
        assert 0.5 < loop.time() - began < 1.2
        assert caught.value.outcome is Outcome.UNKNOWN
        began = loop.time()
        with pytest.raises(TransportError, match="never told"):
            await other.finish()
        assert loop.time() - began < 0.1
    assert len(service.received) == 1
    assert [event.single_flight for event in other.events] == ["joined", "replayed"]
    assert caller.exception() is not None


async def test_who_waits_sends_the_proof_where_the_other_worker_let_go_of_it() -> None:
    """It was not sent there, so it is still good here."""
    service = Service(is_held=True, raises=ConnectionRefusedError())
    async with workers(2, service, MemoryStore()) as (one, other):
        leader, waiting = await started(one.finish(), other.finish())
        await service.arrived.wait()
        service.may_answer.set()
        with pytest.raises(ConnectError):
            await leader
        service.raises = None
        assert (await waiting).session_jwt == "s.code-1"
    assert len(service.received) == 2
    assert [event.single_flight for each in (one, other) for event in each.events] == ["led", "led"]


async def test_a_proof_that_the_store_was_not_told_to_let_go_of_counts_as_sent() -> None:
    """A slow store may carry out the release later, so the claim cannot be used again: nobody sends it."""
    service = Service(raises=ConnectionRefusedError())

    async def fail() -> None:
        raise OSError

    store = Counting(before={"release": fail})
    async with workers(2, service, store, store_timeout=0.1) as (one, other):
        with pytest.raises(ConnectError):
            await one.finish()
        service.raises = None
        for each in one, other:
            with pytest.raises(RequestTimeout) as caught:
                await each.finish(timeout=0.2)
            assert caught.value.outcome is Outcome.UNKNOWN
    assert len(service.received) == 1


async def test_a_session_from_another_worker_is_not_remembered_for_longer() -> None:
    """Its time counts from when it was given first."""
    service = Service()
    async with workers(2, service, MemoryStore(), remember=0.4) as (one, other):
        await one.finish()
        await asyncio.sleep(0.2)
        assert (await other.finish()).session_jwt == "s.code-1"
        await asyncio.sleep(0.3)
        with pytest.raises(TransportError, match="no longer remembered"):
            await other.finish()


@pytest.mark.parametrize(
    "forged",
    [b"", b"short", b"x" * 100, "of another proof", "another claim"],
    ids=["empty", "short", "noise", "of another proof", "claim"],
)
async def test_what_cannot_be_read_is_unknown(forged: bytes | str) -> None:
    """Who can write to the store can spoil what it holds, but slip no session in."""
    service, store = Service(), Spying()
    async with workers(2, service, store) as (one, other):
        await one.finish(code="code-2")
        (mine,) = store.settled.values()
        await one.finish()
        key = list(store.settled)[-1]
        if forged == "another claim":
            await store.release(key, b"")  # the claim of what is settled
            await store.claim(key, b"?", 60)
        else:
            await store.settle(key, mine if isinstance(forged, str) else forged, 60, 60)
        with pytest.raises(TransportError, match="cannot be read") as caught:
            await other.finish()
        assert caught.value.outcome is Outcome.UNKNOWN
    assert len(service.received) == 2


@pytest.mark.parametrize(
    "text", [b"R[]", b"R", b"R[{},[]]", b"E[]", b'E["Nobody",[],{}]', b"Ex", b""], ids=str
)
async def test_what_another_version_wrote_is_unknown(text: bytes) -> None:
    """While a fleet is upgraded, what one version tells may mean nothing to the other."""
    from descope_native.single_flight._sealing import Seal  # noqa: PLC0415 -- to write what only it can

    service, store = Service(), Spying()
    async with workers(2, service, store) as (one, other):
        proofs: list[bytes] = []
        derive = Seal.of

        def spy(proof: bytes) -> Seal:
            proofs.append(proof)
            return derive(proof)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Seal, "of", spy)
            await one.finish()
        (key,) = store.settled
        await store.settle(key, derive(proofs[0]).close(text), 60, 60)
        with pytest.raises(TransportError, match="cannot be read"):
            await other.finish()
