"""Random faults, deadlines and cancellations, and a judgement by what the servers really received."""

import asyncio
import contextvars
import logging
import pickle
import random
import re
import secrets
import ssl
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import aiohttp
import attrs
from certs import Authority

import descope_native
from descope_native import AppleUser, DescopeNativeError, NativeOAuthFinisher, Outcome
from descope_native.transports.aiohttp import AiohttpTransport

from .calls import PROJECT
from .servers import Connection, Server, answer, chunked, serve, session, unused_port

MakeTransport = Callable[[aiohttp.ClientSession], AiohttpTransport]

_BATCH: Final = 500
_PACKAGE: Final = str(Path(descope_native.__file__).parent)
_REQUEST: Final = re.compile(rb"POST /c(\d+)/")
_CODE: Final = re.compile(rb'"code":"(\d+)-')
_current: Final[contextvars.ContextVar[int]] = contextvars.ContextVar("current")


@attrs.define
class Figures:
    """What a run has seen."""

    seed: int
    calls: int = 0
    seconds: float = 0.0
    connections: int = 0
    ends: Counter[str] = attrs.field(factory=Counter)
    violations: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        ends = "\n".join(f"  {count:8} {end}" for end, count in self.ends.most_common())
        broken = "\n".join(self.violations[:20])
        return (
            f"seed {self.seed}: {self.calls} calls over {self.connections} connections "
            f"in {self.seconds:.0f} s, "
            f"{len(self.violations)} violations\n{ends}\n{broken}"
        )


@attrs.define
class Run:
    """One run: the servers' behaviour and the callers', all of it drawn from one seed."""

    figures: Figures
    rng: random.Random
    reuse: bool
    strays_in_flight: bool
    make_transport: MakeTransport
    salt: str = attrs.field(factory=lambda: secrets.token_hex(8))
    seen: Counter[int] = attrs.field(factory=Counter)
    codes: Counter[int] = attrs.field(factory=Counter)
    unsent: dict[int, str] = attrs.field(factory=dict)
    trapped: int = 0

    # --- what the servers do

    def token(self, number: int) -> str:
        return f"token.{number}.{self.salt}"

    def account(self, connection: Connection) -> None:
        """Count what a connection has received, once it is over."""
        self.figures.connections += 1
        received = bytes(connection.received)
        self.seen.update(int(number) for number in _REQUEST.findall(received))
        self.codes.update(int(number) for number in _CODE.findall(received))
        if b"cookie:" in received.lower():
            self.violate("a cookie was sent")

    def violate(self, what: str) -> None:
        self.figures.violations.append(what)

    async def serve(self, connection: Connection) -> None:
        rng = self.rng
        start = rng.random()
        if start < 0.02:
            return connection.finish() if rng.random() < 0.5 else connection.reset()
        if start < 0.03:
            await asyncio.sleep(rng.random() * 0.05)
        while request := await connection.request():
            found = _REQUEST.match(request)
            if found is None or b"application/json" not in request:
                self.violate("a request that nobody made")
                return None
            await self.respond(connection, int(found[1]))
        return None

    async def respond(self, connection: Connection, number: int) -> None:  # noqa: C901, PLR0912 -- one per fault
        rng = self.rng
        good = session(self.token(number))
        kind = rng.choices(*zip(*_KINDS.items(), strict=True))[0]
        if kind == "stall":
            await connection.gone()
        elif kind == "late":
            await asyncio.sleep(rng.random() * 0.03)
            connection.send(good)
        elif kind == "cut":
            connection.send(good[: rng.randrange(len(good))])
            await asyncio.sleep(rng.choice([0, 0, 0.002]))
            rng.choice([connection.finish, connection.reset])()
        elif kind == "half":
            connection.send(good[: rng.randrange(1, len(good))])
            await connection.gone()
        elif kind == "split":
            cut = rng.randrange(1, len(good))
            connection.send(good[:cut])
            await asyncio.sleep(rng.choice([0, 0.001]))
            connection.send(good[cut:])
        elif kind == "chunked":
            body = good.partition(b"\r\n\r\n")[2]
            cut = rng.randrange(len(body))
            connection.send(chunked(*filter(None, (body[:cut], body[cut:]))) + b"0\r\n\r\n")
        elif kind == "bad chunk":
            if rng.random() < 0.5:
                connection.send(chunked(b"{}") + b"ZZ\r\n")
                return
            connection.send(chunked(b"{}"))
            await asyncio.sleep(rng.choice([0, 0.002]))
            connection.send(b"ZZ\r\n")
        elif kind == "interim":
            connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * rng.randrange(1, 9) + good)
        elif kind == "status":
            status = rng.choice([400, 401, 404, 408, 421, 429, 500, 502, 503, 520])
            connection.send(answer(status, {"errorCode": "E061301", "errorMessage": f"{number}-{self.salt}"}))
        elif kind == "redirect":
            connection.send(answer(307, b"", f"Location: http://localhost:{self.trapped}/c{number}/x"))
        elif kind == "garbage":
            connection.send(rng.randbytes(40) + b"\r\n\r\n")
        elif kind == "last":
            connection.send(session(self.token(number), "Connection: close"))
            connection.finish()
        elif kind == "cookie":
            connection.send(session(self.token(number), f"Set-Cookie: DSR={self.salt}; Path=/; HttpOnly"))
        else:
            connection.send(good)
            if kind == "stray":
                await self.stray(connection, number)

    async def stray(self, connection: Connection, number: int) -> None:
        """What nobody asked for; as a rule, where connections are reused, only while nothing is in flight."""
        rng = self.rng
        for _ in range(rng.randrange(1, 3)):
            await asyncio.sleep(rng.choice([0, 0, 0.001, 0.004, 0.02]))
            connection.let_arrive()
            if not self.strays_in_flight and not connection.is_idle():
                return
            stray = session(self.token(number))
            what = rng.randrange(8)
            if what == 0:
                connection.finish()
            elif what == 1:
                connection.reset()
            elif what == 2:
                connection.send(stray[: rng.randrange(1, 30)])
                if rng.random() < 0.5:
                    connection.finish()
                return
            elif what == 3:
                connection.send(rng.randbytes(20))
            elif what == 4:
                connection.send(stray * 50)
            else:
                connection.send(stray)
            connection.let_arrive()

    # --- what the callers do

    async def call(self, number: int, transport: AiohttpTransport, url: str) -> None:
        rng = self.rng
        finisher = NativeOAuthFinisher(
            PROJECT, transport, base_url=f"{url}/c{number}", auth_management_key=f"key-{self.salt}"
        )
        _current.set(number)
        timeout = rng.random() * 0.06 + 0.0001 if rng.random() < 0.2 else 0.3
        name = AppleUser(given_name=f"name-{self.salt}")
        task = asyncio.ensure_future(
            finisher.finish(
                provider="apple",
                state_id=f"state-{self.salt}",
                code=f"{number}-{self.salt}",
                user=name,
                timeout=timeout,
            )
        )
        cancelled = rng.random() < 0.1
        if cancelled:
            if rng.random() < 0.7:
                for _ in range(rng.randrange(25)):
                    await asyncio.sleep(0)
            else:
                await asyncio.sleep(rng.random() * 0.02)
            task.cancel()
        await asyncio.wait([task])
        self.judge(number, task, cancelled=cancelled)

    def judge(self, number: int, task: asyncio.Task[descope_native.FinishResult], *, cancelled: bool) -> None:
        self.figures.calls += 1
        if task.cancelled():
            self.figures.ends["cancelled"] += 1
            if not cancelled:
                self.violate(f"call {number}: cancelled by nobody")
            return
        error = task.exception()
        if error is None:
            self.figures.ends["session"] += 1
            if (token := task.result().session_jwt) != self.token(number):
                self.violate(f"call {number}: a token of somebody else, {token}")
            if self.salt in repr(task.result()):
                self.violate(f"call {number}: a secret in the repr of a result")
        elif not isinstance(error, DescopeNativeError):
            self.violate(f"call {number}: {type(error).__name__} escaped")
        else:
            phase = getattr(error, "phase", "")
            self.figures.ends[f"{error.outcome.value} {type(error).__name__} {phase}".strip()] += 1
            if error.outcome is Outcome.NOT_SENT:
                self.unsent[number] = type(error).__name__
            if any(self.salt in text for text in texts_of(error)):
                self.violate(f"call {number}: a secret in {type(error).__name__}")

    async def batch(self, numbers: range, urls: list[str], context: ssl.SSLContext | None) -> None:
        rng = self.rng
        slots = asyncio.Semaphore(rng.choice([8, 64, 64]))
        limit = rng.choice([8, 32, 100])

        async def one(number: int) -> None:
            async with slots:
                url = urls[0] if rng.random() < 0.95 else rng.choice(urls[1:])
                await self.call(number, transport, url)

        async with AsyncExitStack() as opened:
            transport: AiohttpTransport
            closable: list[AiohttpTransport | aiohttp.ClientSession] = []
            if self.make_transport is AiohttpTransport and rng.random() < 0.5:
                transport = await opened.enter_async_context(
                    AiohttpTransport.open(ssl=context or True, limit=limit, reuse_connections=self.reuse)
                )
            else:
                connector = aiohttp.TCPConnector(ssl=context or True, limit=limit, force_close=not self.reuse)
                borrowed = await opened.enter_async_context(aiohttp.ClientSession(connector=connector))
                transport = self.make_transport(borrowed)
                closable.append(borrowed)
            calls = [asyncio.ensure_future(one(number)) for number in numbers]
            if rng.random() < 0.3:
                last = rng.randrange(1, len(calls) // 5 + 2)  # these find it closing or closed
                await asyncio.wait(calls[:-last] or calls[:1])
                closing = closable[0] if closable and rng.random() < 0.3 else transport
                await closing.close()
            await asyncio.gather(*calls)
            await transport.close()


_KINDS: Final = {
    "good": 300, "cookie": 30, "stray": 120, "split": 60, "chunked": 60, "late": 60, "last": 30, "status": 60,
    "cut": 80, "half": 10, "stall": 10, "bad chunk": 15, "redirect": 30, "garbage": 15, "interim": 30,
}  # fmt: skip


def texts_of(error: BaseException) -> Iterator[str]:
    """Whatever a log, a collector of errors or a task queue would make of an error."""
    yield from (str(error), repr(error), repr(vars(error)), repr(pickle.dumps(error)))
    yield from traceback.format_exception(error)
    link: BaseException | None = error
    while link is not None:
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if frame.f_code.co_filename.startswith(_PACKAGE):
                yield repr(frame.f_locals)
        link = link.__cause__ or link.__context__


class _Log(logging.Handler):
    """Reads what is logged: no secret, and a cancelled call's outcome as binding as an error's."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if self._run.salt in line or self._run.salt in repr(vars(record)):
            self._run.violate("a secret in the log")
        if "outcome=not_sent error=CancelledError" in line:
            self._run.unsent[_current.get()] = "cancelled"


async def run(
    calls: int,
    seed: int,
    *,
    tls: bool = False,
    reuse: bool = True,
    strays_in_flight: bool | None = None,
    make_transport: MakeTransport = AiohttpTransport,
    progress: bool = False,
) -> Figures:
    """Make this many calls and judge them. Strays are in flight, unless told, where nothing is reused."""
    figures = Figures(seed)
    in_flight = not reuse if strays_in_flight is None else strays_in_flight
    this = Run(figures, random.Random(seed), reuse, in_flight, make_transport)
    log = logging.getLogger("descope_native")
    handler = _Log(this)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    started = time.monotonic()
    before = _open_files()
    try:
        await _run(this, calls, tls=tls, progress=progress)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = True
    for _ in range(5):
        await asyncio.sleep(0)
    if left := asyncio.all_tasks() - {asyncio.current_task()}:
        this.violate(f"{len(left)} tasks left over")
    if _open_files() > before:
        this.violate(f"{_open_files() - before} files left open")
    for number, end in this.unsent.items():
        if this.seen[number] or this.codes[number]:
            this.violate(f"call {number}: {end} said not sent, and the server has it")
    for number, count in (this.seen | this.codes).items():
        if count > 1:
            this.violate(f"call {number}: its code was sent {count} times")
    figures.seconds = time.monotonic() - started
    return figures


async def _run(this: Run, calls: int, *, tls: bool, progress: bool) -> None:
    server_side = client_side = None
    if tls:
        authority = Authority()
        server_side = authority.certify("localhost").server_context()
        client_side = authority.client_context()

    async def deaf(connection: Connection) -> None:
        await connection.gone()

    async def trap(connection: Connection) -> None:
        if await connection.request():
            this.violate("a redirect was followed to another origin")
            connection.send(answer(500))

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(this.serve, server_side))
        deaf_server = await stack.enter_async_context(serve(deaf))
        trap_server = await stack.enter_async_context(serve(trap))
        this.trapped = trap_server.port
        scheme = "https" if tls else "http"
        urls = [server.url(scheme), deaf_server.url(scheme), f"{scheme}://localhost:{unused_port()}"]
        for start in range(0, calls, _BATCH):
            await this.batch(range(start, min(start + _BATCH, calls)), urls, client_side)
            for each in (server, deaf_server, trap_server):
                await _settle(this, each)
            if progress and (start // _BATCH) % 20 == 0:
                print(f"{start:8} calls, {len(this.figures.violations)} violations", flush=True)


async def _settle(this: Run, server: Server) -> None:
    """Once a transport is closed, its connections are gone; only then is counted what they carried."""
    try:
        async with asyncio.timeout(5):
            await server.until(lambda: not server.open)
    except TimeoutError:
        this.violate(f"{len(server.open)} connections left over")
    for connection in server.connections:
        this.account(connection)
    server.connections.clear()


def _open_files() -> int:
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.is_dir() else 0
