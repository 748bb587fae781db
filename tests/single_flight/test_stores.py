"""The contract of a store, over each that there is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from redis import Redis as SyncRedis
from store_servers import PROGRAMS, StoreServer

from descope_native import InvalidRequestError
from descope_native.single_flight import Found, MemoryStore, RedisStore, Store
from descope_native.testing.store_contract import CASES, Case

Opener = Callable[[], AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def in_memory() -> AsyncIterator[Opener]:
    store = MemoryStore()

    @asynccontextmanager
    async def open_store() -> AsyncIterator[Store]:
        yield store

    yield open_store


@asynccontextmanager
async def on_a_server(name: str, **options: Any) -> AsyncIterator[Opener]:
    async with StoreServer(name) as server:

        @asynccontextmanager
        async def open_store() -> AsyncIterator[Store]:
            async with server.client(**options) as client:
                yield RedisStore(client)

        yield open_store


STORES: dict[str, Callable[[], AbstractAsyncContextManager[Opener]]] = {
    "memory": in_memory,
    **{name: lambda name=name: on_a_server(name) for name in PROGRAMS},  # type: ignore[misc]
    **{f"{name} as text": lambda name=name: on_a_server(name, decode_responses=True) for name in PROGRAMS},  # type: ignore[misc]
    **{f"{name} over RESP3": lambda name=name: on_a_server(name, protocol=3) for name in PROGRAMS},  # type: ignore[misc]
}


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("store", STORES)
async def test_the_contract(store: str, case: Case) -> None:
    """Whoever else writes a store can run the same cases."""
    async with STORES[store]() as open_store:
        await case.run(open_store)


class Faulty(MemoryStore):
    """Each way in which a store can break its promises."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    async def claim(self, key: bytes, claim: bytes, seconds: float, /) -> Found:
        if self.fault == "keys are mixed up":
            key = b""
        entry = self._entries.get(key)
        if self.fault == "a claim goes before a result" and entry and entry.result:
            entry.claim = claim
        if self.fault == "a claim counts again" and entry and entry.claim == claim:
            del self._entries[key]
            claim += b" again"
        found = await super().claim(key, claim, 600 if self.fault == "claims stay" else seconds)
        if self.fault == "not atomic":
            return Found(claim, 0.0)
        if self.fault == "no age":
            return Found(found.claim, 0.0, found.result)
        if self.fault == "results are cut" and found.result:
            return Found(found.claim, found.age, found.result[:1000])
        return found

    async def settle(self, key: bytes, result: bytes, seconds: float, spent: float, /) -> None:
        if self.fault == "keys are mixed up":
            key = b""
        if self.fault == "nothing is settled":
            return
        entry = self._entries.get(key)
        if self.fault == "results need a claim" and entry is None:
            return
        if self.fault == "the first result counts" and entry and entry.result:
            return
        if self.fault == "the first result's time counts" and entry and entry.result:
            seconds = entry.result_until - self._clock()
        seconds = 600 if self.fault == "results stay" else seconds
        spent = {"spent proofs stay": 600, "spent proofs are forgotten": seconds}.get(self.fault, spent)
        await super().settle(key, result, seconds, spent)
        if self.fault == "claims outlive their results":
            self._entries[key].claim = b"claim" if entry is None else entry.claim

    async def release(self, key: bytes, claim: bytes, /) -> None:
        if self.fault == "nothing is released":
            return
        if self.fault == "anybody releases":
            self._entries.pop(key, None)
        if self.fault == "what is not there is no claim" and key not in self._entries:
            raise KeyError(key)
        await super().release(key, claim)


# Which of the cases have to see it.
FAULTS: dict[str, set[str]] = {
    "not atomic": {
        "who claims first has the key",
        "of many claims at once one wins, and all are told which",
        "a result needs no claim",
    },
    "claims stay": {"a claim ends"},
    "no age": {"a claim has an age"},
    "a claim goes before a result": {"a result is found instead of a claim", "a result needs no claim"},
    "a claim counts again": {"what is asked twice does no harm"},
    "results are cut": {"a result is found instead of a claim"},
    "keys are mixed up": {"keys have nothing to do with each other"},
    "nothing is settled": {"what is asked twice does no harm", "a result is found instead of a claim"},
    "results need a claim": {"a result needs no claim"},
    "the first result counts": {"the latest result counts, for its own time"},
    "the first result's time counts": {"the latest result counts, for its own time"},
    "results stay": {"a result ends, and an empty claim stays"},
    "spent proofs stay": {"an empty claim ends"},
    "spent proofs are forgotten": {"a result ends, and an empty claim stays"},
    "claims outlive their results": {"a result ends, and an empty claim stays"},
    "nothing is released": {"a claim can be released"},
    "anybody releases": {"only the very claim is released"},
    "what is not there is no claim": {"only the very claim is released"},
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_contract_sees_each_broken_promise(fault: str) -> None:
    """In the cases that are about it, and says what was seen."""

    async def sees(case: Case) -> bool:
        store = Faulty(fault)

        @asynccontextmanager
        async def open_store() -> AsyncIterator[Store]:
            yield store

        try:
            await case.run(open_store)
        except AssertionError as error:
            return str(error).startswith("seen: ")
        except KeyError:
            return True
        return False

    seen = await asyncio.gather(*map(sees, CASES))
    assert FAULTS[fault] <= {str(case) for case, is_seen in zip(CASES, seen, strict=True) if is_seen}


async def test_memory_is_bounded() -> None:
    """Beyond its limit the oldest goes, and what was settled again is not the oldest."""
    store = MemoryStore(max_entries=2)
    await store.settle(b"1", b"result", 60, 60)
    await store.settle(b"2", b"result", 60, 60)
    await store.settle(b"1", b"result", 60, 60)
    await store.settle(b"3", b"result", 60, 60)
    found = [(await store.claim(key, b"mine", 60)).result for key in (b"1", b"3")]
    assert found == [b"result", b"result"]
    assert (await store.claim(b"2", b"mine", 60)).claim == b"mine"


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True], ids=str)
def test_a_bound_that_cannot_be_right_is_refused(wrong: Any) -> None:
    """When the store is made."""
    with pytest.raises(InvalidRequestError, match="max_entries"):
        MemoryStore(max_entries=wrong)


@pytest.mark.parametrize("wrong", [SyncRedis(), None, "redis://localhost"], ids=["sync", "none", "url"])
def test_what_is_no_asyncio_client_is_refused(wrong: Any) -> None:
    """At once: in a call it would only count as a store that is away."""
    with pytest.raises(InvalidRequestError, match=r"redis\.asyncio"):
        RedisStore(wrong)


async def test_a_prefix_keeps_applications_apart() -> None:
    """Two that share a server do not meet."""
    async with StoreServer("valkey") as server, server.client() as client:
        one, other = RedisStore(client, prefix="one:"), RedisStore(client, prefix="other:")
        await one.claim(b"key", b"mine", 60)
        assert (await other.claim(b"key", b"theirs", 60)).claim == b"theirs"
        assert sorted(await client.keys()) == [b"one:{6b6579}:claim", b"other:{6b6579}:claim"]


async def test_each_question_is_one_round_trip() -> None:
    """Two for who leads: a claim, and its result."""
    counted: list[str] = []

    class Client:
        async def __aenter__(self) -> object:
            raise NotImplementedError

        def eval(self, script: str, numkeys: int, /, *rest: str | int) -> Awaitable[object]:
            counted.append(script)
            answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            answer.set_result(["bWluZQ==", 0, None])
            return answer

    store = RedisStore(Client())
    assert (await store.claim(b"key", b"mine", 60)).claim == b"mine"
    await store.settle(b"key", b"result", 30, 60)
    assert len(counted) == 2
