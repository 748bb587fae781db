"""What every store of `SingleFlight` has to hold, as cases that anybody can run over theirs.

With pytest:

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_contract(case):
        asyncio.run(case.run(open_my_store))

``open_my_store()`` gives an async context manager that opens the store for one worker. It is entered several
times in one case, and what is opened must share what it holds. What a case keeps is gone within two seconds;
its keys are used in no other. A case that fails raises ``AssertionError``, whose text says what was seen.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final

import attrs

from descope_native.single_flight import Store

__all__ = ["CASES", "Case"]

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]

_BODY = Callable[[Store, Store, bytes], Awaitable[None]]

_LONG: Final = 2.0
"""Seconds in which each step of a case is over."""

_SHORT: Final = 0.2
"""Seconds that are waited for to pass."""


@attrs.frozen
class Case:
    """One case: its name says what has to hold."""

    name: str
    _body: _BODY = attrs.field(repr=False)

    def __str__(self) -> str:
        return self.name

    async def run(self, open_store: OpenStore) -> None:
        """Run it with two workers' stores. Raises ``AssertionError`` for what does not hold."""
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(open_store())
            other = await stack.enter_async_context(open_store())
            await self._body(one, other, os.urandom(32))


def _check(holds: bool, seen: object) -> None:  # noqa: FBT001 -- as an assert
    if not holds:
        raise AssertionError(f"seen: {seen}")


async def _first_come(one: Store, other: Store, key: bytes) -> None:
    found = await one.claim(key, b"first", _LONG)
    _check(found.claim == b"first" and found.result is None and 0 <= found.age < 1, found)
    found = await other.claim(key, b"second", _LONG)
    _check(found.claim == b"first" and found.result is None, found)


async def _only_one(one: Store, other: Store, key: bytes) -> None:
    claims = [b"claim-%d" % number for number in range(40)]
    stores = (one, other) * 20
    asked = (store.claim(key, claim, _LONG) for store, claim in zip(stores, claims, strict=True))
    found = await asyncio.gather(*asked)
    winners = {each.claim for each in found}
    _check(len(winners) == 1 and winners <= set(claims), winners)


async def _again(one: Store, other: Store, key: bytes) -> None:
    await one.claim(key, b"claim", _LONG)
    found = await one.claim(key, b"claim", _LONG)
    _check(found.claim == b"claim", found)
    for _ in range(2):
        await one.settle(key, b"result", _LONG, _LONG)
    found = await other.claim(key, b"claim", _LONG)
    _check(found.result == b"result", found)
    for _ in range(2):
        await one.release(key, b"claim")


async def _age(one: Store, other: Store, key: bytes) -> None:
    await one.claim(key, b"claim", _LONG)
    await asyncio.sleep(_SHORT)
    found = await other.claim(key, b"another", _LONG)
    _check(_SHORT * 0.9 <= found.age < _LONG, found)


async def _claim_ends(one: Store, other: Store, key: bytes) -> None:
    await one.claim(key, b"claim", _SHORT)
    await asyncio.sleep(_SHORT * 1.5)
    found = await other.claim(key, b"another", _LONG)
    _check(found.claim == b"another", found)


async def _result(one: Store, other: Store, key: bytes) -> None:
    result = bytes(range(256)) * 40  # any bytes, and more than a packet
    await one.claim(key, b"claim", _LONG)
    await one.settle(key, result, _LONG, _LONG)
    for store in one, other:
        found = await store.claim(key, b"another", _LONG)
        _check(found.claim == b"" and found.result == result, found)


async def _result_ends(one: Store, other: Store, key: bytes) -> None:
    await one.claim(key, b"claim", _LONG)
    await one.settle(key, b"result", _SHORT, _LONG)
    await asyncio.sleep(_SHORT * 1.5)
    found = await other.claim(key, b"another", _LONG)
    _check(found.claim == b"" and found.result is None, found)


async def _spent_ends(one: Store, other: Store, key: bytes) -> None:
    await one.settle(key, b"result", _SHORT, _SHORT)
    await asyncio.sleep(_SHORT * 1.5)
    found = await other.claim(key, b"another", _LONG)
    _check(found.claim == b"another" and found.result is None, found)


async def _unclaimed(one: Store, other: Store, key: bytes) -> None:
    await one.settle(key, b"result", _LONG, _LONG)
    found = await other.claim(key, b"another", _LONG)
    _check(found.result == b"result" and found.claim != b"another", found)


async def _latest(one: Store, other: Store, key: bytes) -> None:
    await one.settle(key, b"old", _SHORT, _LONG)
    await other.settle(key, b"new", _LONG, _LONG)
    await asyncio.sleep(_SHORT * 1.5)
    found = await one.claim(key, b"another", _LONG)
    _check(found.result == b"new", found)


async def _release(one: Store, other: Store, key: bytes) -> None:
    await one.claim(key, b"claim", _LONG)
    await one.release(key, b"claim")
    found = await other.claim(key, b"another", _LONG)
    _check(found.claim == b"another", found)


async def _not_its_own(one: Store, other: Store, key: bytes) -> None:
    await one.release(key, b"claim")  # of which there is none
    await one.claim(key, b"claim", _LONG)
    await other.release(key, b"another")
    found = await other.claim(key, b"another", _LONG)
    _check(found.claim == b"claim", found)
    await one.settle(key, b"result", _LONG, _LONG)
    await one.release(key, b"claim")
    found = await other.claim(key, b"another", _LONG)
    _check(found.result == b"result", found)


async def _keys(one: Store, other: Store, key: bytes) -> None:
    for number in range(3):
        await one.settle(key + bytes([number]), b"result-%d" % number, _LONG, _LONG)
    for number in range(3):
        found = await other.claim(key + bytes([number]), b"another", _LONG)
        _check(found.result == b"result-%d" % number, found)


CASES: Final = (
    Case("who claims first has the key", _first_come),
    Case("of many claims at once one wins, and all are told which", _only_one),
    Case("what is asked twice does no harm", _again),
    Case("a claim has an age", _age),
    Case("a claim ends", _claim_ends),
    Case("a result is found instead of a claim", _result),
    Case("a result ends, and an empty claim stays", _result_ends),
    Case("an empty claim ends", _spent_ends),
    Case("a result needs no claim", _unclaimed),
    Case("the latest result counts, for its own time", _latest),
    Case("a claim can be released", _release),
    Case("only the very claim is released", _not_its_own),
    Case("keys have nothing to do with each other", _keys),
)
