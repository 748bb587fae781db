"""The service in a process of its own: reads a POST, writes the answer that was given at the start.

    python -m benchmarks.server LENGTH [CERTIFICATE] < answer.json

Bare asyncio, so that it is never what a client waits for. It prints its port when it is ready, and goes
when its standard input's other end, the client, is gone.
"""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

HEAD: Final = (
    "HTTP/1.1 200 OK\r\n"
    "Date: Tue, 07 Oct 2025 10:00:00 GMT\r\n"
    "Content-Type: application/json\r\n"
    "Content-Length: {length}\r\n"
    "Connection: keep-alive\r\n"
    "Vary: Origin\r\n"
    "cf-cache-status: DYNAMIC\r\n"
    "strict-transport-security: max-age=63072000\r\n"
    "Server: cloudflare\r\n"
    "cf-ray: 98ac1f2e3d4c5b6a-FRA\r\n"
    "\r\n"
)


class Connection(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head = self._unread[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            if len(self._unread) < end + 4 + length:
                break
            self._unread = self._unread[end + 4 + length :]
            self._transport.write(self._answer)


async def serve(body: bytes, certificate: str | None = None) -> None:
    loop = asyncio.get_running_loop()
    answer = HEAD.format(length=len(body)).encode() + body
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = await loop.create_server(lambda: Connection(answer), "localhost", 0, backlog=1024, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)  # until the other end is closed
    server.close()


@contextmanager
def running(body: bytes, *, certificate: str | None = None) -> Iterator[str]:
    """Its base URL, while it runs; with a file of key and certificate, over TLS."""
    command = [sys.executable, "-m", "benchmarks.server", str(len(body))]
    command += [certificate] if certificate else []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(body)
        process.stdin.flush()
        yield f"{'https' if certificate else 'http'}://localhost:{int(process.stdout.readline())}"
        process.stdin.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.stdin.buffer.read(int(sys.argv[1])), *sys.argv[2:]))
