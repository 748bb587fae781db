"""Raw servers on localhost. What reaches them is kept, whether a script reads it or not."""

import asyncio
import functools
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final, cast

import attrs
import trustme

SESSION: Final = b'{"sessionJwt": "s.e.s", "refreshJwt": "r.e.f"}'


def answer(status: int = 200, body: bytes = SESSION, *headers: str) -> bytes:
    """An HTTP answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*chunks: bytes, status: int = 200) -> bytes:
    """The same in chunks, without the last one, which is empty."""
    head = f"HTTP/1.1 {status} Whatever\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


@attrs.frozen
class Trust:
    """What a transport needs to take the servers of the kit for genuine.

    Attributes:
        context: for clients that take an ``ssl.SSLContext``. It trusts the authority and no other.
        pem: the authority's certificate, for clients that take that.
    """

    context: ssl.SSLContext
    pem: str


class Authority:
    """A certificate authority that lives as long as the process."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self._authority.cert_pem.bytes().decode())
        self.trust: Final = Trust(context, self._authority.cert_pem.bytes().decode())

    def server_context(self, host: str = "localhost", *, days: int = 1) -> ssl.SSLContext:
        """For a server that proves to be this host; with less than 0 days its certificate has expired."""
        until = datetime.now(UTC) + timedelta(days=days)
        issued = self._authority.issue_cert(host, not_after=until, not_before=until - timedelta(days=30))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with issued.private_key_and_cert_chain_pem.tempfile() as file:  # OpenSSL takes keys from files only
            context.load_cert_chain(file)
        return context


@functools.cache
def authority() -> Authority:
    """One is enough; keys take a while to make."""
    return Authority()


class Connection(asyncio.Protocol):
    """One connection, as its server sees it."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._changed = asyncio.Event()
        self._is_taken = asyncio.Event()
        self._is_taken.set()
        self._read = 0
        self.received = bytearray()
        self.is_over = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._server.connected(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._changed.set()

    def eof_received(self) -> None:
        self.is_over = True
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio names it
        self.is_over = True
        self._changed.set()
        self._is_taken.set()
        self._server.disconnected(self)

    async def _more(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def head(self) -> None:
        """Wait until the head of a request has come."""
        while b"\r\n\r\n" not in self.received and not self.is_over:
            await self._more()

    async def request(self) -> bytes:
        """The next request, complete; empty where the other side went before."""
        while (end := self._end_of_request()) > len(self.received):
            if self.is_over:
                return b""
            await self._more()
        start, self._read = self._read, end
        return bytes(self.received[start:end])

    def _end_of_request(self) -> int:
        end = self.received.find(b"\r\n\r\n", self._read)
        if end < 0:
            return len(self.received) + 1
        head = bytes(self.received[self._read : end]).lower()
        lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
        return end + 4 + sum(lengths[:1])

    async def gone(self) -> None:
        """Wait until the other side is gone."""
        while not self.is_over:
            await self._more()

    def send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def pause_writing(self) -> None:
        self._is_taken.clear()

    def resume_writing(self) -> None:
        self._is_taken.set()

    async def taken(self) -> None:
        """Wait until the other side has taken most of what was sent, or is gone."""
        await self._is_taken.wait()

    def finish(self) -> None:
        """FIN."""
        self.transport.close()

    def reset(self) -> None:
        """RST."""
        sock = self.transport.get_extra_info("socket")
        with suppress(OSError):  # it is closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


Script = Callable[[Connection], Awaitable[object]]


class Server:
    """What reached one server."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tasks: list[asyncio.Task[object]] = []
        self.connections: list[Connection] = []
        self.open: set[Connection] = set()
        self.port = 0
        self.scheme = "http"

    @property
    def received(self) -> bytes:
        """All bytes, of all connections."""
        return b"".join(bytes(connection.received) for connection in self.connections)

    def url(self, path: str = "") -> str:
        return f"{self.scheme}://localhost:{self.port}{path}"

    def connected(self, connection: Connection) -> None:
        self.connections.append(connection)
        self.open.add(connection)
        self._tasks.append(asyncio.ensure_future(self._script(connection)))

    def disconnected(self, connection: Connection) -> None:
        self.open.discard(connection)

    async def end(self) -> None:
        for connection in list(self.open):
            connection.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def serve(script: Script, context: ssl.SSLContext | None = None) -> AsyncGenerator[Server]:
    """A server on a free port of localhost, which runs the script for each connection."""
    server = Server(script)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, ssl=context)
    server.port = int(listener.sockets[0].getsockname()[1])
    server.scheme = "http" if context is None else "https"
    try:
        yield server
    finally:
        listener.close()
        await server.end()


def unused_port() -> int:
    """A port of localhost that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])
