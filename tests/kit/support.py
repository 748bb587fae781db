"""What the tests share: a service that says what a test told it to, and a record of what reached it.

The same words work over both transports. Over aiohttp the service is a raw asyncio server with
hand-made bytes, so that no HTTP library can smooth over what is sent or received.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs

from descope_native import FrozenDict, HttpRequest, HttpResponse, InMemoryTransport, NativeOAuthFinisher
from descope_native.transports.aiohttp import AiohttpTransport

DATA: Final = Path(__file__).parents[1] / "data"
DOCUMENTED_ANSWER: Final = (DATA / "finish-answer.json").read_bytes()

PROJECT: Final = "P2aBcDeFgHiJkLmNoPqRsTuVwXyZ"
STATE: Final = "state-4f1c9d2e7a"
CODE: Final = "code-8e3b5a6c1f"
ID_TOKEN: Final = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"

GOOGLE: Final[dict[str, Any]] = {"provider": "google", "state_id": STATE, "id_token": ID_TOKEN}
APPLE: Final[dict[str, Any]] = {"provider": "apple", "state_id": STATE, "code": CODE}


def as_json(value: object) -> bytes:
    # 1e999 is JSON, and more than a float holds; Infinity is none.
    return json.dumps(value).replace("Infinity", "1e999").encode()


@attrs.frozen
class Answer:
    """What the service says: a status, header pairs, and the bytes of a body."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    never: bool = False
    """Read the request, and then say nothing for as long as the connection lasts."""

    def as_http(self) -> bytes:
        head = f"HTTP/1.1 {self.status} Because\r\n"
        for name, value in self.headers:
            head += f"{name}: {value}\r\n"
        if self.status >= 200 and self.status not in {204, 304}:
            head += f"Content-Length: {len(self.body)}\r\n"
        return (head + "\r\n").encode("latin-1") + self.body


def session(more: dict[str, object] | None = None, /, **keys: object) -> Answer:
    """A 200 with a session and these keys beside it."""
    return Answer(body=as_json({"sessionJwt": "s.e.s", "refreshJwt": "r.e.f", **(more or {}), **keys}))


@attrs.frozen
class Received:
    """One request as the service got it."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


@attrs.define
class Service:
    """A finisher, its transport, and what the service behind it has received."""

    answers: Sequence[Answer]
    received: list[Received] = attrs.field(factory=list)
    arrived: asyncio.Event = attrs.field(factory=asyncio.Event)
    transport: Any = None
    finisher: Any = None

    async def answer(self, request: Received) -> Answer:
        self.received.append(request)
        self.arrived.set()
        answer = self.answers[min(len(self.received), len(self.answers)) - 1]
        if answer.never:
            await asyncio.Event().wait()
        return answer

    async def finish(self, **arguments: Any) -> Any:
        return await self.finisher.finish(**(arguments or GOOGLE))


Answering = Callable[..., AbstractAsyncContextManager[Service]]


@asynccontextmanager
async def answering_in_memory(*answers: Answer, prefix: str = "", **options: Any) -> AsyncIterator[Service]:
    """`answers` in their order, the last one for ever."""
    service = Service(answers)

    async def handle(request: HttpRequest) -> HttpResponse:
        headers = list(request.headers.items())
        answer = await service.answer(
            Received(request.method, request.url.raw_path_qs, headers, request.body)
        )
        return HttpResponse(answer.status, answer.headers, answer.body)

    service.transport = InMemoryTransport(handle)
    service.finisher = NativeOAuthFinisher(
        PROJECT, service.transport, base_url=f"http://localhost{prefix}", **options
    )
    try:
        yield service
    finally:
        await service.transport.close()


@asynccontextmanager
async def answering_over_aiohttp(
    *answers: Answer, prefix: str = "", **options: Any
) -> AsyncIterator[Service]:
    """The same, by hand-made bytes over a real connection."""
    service = Service(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            writer.write((await service.answer(request)).as_http())
            await writer.drain()

    async with raw_server(serve) as port, AiohttpTransport.open() as service.transport:
        service.finisher = NativeOAuthFinisher(
            PROJECT, service.transport, base_url=f"http://localhost:{port}{prefix}", **options
        )
        yield service


async def read_request(reader: asyncio.StreamReader) -> Received | None:
    """One request off the wire, or None where the client has hung up."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Received(method, path, headers, await reader.readexactly(length))


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(serve: Serve) -> AsyncIterator[int]:
    """Serve each connection on a free port of localhost, and leave nothing behind."""
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections[task] = writer
        try:
            # The streams of 3.11 log a connection whose task was cancelled as an error.
            with suppress(asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1")
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task, writer in connections.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


def open_files() -> int:
    """How many this process has open, where the system tells."""
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.is_dir() else 0


async def open_files_of_a_warm_loop() -> int:
    """The same, with those that some event loops open for themselves, late: with their first connection."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with raw_server(hang_up) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.read()
        writer.close()
        await writer.wait_closed()
    for _ in range(10):  # what was closed just now
        await asyncio.sleep(0)
    return open_files()


def only(values: Iterable[Any]) -> Any:
    """The one value there is."""
    (value,) = values
    return value


def assert_deeply_frozen(value: Any) -> None:
    """Nothing in it can be changed, however deep one looks."""
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            assert_deeply_frozen(getattr(value, field.name))
    elif isinstance(value, tuple | FrozenDict):
        for item in value.values() if isinstance(value, FrozenDict) else value:
            assert_deeply_frozen(item)
    else:
        assert value is None or type(value) in {str, int, float, bool}, type(value)
