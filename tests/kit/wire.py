"""Raw servers on localhost that record what really reached them."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs

from descope_native import HttpRequest, HttpResponse, Transport
from descope_native.errors import Phase

TOKEN = "eyJhbGciOiJub25l.eyJzdWIiOiJVMSJ9aaaa.c2lnbmF0dXJl"
SESSION = json.dumps({"sessionJwt": TOKEN}).encode()


def answer(status: int = 200, body: bytes = SESSION, *headers: str) -> bytes:
    """An HTTP answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Peer:
    """One connection, as its server sees it. Whatever is read is recorded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: bytearray) -> None:
        self.reader = reader
        self.writer = writer
        self.record = record

    async def read(self) -> bytes:
        data = await self.reader.read(65536)
        self.record += data
        return data

    async def request(self) -> bytes:
        """Head and body of the next request; empty where the other side has gone."""
        request = b""
        while b"\r\n\r\n" not in request:
            if not (data := await self.read()):
                return b""
            request += data
        head, _, body = request.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        while len(body) < length:
            if not (data := await self.read()):
                return b""
            body += data
            request += data
        return request

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def hang(self) -> None:
        """Until the other side goes away."""
        while await self.read():
            pass

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[object]]


def answering(*answers: bytes) -> Script:
    """Answers each request of a connection with the next of these, the last one for good."""
    left = list(answers) or [answer()]

    async def script(peer: Peer) -> None:
        while await peer.request():
            peer.send(left.pop(0) if len(left) > 1 else left[0])

    return script


class Server:
    """What came in: one record per connection that got as far as to carry data."""

    def __init__(self) -> None:
        self.port = 0
        self.records: list[bytearray] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Condition()

    @property
    def received(self) -> bytes:
        return b"".join(self.records)

    def url(self, scheme: str = "http", host: str = "localhost") -> str:
        return f"{scheme}://{host}:{self.port}"

    async def connections(self, count: int) -> None:
        """Until so many have come in."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.records) >= count)


@asynccontextmanager
async def serve(script: Script, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on a free port of localhost, which runs the script for each connection."""
    server = Server()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        server.tasks.add(task)
        record = bytearray()
        async with server.changed:
            server.records.append(record)
            server.changed.notify_all()
        # Being cancelled is how it ends; asyncio's streams would report it as a fault of the server's.
        with suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
            await script(Peer(reader, writer, record))
            writer.close()
            await writer.wait_closed()
        writer.transport.abort()
        server.tasks.discard(task)

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        # A handshake that its client has given up is a task of asyncio's until it has heard of that.
        shaking_hands = [
            task for task in asyncio.all_tasks() if "_accept_connection" in repr(task.get_coro())
        ]
        if shaking_hands:
            await asyncio.wait(shaking_hands, timeout=5)
        tasks = list(server.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()


def free_port() -> int:
    """A port of localhost that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


def narrow_socket(address: Any) -> socket.socket:
    """One that takes little before it waits for the other side to read."""
    family, kind, protocol, *_ = address
    narrow = socket.socket(family, kind, protocol)
    narrow.setblocking(False)
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return narrow


@asynccontextmanager
async def relay(port: int, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Stands before another server of localhost and records what its clients tell it."""

    async def script(peer: Peer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def back() -> None:
            with suppress(ConnectionError):
                while data := await reader.read(65536):
                    peer.send(data)
            peer.writer.close()

        returning = asyncio.create_task(back())
        try:
            while data := await peer.read():
                writer.write(data)
        finally:
            writer.close()
            await returning

    async with serve(script, context) as server:
        yield server


class Watched:
    """Passes requests on to a transport, and can tell how far they have got.

    `padding` is put behind each body: white space, more than sockets buffer if a call is to stall
    while it sends.
    """

    def __init__(self, transport: Transport, padding: int = 0) -> None:
        self._transport = transport
        self.padding = padding
        self.requests: list[HttpRequest] = []

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        request = attrs.evolve(request, body=request.body + b" " * self.padding)
        self.requests.append(request)
        return await self._transport.send(request)

    async def reached(self, phase: Phase, calls: int = 1) -> None:
        """Until so many calls have begun and the last of them is in this phase."""
        async with asyncio.timeout(10):
            while len(self.requests) < calls or self.requests[-1].progress.phase != phase:
                await asyncio.sleep(0)
