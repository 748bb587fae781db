"""What the tests share: a service that says what a test told it to, and a record of what reached it.

The same words work over both transports. Over aiohttp the service is a raw server with hand-made bytes,
so that no HTTP library can smooth over what is sent or received.
"""

import asyncio
import functools
import gc
import json
import socket
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import attrs

from descope_native import (
    DescopeNativeError,
    FinishResult,
    FrozenDict,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    NativeOAuthFinisher,
    NativeOAuthStarter,
    Outcome,
    Transport,
    TransportError,
)
from descope_native.errors import Phase
from descope_native.transports.aiohttp import AiohttpTransport
from kit.servers import Connection, serve

DATA: Final = Path(__file__).parents[1] / "data"
DOCUMENTED_ANSWER: Final = (DATA / "finish-answer.json").read_bytes()

PROJECT: Final = "P2aBcDeFgHiJkLmNoPqRsTuVwXyZ"
STATE: Final = "state-4f1c9d2e7a"
CODE: Final = "code-8e3b5a6c1f"
ID_TOKEN: Final = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"

GOOGLE: Final[dict[str, Any]] = {"provider": "google", "state_id": STATE, "id_token": ID_TOKEN}
APPLE: Final[dict[str, Any]] = {"provider": "apple", "state_id": STATE, "code": CODE}


async def finish(transport: Transport, url: str, code: str = CODE, **options: Any) -> FinishResult:
    """One call, by a finisher made with these options."""
    finisher = NativeOAuthFinisher(PROJECT, transport, base_url=url, **options)
    return await finisher.finish(provider="google", state_id=STATE, code=code)


async def failure(transport: Transport, url: str, code: str = CODE, **options: Any) -> DescopeNativeError:
    """The error that the call must end in."""
    try:
        result = await finish(transport, url, code, **options)
    except DescopeNativeError as error:
        return error
    raise AssertionError(f"no error but {result}")


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

    @classmethod
    def read_from(cls, request: bytes) -> Self:
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        return cls(
            method, path, [(name, value) for name, _, value in (line.partition(": ") for line in lines)], body
        )

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


@attrs.define
class Service:
    """A finisher, its transport, and what the service behind it has received."""

    answers: Sequence[Answer]
    url: str
    received: list[Received] = attrs.field(factory=list)
    arrived: asyncio.Event = attrs.field(factory=asyncio.Event)
    transport: Any = None
    finisher: Any = None
    starter: Any = None

    async def answer(self, request: Received) -> Answer:
        self.received.append(request)
        self.arrived.set()
        answer = self.answers[min(len(self.received), len(self.answers)) - 1]
        if answer.never:
            await asyncio.Event().wait()
        return answer

    async def finish(self, **arguments: Any) -> Any:
        return await self.finisher.finish(**(arguments or GOOGLE))

    async def start(self, **arguments: Any) -> Any:
        return await self.starter.start(**(arguments or {"provider": "google"}))


Answering = Callable[..., AbstractAsyncContextManager[Service]]


@asynccontextmanager
async def answering_in_memory(*answers: Answer, prefix: str = "", **options: Any) -> AsyncIterator[Service]:
    """`answers` in their order, the last one for ever."""
    service = Service(answers, f"http://localhost{prefix}")

    async def handle(request: HttpRequest) -> HttpResponse:
        headers = list(request.headers.items())
        answer = await service.answer(
            Received(request.method, request.url.raw_path_qs, headers, request.body)
        )
        return HttpResponse(answer.status, answer.headers, answer.body)

    service.transport = InMemoryTransport(handle)
    service.finisher = NativeOAuthFinisher(PROJECT, service.transport, base_url=service.url, **options)
    service.starter = NativeOAuthStarter(PROJECT, service.transport, base_url=service.url, **options)
    try:
        yield service
    finally:
        await service.transport.close()


@asynccontextmanager
async def answering_over_aiohttp(
    *answers: Answer, prefix: str = "", **options: Any
) -> AsyncIterator[Service]:
    """The same, by hand-made bytes over a real connection."""
    service = Service(answers, "")

    async def script(connection: Connection) -> None:
        while request := await connection.request():
            connection.send((await service.answer(Received.read_from(request))).as_http())

    async with serve(script) as server, AiohttpTransport.open() as service.transport:
        service.url = server.url() + prefix
        service.finisher = NativeOAuthFinisher(PROJECT, service.transport, base_url=service.url, **options)
        service.starter = NativeOAuthStarter(PROJECT, service.transport, base_url=service.url, **options)
        yield service


@functools.lru_cache(maxsize=1)
def _padded(body: bytes, padding: int) -> bytes:
    """Kept, since making megabytes takes long enough to be seen in a deadline."""
    return body.ljust(len(body) + padding)


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
        request = attrs.evolve(request, body=_padded(request.body, self.padding))
        self.requests.append(request)
        return await self._transport.send(request)

    async def reached(self, phase: Phase, calls: int = 1) -> None:
        """Until so many calls have begun and the last of them is in this phase."""
        async with asyncio.timeout(10):
            while len(self.requests) < calls or self.requests[-1].progress.phase != phase:
                await asyncio.sleep(0)


def narrow_socket(address: Any) -> socket.socket:
    """One that takes little before it waits for the other side to read."""
    family, kind, protocol, *_ = address
    narrow = socket.socket(family, kind, protocol)
    narrow.setblocking(False)
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return narrow


def open_files() -> int:
    """How many this process has open, where the system tells."""
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.is_dir() else 0


async def open_files_of_a_warm_loop() -> int:
    """The same, with those that some event loops open for themselves, late: with their first connection."""

    async def hang_up(connection: Connection) -> None:
        connection.finish()

    async with serve(hang_up) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
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


async def settled() -> None:
    """Lets the event loop see what was sent.

    How long loopback takes is not said anywhere, and nobody can be asked: it is idle connections that
    these tests write to.
    """
    for _ in range(10):
        await asyncio.sleep(0.005)


def assert_unsent(
    error: DescopeNativeError, kind: type[TransportError], phase: str, *, again: bool = True
) -> None:
    assert isinstance(error, kind)
    assert (error.phase, error.outcome, error.safe_to_retry) == (phase, Outcome.NOT_SENT, again)


@contextmanager
def nothing_said() -> Iterator[None]:
    """No warning, and nothing that the garbage collector could not raise."""
    complaints: list[object] = []
    before, sys.unraisablehook = sys.unraisablehook, complaints.append
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield
            gc.collect()
        assert [str(warning.message) for warning in warned] == []
        assert complaints == []
    finally:
        sys.unraisablehook = before


async def cancelled_after(steps: int, call: "asyncio.Task[Any]") -> bool:
    """Whether it was cancelled, and not over before."""
    for _ in range(steps):
        if call.done():
            return False
        await asyncio.sleep(0)
    if call.done():
        return False
    call.cancel()
    await asyncio.wait([call])
    return call.cancelled()
