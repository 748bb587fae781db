"""The stand-in on a real socket."""

import asyncio
import errno
import logging
import math
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final, cast

import attrs
from aiohttp import web
from yarl import URL

from descope_native.testing._faults import DroppedError
from descope_native.testing._guard import check_caller
from descope_native.testing._journal import access_line
from descope_native.testing._json import RefusedError
from descope_native.transports import HttpRequest, HttpResponse
from descope_native.transports._aiohttp.internals import HttpProcessingError

# A name may have addresses that the machine does not: localhost is ::1 too, also where IPv6 is off.
_NOT_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}

_MAX_BODY: Final = 128 * 1024
"""Several times the largest sign-in. Of what is sent, thousands are kept."""

_LOGGER: Final = logging.getLogger("descope_native.testing")

# aiohttp's own complaints, but for those that quote what is no HTTP.
_COMPLAINTS: Final = logging.getLogger("descope_native.testing.server")
_COMPLAINTS.addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
)

Service = Callable[[HttpRequest], Awaitable[HttpResponse]]


@asynccontextmanager
async def serve(
    service: Service, host: str, port: int, allowed_hosts: Collection[str], request_timeout: float
) -> AsyncGenerator[str, None]:
    """Serve until the block ends, and give the base URL."""
    sockets = await _listen(host, port)
    base_url = URL.build(scheme="http", host=host, port=sockets[0].getsockname()[1])
    reception = _Reception(
        service=service,
        base_url=base_url,
        allowed_hosts={host, *allowed_hosts},
        request_timeout=request_timeout,
    )
    runner = web.ServerRunner(_Server(reception), shutdown_timeout=0.1)
    await runner.setup()
    try:
        for sock in sockets:
            await web.SockSite(runner, sock).start()
        yield str(base_url)
    finally:
        await runner.cleanup()


async def _listen(host: str, port: int) -> list[socket.socket]:
    """One port on every address of the host, since a client may try any of them first."""
    loop = asyncio.get_running_loop()
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    for family, *_, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            sockets.append(socket.create_server((str(address[0]), port), family=family, backlog=1024))
            port = sockets[0].getsockname()[1]
        except OSError as error:
            problem = error
            if error.errno not in _NOT_HERE:
                break
    if sockets and (problem is None or problem.errno in _NOT_HERE):
        return sockets
    for sock in sockets:
        sock.close()
    raise problem or OSError(errno.EADDRNOTAVAIL, "the host has no address")


@attrs.frozen(kw_only=True)
class _Reception:
    """Where every request comes by, and is let in or not."""

    service: Service
    base_url: URL
    allowed_hosts: Collection[str]
    request_timeout: float
    _unheard: dict[web.RequestHandler, asyncio.TimerHandle] = attrs.field(
        factory=dict[web.RequestHandler, asyncio.TimerHandle], init=False
    )

    def expect(self, connection: web.RequestHandler) -> None:
        """Close the connection unless a request comes."""
        loop = asyncio.get_running_loop()
        self._unheard[connection] = loop.call_later(self.request_timeout, self._give_up, connection)

    def _give_up(self, connection: web.RequestHandler) -> None:
        del self._unheard[connection]
        connection.force_close()

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Let the service answer, and tell the log."""
        if timer := self._unheard.pop(request.protocol, None):
            timer.cancel()
        loop = asyncio.get_running_loop()
        began = loop.time()
        asked = HttpRequest(
            method=request.method,
            # Not request.url, which takes the word of a Host header for who we are.
            url=self.base_url.with_path(request.rel_url.raw_path, encoded=True),
            headers=request.headers,
            body=b"",
            timeout=math.inf,
        )
        try:
            check_caller(request, self.allowed_hosts)
            asked = attrs.evolve(asked, body=await self._body(request))
            answer = await self.service(asked)
        except RefusedError as refusal:
            answer = refusal.as_response(("Connection", "close"))
        except asyncio.CancelledError:
            _LOGGER.info(access_line(asked, "abandoned", loop.time() - began))
            raise
        except DroppedError as dropped:
            _LOGGER.info(access_line(asked, "dropped", loop.time() - began))
            return await _drop(request, dropped.answer)
        _LOGGER.info(access_line(asked, answer, loop.time() - began))
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async def _body(self, request: web.BaseRequest) -> bytes:
        try:
            async with asyncio.timeout(self.request_timeout):
                body = await request.read()
        except TimeoutError:
            raise RefusedError(408, "E011001", "the request did not arrive in time") from None
        except web.HTTPRequestEntityTooLarge:
            body = None
        if body is None or len(body) > _MAX_BODY:
            raise RefusedError(413, "E011001", f"the body is larger than {_MAX_BODY} bytes")
        return body


class _Server(web.Server):
    """One that does not wait for ever for a first request, as aiohttp before 3.14.5 does."""

    def __init__(self, reception: _Reception) -> None:
        super().__init__(
            reception.respond,
            handler_cancellation=True,
            access_log=None,
            logger=_COMPLAINTS,
            auto_decompress=False,
            keepalive_timeout=reception.request_timeout,  # which is also how long a later head may take
            lingering_time=1.0,
        )
        self._reception = reception

    def __call__(self) -> web.RequestHandler:
        connection = super().__call__()
        self._reception.expect(connection)
        return connection


async def _drop(request: web.BaseRequest, answer: HttpResponse | None) -> web.StreamResponse:
    """End the connection: halfway through this answer, or with a reset."""
    transport = cast("asyncio.Transport", request.transport)  # there is one, since the handler still runs
    if answer is None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        return web.StreamResponse()
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    transport.close()
    return response
