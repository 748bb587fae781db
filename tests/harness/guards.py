"""The transport with one of its guards taken away, to show that the harness would notice."""

from typing import Any

import aiohttp

from descope_native import ConnectError, ConnectionLost, HttpResponse
from descope_native.transports._lifecycle import Call, Lifecycle
from descope_native.transports.aiohttp import AiohttpTransport


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
