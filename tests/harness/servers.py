"""Raw servers on localhost. What a connection received is recorded whether a script reads it or not."""

import asyncio
import json
import select
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

Script = Callable[["Connection"], Awaitable[object]]


def answer(status: int = 200, body: bytes | dict[str, object] = b"", *headers: str) -> bytes:
    """An HTTP answer as it goes over the wire."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def session(token: str, *headers: str) -> bytes:
    """A 200 with this session token."""
    return answer(200, {"sessionJwt": token, "refreshJwt": f"refresh-{token}"}, *headers)


def chunked(*chunks: bytes, status: int = 200) -> bytes:
    head = f"HTTP/1.1 {status} Whatever\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


class Connection(asyncio.Protocol):
    """One connection, as its server sees it."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.received = bytearray()
        self.read = 0
        self.ended = False
        self.changed = asyncio.Event()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server.connected(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.changed.set()
        self.server.changed.set()

    def eof_received(self) -> None:
        self.ended = True
        self.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.changed.set()
        self.server.disconnected(self)

    async def arrived(self, count: int) -> bool:
        """Wait until this many bytes have come in all; False if the other side went before."""
        while len(self.received) < count and not self.ended:
            self.changed.clear()
            await self.changed.wait()
        return len(self.received) >= count

    async def gone(self) -> None:
        """Wait until the other side is gone."""
        while not self.ended:
            self.changed.clear()
            await self.changed.wait()

    async def request(self) -> bytes | None:
        """The next request, complete; None if the other side went before."""
        while (end := self.received.find(b"\r\n\r\n", self.read)) < 0:
            if not await self.arrived(len(self.received) + 1):
                return None
        end += 4
        for line in self.received[self.read : end].lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                end += int(line[15:])
        if not await self.arrived(end):
            return None
        start, self.read = self.read, end
        return bytes(self.received[start:end])

    def send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def finish(self) -> None:
        """FIN."""
        self.transport.close()

    def reset(self) -> None:
        """RST."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def is_idle(self) -> bool:
        """Whether nothing of a next request has arrived, not even in the kernel."""
        sock = self.transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0 or self.transport.is_closing():
            return False
        return self.read == len(self.received) and not select.select([sock], [], [], 0)[0]

    def let_arrive(self) -> None:
        """Hold the loop still until what either side has sent is with the other.

        Loopback hands over at once as a rule, but not on a busy machine nor in every sandbox, and
        nothing tells when. Without this a stray meant for an idle connection may meet a request.
        """
        time.sleep(0.001)


class Server:
    """What came in, by connection, in order."""

    def __init__(self, script: Script, port: int) -> None:
        self.script = script
        self.port = port
        self.connections: list[Connection] = []
        self.open: set[Connection] = set()
        self.tasks: set[asyncio.Task[object]] = set()
        self.failures: list[BaseException] = []
        self.changed = asyncio.Event()

    def url(self, scheme: str = "http") -> str:
        return f"{scheme}://localhost:{self.port}"

    @property
    def received(self) -> bytes:
        return b"".join(bytes(each.received) for each in self.connections)

    def connected(self, connection: Connection) -> None:
        self.connections.append(connection)
        self.open.add(connection)
        self.changed.set()
        task = asyncio.ensure_future(self.script(connection))
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def disconnected(self, connection: Connection) -> None:
        self.open.discard(connection)
        self.changed.set()

    def _ended(self, task: asyncio.Task[object]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.failures.append(error)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on the connections holds."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()


@asynccontextmanager
async def serve(script: Script, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on a free port of localhost, which runs the script for each connection."""
    server = Server(script, 0)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, ssl=context, backlog=1024)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(server.tasks):
            task.cancel()
        for connection in list(server.open):
            connection.transport.abort()
        await asyncio.gather(*server.tasks, return_exceptions=True)
        await server.until(lambda: not server.open)
        await listener.wait_closed()
    if server.failures:
        raise server.failures[0]


def unused_port() -> int:
    """A port of localhost that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answering(*answers: bytes) -> Script:
    """Answers each request of a connection with the next of these, the last one for good."""

    async def script(connection: Connection) -> None:
        count = 0
        while await connection.request():
            connection.send(answers[min(count, len(answers) - 1)])
            count += 1

    return script
