"""The stand-in on a real socket."""

import asyncio
import errno
import math
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from yarl import URL

from descope_native.testing._records import DroppedError
from descope_native.transports import HttpRequest, HttpResponse

_NOT_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}

Service = Callable[[HttpRequest], Awaitable[HttpResponse]]


@asynccontextmanager
async def serve(service: Service, host: str, port: int) -> AsyncIterator[str]:
    """Serve until the block ends, and give the base URL."""

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        try:
            answer = await service(
                HttpRequest(
                    method=request.method,
                    url=request.url,
                    headers=request.headers,
                    body=body,
                    timeout=math.inf,
                )
            )
        except DroppedError as dropped:
            return await _drop(request, dropped.partial)
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    sockets = await _listen(host, port)
    server = web.Server(respond, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        for sock in sockets:
            await web.SockSite(runner, sock).start()
        yield str(URL.build(scheme="http", host=host, port=sockets[0].getsockname()[1]))
    finally:
        await runner.cleanup()


async def _listen(host: str, port: int) -> list[socket.socket]:
    """One port on every address of the host, since a client may try any of them first."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(_bind(family, str(address[0]), port))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                for sock in sockets:
                    sock.close()
                raise
            problem = error  # a name may have an IPv6 address on a machine that has none
        else:
            port = sockets[0].getsockname()[1]
    if not sockets:
        raise problem or OSError("the host has no address")
    return sockets


def _bind(family: int, address: str, port: int) -> socket.socket:
    return socket.create_server((address, port), family=family, backlog=1024)


async def _drop(request: web.BaseRequest, partial: HttpResponse | None) -> web.StreamResponse:
    """Reset the connection, or close it halfway through an answer."""
    transport = request.transport
    if partial is None:
        response = web.StreamResponse()
        if transport is not None:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        return response
    response = web.StreamResponse(status=partial.status, headers=partial.headers)
    response.content_length = len(partial.body)
    await response.prepare(request)
    await response.write(partial.body[: len(partial.body) // 2])
    if transport is not None:
        transport.close()
    return response
