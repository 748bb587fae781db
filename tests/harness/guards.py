"""The transport with one of its guards taken away, to show that the harness would notice."""

import asyncio
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest import mock

import aiohttp
import attrs

from descope_native import ConnectError, ConnectionLost, HttpResponse
from descope_native.transports import aiohttp as transport_module
from descope_native.transports._aiohttp.internals import ReuseTrace
from descope_native.transports._aiohttp.wire import Wire
from descope_native.transports._lifecycle import Call, Lifecycle
from descope_native.transports.aiohttp import AiohttpTransport

from .run import KINDS, MakeTransport, run


class JudgedByType(AiohttpTransport):
    """Takes some of aiohttp's exceptions for a proof that nothing was sent."""

    def _failure(self, error: Exception, phase: Any) -> Any:
        if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
            return ConnectError("reset", "judged by its type")
        return super()._failure(error, phase)


class WithoutDirtyCheck(AiohttpTransport):
    """Writes to any pooled connection, and takes any answer for its own."""

    async def _is_clean(self, protocol: Any, *, is_known: bool) -> bool:
        return True


class WithCookieJar(AiohttpTransport):
    """Lets the session carry its requests, with the cookies of its answers, as aiohttp does by itself."""

    follows_redirects = False

    async def _call(self, call: Call, *_: Any) -> Any:
        request = call.request
        request.progress.phase = "send"
        try:
            async with self._session.post(
                request.url,
                data=request.body,
                headers=request.headers,
                allow_redirects=self.follows_redirects,
            ) as response:
                return HttpResponse(response.status, tuple(response.headers.items()), await response.read())
        except (aiohttp.ClientError, OSError):
            return ConnectionLost("send", "lost")


class FollowingRedirects(WithCookieJar):
    """Goes where it is told to go, too."""

    follows_redirects = True


class DeafWhenLate(AiohttpTransport):
    """Gives a call up at its deadline, whatever has arrived before while the loop was held up."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lifecycle = _ByTheClock()


class _ByTheClock(Lifecycle):
    def _expire(self, clock: Any, *_: object) -> None:
        if not clock.expired():
            clock._on_timeout()  # as asyncio's own timer does, without another turn of the loop


def _with_what_is_behind_it(wire: Any, data: bytes) -> None:
    """What is behind an answer goes to the parser, which keeps a part of a message to itself."""
    wire.body.skip(data)
    wire.is_clean = wire.body.is_over
    wire._parser.data_received(data)


def _forgetful(wire: Any, data: bytes) -> None:
    """What comes over a connection that was given back is passed on, and forgotten."""
    wire._parser.data_received(data)


def _nothing(*_: object) -> None:
    """The guard is not there."""


class Borrowing(AiohttpTransport):
    """None of its own: each call goes over a session that its owner uses, too."""


_NEVER: Final = property(lambda _: False, _nothing)
_SOMEBODY_ELSES: Final = "a token of somebody else"


@attrs.frozen
class Missing:
    """A guard that is switched off, and what shows it.

    Attributes:
        notices: what the harness must find.
        kinds: what the servers do meanwhile, see `run`. As a rule what the guard is about, and little else.
        transport: one without it.
        switched_off: else what stands in its place: owner, name, replacement.
        tls: over TLS.
        busy: see `run`.
        where_writes_are_held_back: only an event loop that keeps a write until the end of its turn shows it.
    """

    notices: str
    kinds: Mapping[str, int] = KINDS
    transport: MakeTransport = AiohttpTransport
    switched_off: tuple[tuple[Any, str, Any], ...] = ()
    tls: bool = False
    busy: float = 0.05
    where_writes_are_held_back: bool = False

    @contextmanager
    def without(self) -> Iterator[None]:
        with ExitStack() as stack:
            for owner, name, replacement in self.switched_off:
                # Some are set by each instance; where a name is wrong, nothing is switched off, or noticed.
                stack.enter_context(mock.patch.object(owner, name, replacement, create=True))
            yield


MISSING: Final = {
    "an outcome that is proved": Missing(
        "said not sent, and the server has it", {"cut": 1, "good": 1}, JudgedByType
    ),
    "a look at what waits": Missing(_SOMEBODY_ELSES, {"stray": 1}, WithoutDirtyCheck),
    "no cookie jar": Missing("a cookie was sent", {"cookie": 1}, WithCookieJar),
    "no redirects": Missing(
        "a redirect was followed|its code was sent . times", {"redirect": 1, "good": 1}, FollowingRedirects
    ),
    "in time is in time": Missing("an answer in time was thrown away", {"held": 1, "good": 4}, DeafWhenLate),
    "the end of an answer": Missing(
        _SOMEBODY_ELSES, {"tail": 1}, switched_off=((Wire, "_take_body", _with_what_is_behind_it),)
    ),
    "a look at what the kernel has": Missing(
        _SOMEBODY_ELSES, {"stray": 1}, switched_off=((transport_module, "_has_unread", lambda _: False),)
    ),
    "no word while idle": Missing(
        _SOMEBODY_ELSES, {"stray": 1}, switched_off=((Wire, "_close", _forgetful),)
    ),
    "the memory of a borrowed pool": Missing(
        _SOMEBODY_ELSES, {"stray": 1}, Borrowing, switched_off=((Wire, "_pass_to_owner", _forgetful),)
    ),
    "none that its owner has used": Missing(
        _SOMEBODY_ELSES, {"good": 1}, Borrowing, switched_off=((ReuseTrace, "is_reused", _NEVER),)
    ),
    "plain writes at once": Missing(
        _SOMEBODY_ELSES,
        {"good": 1},
        switched_off=((transport_module, "_write_at_once", _nothing),),
        busy=0.5,
        where_writes_are_held_back=True,
    ),
    "an answer after its request, over TLS": Missing(
        _SOMEBODY_ELSES,
        {"good": 1},
        switched_off=((Wire, "is_early", _NEVER),),
        tls=True,
        busy=0.5,
        where_writes_are_held_back=True,
    ),
}


async def holds_writes_back() -> bool:
    """Whether this loop keeps what is written until the end of its turn: uvloop does, up to 0.22."""
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        transport.write(b"x")
        is_held = transport.get_write_buffer_size() > 0
        transport.abort()
    return is_held


async def violations_without(missing: Missing, *, calls: int = 200, batches: int = 20) -> list[str]:
    """What the harness finds, until it is what it must find. How soon a fault meets its victim varies."""
    violations: list[str] = []
    for seed in range(batches):
        with missing.without():
            figures = await run(
                calls,
                seed,
                tls=missing.tls,
                make_transport=missing.transport,
                kinds=missing.kinds,
                busy=missing.busy,
                patience=1.0,  # a busy machine has no calls in less
            )
        violations += [each for each in figures.violations if re.search(missing.notices, each)]
        if violations:
            break
    return violations
