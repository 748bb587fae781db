"""The transport with one of its guards taken away, to show that the harness would notice."""

from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from descope_native import ConnectError, ConnectionLost, HttpResponse, UnexpectedResponse
from descope_native.transports.aiohttp import AiohttpTransport, _Body


class JudgedByType(AiohttpTransport):
    """Takes some of aiohttp's exceptions for a proof that nothing was sent."""

    async def _post(self, request: Any, body: Any) -> Any:
        try:
            async with self._session.post(
                request.url, data=body, headers=request.headers, allow_redirects=False
            ) as response:
                return HttpResponse(response.status, tuple(response.headers.items()), await response.read())
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return ConnectError("reset", "judged by its type")
        except aiohttp.ClientResponseError:
            return UnexpectedResponse(0, "judged by its type")
        except (aiohttp.ClientError, OSError):
            return ConnectionLost("read", "judged by its type")


class _Unchecked(_Body):
    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self.check = False
        self._progress.phase = "wait"
        await aiohttp.BytesPayload.write_with_length(self, writer, content_length)


class WithoutDirtyCheck(AiohttpTransport):
    """Writes to any pooled connection, and takes any answer for its own."""

    async def _post(self, request: Any, body: Any) -> Any:
        return await super()._post(request, _Unchecked(request, self._used))

    async def _read(self, response: Any, progress: Any, body: Any) -> Any:
        progress.phase = "wait"
        return await super()._read(response, progress, body)


class WithCookieJar(AiohttpTransport):
    """Keeps the cookies of its answers, as aiohttp does by itself."""

    def __init__(self, session: aiohttp.ClientSession, **options: Any) -> None:
        super().__init__(session, **options)
        self._session.detach()
        self._session = aiohttp.ClientSession(
            connector=session.connector, connector_owner=False, auto_decompress=False
        )


class FollowingRedirects(AiohttpTransport):
    """Goes where it is told to go, as aiohttp does by itself."""

    async def _post(self, request: Any, body: Any) -> Any:
        try:
            response = await self._session.post(request.url, data=body, headers=request.headers)
            return await self._read(response, request.progress, body)
        except (aiohttp.ClientError, OSError):
            if request.progress.phase == "connect":
                return ConnectError("other", "not reached")
            return ConnectionLost(request.progress.phase, "lost")
