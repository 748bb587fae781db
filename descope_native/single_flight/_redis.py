"""The store that is Redis or Valkey."""

import base64
from collections.abc import Awaitable
from typing import Final, Protocol, cast

from descope_native.errors import InvalidRequestError
from descope_native.single_flight._stores import Found

# A script is atomic, and its clock is the server's. Each is one round trip.
_CLAIM: Final = """
local result = redis.call('GET', KEYS[2])
if not result then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') end
return {redis.call('GET', KEYS[1]), ARGV[2] - redis.call('PTTL', KEYS[1]), result}
"""
_SETTLE: Final = """
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[1], '', 'PX', ARGV[3])
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class _Client(Protocol):
    """What is used of redis-py's asyncio clients, and of valkey-py's."""

    async def __aenter__(self) -> object: ...

    def eval(self, script: str, numkeys: int, /, *keys_and_args: str | int) -> Awaitable[object]: ...


class RedisStore:
    """A store for all workers that reach one Redis (6.2 or newer) or Valkey.

    It holds under each key what `SingleFlight` gives it: nothing from which a token, code, state or name
    can be read. It keeps its promises as far as the server does: one that loses what it has acknowledged,
    because it evicts keys, restarts without its append-only file, or fails over to a replica that lags
    behind, may let a proof out once more. Set ``maxmemory-policy noeviction``.

    Args:
        redis: a client of ``redis.asyncio`` (``Redis``, ``RedisCluster``, or what ``Sentinel`` hands out) or
            of ``valkey.asyncio``. It is borrowed: whoever made it closes it. The user that it logs in as
            needs ``+eval +get +set +del +pttl``. Its ``decode_responses`` may be either. Give it a
            ``BlockingConnectionPool``: the usual pool raises where all of its connections are in use, and
            that counts as a store that is away.
        prefix: what all keys begin with.

    Raises:
        InvalidRequestError: an argument cannot be right.
    """

    def __init__(self, redis: _Client, *, prefix: str = "descope_native:") -> None:
        if not hasattr(redis, "eval") or not hasattr(redis, "__aenter__"):
            raise InvalidRequestError("redis must be a client of redis.asyncio or valkey.asyncio")
        self._redis = redis
        self._prefix = prefix

    async def claim(self, key: bytes, claim: bytes, seconds: float, /) -> Found:
        found = await self._run(_CLAIM, key, _as_text(claim), _as_milliseconds(seconds))
        held_by, age, result = cast("tuple[str | bytes | None, int, str | bytes | None]", found)
        return Found(_as_bytes(held_by), age / 1000, _as_bytes(result))

    async def settle(self, key: bytes, result: bytes, seconds: float, spent: float, /) -> None:
        await self._run(_SETTLE, key, _as_text(result), _as_milliseconds(seconds), _as_milliseconds(spent))

    async def release(self, key: bytes, claim: bytes, /) -> None:
        await self._run(_RELEASE, key, _as_text(claim))

    async def _run(self, script: str, key: bytes, *arguments: str | int) -> object:
        # What stands in braces decides where a cluster keeps a key: both on one node.
        name = f"{self._prefix}{{{key.hex()}}}"
        return await self._redis.eval(script, 2, f"{name}:claim", f"{name}:result", *arguments)


# Text, since a client with decode_responses=True would take any bytes for UTF-8.
def _as_text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return None if value is None else base64.b64decode(value)


def _as_milliseconds(seconds: float) -> int:
    return max(round(seconds * 1000), 1)
