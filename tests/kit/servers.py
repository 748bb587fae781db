"""Raw servers on localhost. What a connection received is recorded whether a script reads it or not.

A script says what a server does with each connection. It runs on the loop of the test, so that what it does
and what the client does can be put in order. `BlockingServer` is for what asyncio's TLS cannot do.
"""

import asyncio
import json
import os
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, TypeVar, cast

TOKEN: Final = "eyJhbGciOiJub25l.eyJzdWIiOiJVMSJ9aaaa.c2lnbmF0dXJl"

Script = Callable[["Connection"], Awaitable[object]]
AnyConnection = TypeVar("AnyConnection", bound="Connection")


def answer(status: int = 200, body: bytes | dict[str, object] = b"", *headers: str) -> bytes:
    """An HTTP answer as it goes over the wire."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def session(token: str = TOKEN, *headers: str) -> bytes:
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

    async def request(self) -> bytes:
        """The next request, complete; empty if the other side went before."""
        while (end := self.received.find(b"\r\n\r\n", self.read)) < 0:
            if not await self.arrived(len(self.received) + 1):
                return b""
        end += 4
        for line in self.received[self.read : end].lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                end += int(line[15:])
        if not await self.arrived(end):
            return b""
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
        if (descriptor := self.descriptor()) >= 0:
            with socket.socket(fileno=os.dup(descriptor)) as sock:  # uvloop's own has no options
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def descriptor(self) -> int:
        """The socket's, or -1 once it is closed."""
        sock = self.transport.get_extra_info("socket")
        return -1 if sock is None else int(sock.fileno())

    def is_idle(self) -> bool:
        """Whether nothing of a next request has arrived, not even in the kernel."""
        if (descriptor := self.descriptor()) < 0 or self.transport.is_closing():
            return False
        return self.read == len(self.received) and not select.select([descriptor], [], [], 0)[0]

    def let_arrive(self) -> None:
        """Hold the loop still until what either side has sent is with the other.

        Loopback hands over at once as a rule, but not on a busy machine nor in every sandbox, and
        nothing tells when. Without this a stray meant for an idle connection may meet a request.
        """
        time.sleep(0.001)


class DirectConnection(Connection):
    """A connection whose bytes are with the kernel as soon as they are sent, whatever the event loop.

    uvloop keeps what is written back until the end of the loop's turn, and so does TLS in a transport of
    either. Who wants to know which came first, a stray or a request, needs more: here TLS is done by hand.
    """

    def __init__(self, server: "Server", context: ssl.SSLContext | None = None) -> None:
        super().__init__(server)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        if context is not None:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._is_shaking_hands = context is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # Of our own, since the loop's may have been closed, and its number given to another.
        try:
            self._socket = socket.socket(fileno=os.dup(super().descriptor()))
        except OSError:  # the other side was gone before it was taken
            self._socket = socket.socket()
            self._socket.close()
            self.transport.abort()
            return
        self.server.open.add(self)
        if not self._is_shaking_hands:
            self.server.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._socket.close()
        super().connection_lost(exc)

    def descriptor(self) -> int:
        return self._socket.fileno()

    def data_received(self, data: bytes) -> None:
        if self._tls is not None:
            self._incoming.write(data)
            data = self._decrypted(self._tls)
        if data:
            super().data_received(data)

    def _decrypted(self, tls: ssl.SSLObject) -> bytes:
        chunks = []
        try:
            if self._is_shaking_hands:
                tls.do_handshake()
                self._is_shaking_hands = False
                self.server.connected(self)
            while chunk := tls.read(65536):
                chunks.append(chunk)
            self.finish()  # the other side has ended it
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.transport.abort()
        self.send_as_it_is(self._outgoing.read())
        return b"".join(chunks)

    def sealed(self, data: bytes) -> bytes:
        """What goes over the wire for this: a TLS record, or the very bytes."""
        if self._tls is None:
            return data
        with suppress(ssl.SSLError):  # where the other side has ended it
            self._tls.write(data)
        return self._outgoing.read()

    def send(self, data: bytes) -> None:
        if data and not self.transport.is_closing():
            self.send_as_it_is(self.sealed(data))

    def send_as_it_is(self, data: bytes) -> None:
        """Send what is sealed already, or a part of it."""
        if self.transport.is_closing() or not data:
            return
        sent = 0
        try:
            if not self.transport.get_write_buffer_size():
                sent = os.write(self.descriptor(), data)
        except BlockingIOError:
            pass
        except OSError:
            return  # the other side is gone, as the loop is going to hear
        if sent < len(data):
            self.transport.write(data[sent:])

    def finish(self) -> None:
        if self._tls is not None and not self._is_shaking_hands:
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self.send_as_it_is(self._outgoing.read())
        super().finish()


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

    def url(self, scheme: str = "http", host: str = "localhost") -> str:
        return f"{scheme}://{host}:{self.port}"

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

    async def all_gone(self) -> None:
        """Wait until no connection is open."""
        async with asyncio.timeout(5):
            await self.until(lambda: not self.open)


@asynccontextmanager
async def serve(
    script: Callable[[AnyConnection], Awaitable[object]],
    context: ssl.SSLContext | None = None,
    *,
    direct: bool = False,
) -> AsyncIterator[Server]:
    """A server on a free port of localhost, which runs the script for each connection."""
    server = Server(cast(Script, script), 0)
    loop = asyncio.get_running_loop()

    def accept() -> Connection:
        # A loop's own TLS tells nobody of a connection until its handshake is over, so nobody could end it.
        return DirectConnection(server, context) if direct or context else Connection(server)

    listener = await loop.create_server(accept, sock=listening(), backlog=1024)
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


class _Far(asyncio.Protocol):
    """The other end of what is forwarded."""

    def __init__(self, near: Connection) -> None:
        self._near = near

    def data_received(self, data: bytes) -> None:
        self._near.send(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._near.finish()


async def forward(connection: Connection, port: int, first_words: bytes = b"") -> None:
    """Hand on what comes, either way, once `first_words` are said; OSError where nobody listens there."""
    loop = asyncio.get_running_loop()
    far, _ = await loop.create_connection(lambda: _Far(connection), "127.0.0.1", port)
    try:
        connection.send(first_words)
        while await connection.arrived(connection.read + 1):
            if not far.is_closing():
                far.write(bytes(connection.received[connection.read :]))
            connection.read = len(connection.received)
    finally:
        far.close()


def relay(port: int) -> Script:
    """Stands before another server of localhost; what its clients tell it is recorded."""

    async def script(connection: Connection) -> None:
        await forward(connection, port)

    return script


async def tunnel(connection: Connection) -> None:
    """What a proxy does for each connection: CONNECT, and then it hands on what comes, either way."""
    if not (request := await connection.request()):
        return
    port = int(request.split(b" ")[1].rpartition(b":")[2])
    try:
        await forward(connection, port, b"HTTP/1.1 200 Connection established\r\n\r\n")
    except OSError:
        connection.send(answer(502))


def listening() -> socket.socket:
    """Listens on a free port of localhost; what it takes holds little of what nobody reads.

    Left to itself a kernel grows that to tcp_rmem's maximum, 32 MiB on some machines.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # which loops do only where they made it
    return listener


def unused_port() -> int:
    """A port of localhost that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answering(*answers: bytes) -> Script:
    """Answers each request with the next of these, the last one for good; without any, with a session."""
    left = list(answers) or [session()]

    async def script(connection: Connection) -> None:
        while await connection.request():
            connection.send(left.pop(0) if len(left) > 1 else left[0])

    return script


class BlockingServer:
    """A TLS server in threads that reads and writes only what its script says, and answers no goodbye."""

    def __init__(self, script: Callable[[ssl.SSLSocket], object], context: ssl.SSLContext) -> None:
        self._script = script
        self._context = context
        self._kept: list[socket.socket] = []
        self.done = threading.Event()
        self.listener = listening()
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._run, daemon=True).start()

    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self._kept.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            secured = self._context.wrap_socket(connection, server_side=True)
            self._kept.append(secured)
            self._script(secured)
        self.done.set()

    def close(self) -> None:
        for each in (self.listener, *self._kept):
            each.close()


@contextmanager
def serve_blocking(
    script: Callable[[ssl.SSLSocket], object], context: ssl.SSLContext
) -> Iterator[BlockingServer]:
    server = BlockingServer(script, context)
    try:
        yield server
    finally:
        server.close()


def read_request(connection: ssl.SSLSocket) -> None:
    """The next request of a blocking connection, complete."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    (length,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < int(length.partition(b":")[2]):
        body += connection.recv(65536)


def after_request(act: Callable[[Connection], object]) -> Script:
    """Reads one request, does this, and waits for the client to go."""

    async def script(connection: Connection) -> None:
        if await connection.request():
            result = act(connection)
            if isinstance(result, Awaitable):
                await result
            await connection.gone()

    return script


def saying(*parts: bytes, then: Callable[[Connection], object] = lambda _: None) -> Script:
    """Answers with these parts, each in a packet that the client has read before the next one leaves."""

    async def act(connection: Connection) -> None:
        for part in parts:
            connection.send(part)
            await asyncio.sleep(0.02)  # the client shows in no other way that it has read a part
        then(connection)

    return after_request(act)


def token_in(request: bytes) -> str:
    """The token that a request earns: the server makes it of the code."""
    return request.partition(b'"code":"')[2].partition(b'"')[0].decode()


async def honest(connection: Connection) -> None:
    while request := await connection.request():
        connection.send(session(token_in(request)))
