"""The stand-in on a real socket."""

import asyncio
import errno
import math
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, cast

from aiohttp import web
from yarl import URL

from descope_native.testing._records import DroppedError
from descope_native.transports import HttpRequest, HttpResponse

# A name may have addresses that the machine does not: localhost is ::1 too, also where IPv6 is off.
_NOT_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}

Service = Callable[[HttpRequest], Awaitable[HttpResponse]]


@asynccontextmanager
async def serve(service: Service, host: str, port: int) -> AsyncGenerator[str, None]:
    """Serve until the block ends, and give the base URL."""
    sockets = await _listen(host, port)
    base_url = URL.build(scheme="http", host=host, port=sockets[0].getsockname()[1])

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        asked = HttpRequest(
            method=request.method,
            # Not request.url, which takes the word of a Host header for who we are.
            url=base_url.with_path(request.rel_url.raw_path, encoded=True),
            headers=request.headers,
            body=await request.read(),
            timeout=math.inf,
        )
        try:
            answer = await service(asked)
        except DroppedError as dropped:
            return await _drop(request, dropped.answer)
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    server = web.Server(respond, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
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
