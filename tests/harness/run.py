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
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import attrs
from kit.certs import Authority
from kit.servers import (
    Connection,
    DirectConnection,
    Server,
    answer,
    chunked,
    serve,
    tunnel,
    unused_port,
)
from kit.support import PROJECT

import descope_native
from descope_native import (
    AppleUser,
    DescopeNativeError,
    FinishResult,
    NativeOAuthFinisher,
    NativeOAuthStarter,
    Outcome,
    RequestTimeout,
    StartResult,
)
from descope_native.transports.aiohttp import AiohttpTransport

MakeTransport = Callable[..., AiohttpTransport]
OpenTransport = Callable[..., AbstractAsyncContextManager[Any]]
"""Opens one of another kind, given ``ssl`` and ``limit``. It has no owner, proxy or pool, and does not
promise to take an answer that came while other code held the loop."""

KINDS: Final = {
    "good": 300, "cookie": 30, "stray": 120, "split": 60, "chunked": 60, "late": 60, "last": 30, "status": 60,
    "tail": 60, "held": 15,
    "cut": 80, "half": 10, "stall": 10, "bad chunk": 15, "redirect": 30, "garbage": 15, "interim": 30,
}  # fmt: skip
"""What a server does with a request, and how often."""

_BATCH: Final = 500
_TICK: Final = 0.005
_TICKS_TO_END: Final = 50  # turns of a free loop that a call may take to end after its deadline
_IN_TIME: Final = 0.005  # seconds before its deadline that an answer lay in the kernel, to count as in time
_PACKAGE: Final = str(Path(descope_native.__file__).parent)
_REQUEST: Final = re.compile(rb"POST /c(\d+)/")
_OWNERS: Final = re.compile(rb"(?:GET|POST) /owner ")
_OWNERS_NUMBER: Final = -1
_NOBODYS_NUMBER: Final = -2
_MAX_HELD: Final = 0.06  # seconds, as long as the short ones among the timeouts
_STARTS: Final = 0.2  # of all calls; the others finish
_CODE: Final = re.compile(rb'"code":"(\d+)-')
_current: Final[contextvars.ContextVar[int]] = contextvars.ContextVar("current")


def session(token: str, *headers: str) -> bytes:
    """An answer that is right for a finish, and for a start."""
    body = {"sessionJwt": token, "refreshJwt": f"refresh-{token}", "stateId": token, "nonce": token}
    return answer(200, dict(body), *headers)


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
    open_transport: OpenTransport | None = None
    patience: float = 0.3
    kinds: Mapping[str, int] = attrs.field(factory=lambda: KINDS)
    busy: float = 0.05
    keep_warm: bool = False
    idle: float | None = None
    salt: str = attrs.field(factory=lambda: secrets.token_hex(8))
    seen: Counter[int] = attrs.field(factory=Counter)
    codes: Counter[int] = attrs.field(factory=Counter)
    unsent: dict[int, str] = attrs.field(factory=dict)
    deadlines: dict[int, float] = attrs.field(factory=dict)
    in_time: set[int] = attrs.field(factory=set)
    at_rest: set[DirectConnection] = attrs.field(factory=set)
    owed: dict[Connection, bytes] = attrs.field(factory=dict)
    ticks: deque[float] = attrs.field(factory=lambda: deque(maxlen=_TICKS_TO_END))
    is_relayed: bool = False
    owners_are_done: bool = False
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

    async def serve(self, connection: DirectConnection) -> None:
        rng = self.rng
        start = rng.random()
        if start < 0.02:
            return connection.finish() if rng.random() < 0.5 else connection.reset()
        if start < 0.03:
            await asyncio.sleep(rng.random() * 0.05)
        while request := await self.next_request(connection):
            found = _REQUEST.match(request)
            if rest := self.owed.pop(connection, None):
                connection.send_as_it_is(rest)
            elif _OWNERS.match(request):
                await self.respond_to_owner(connection)
            elif found is None or b"application/json" not in request:
                self.violate("a request that nobody made")
                return None
            else:
                await self.respond(connection, int(found[1]))
        return None

    async def next_request(self, connection: DirectConnection) -> bytes | None:
        self.at_rest.add(connection)
        try:
            async with asyncio.timeout(self.idle):
                return await connection.request()
        except TimeoutError:
            connection.finish()
            return None
        finally:
            self.at_rest.discard(connection)

    async def respond_to_owner(self, connection: DirectConnection) -> None:
        """What an owner of a borrowed session asks itself, and what comes behind the answer."""
        good = session(self.token(_OWNERS_NUMBER))
        what = self.rng.random()
        if what < 0.15:
            self.send_with_tail(connection, good, _OWNERS_NUMBER)
        else:
            connection.send(good)
            if what < 0.5:
                await self.stray(connection, _OWNERS_NUMBER)

    def answer_in_whole(self, connection: DirectConnection, number: int, data: bytes) -> None:
        """Send the last of an answer. What is with the caller's kernel before its deadline is in time."""
        is_open = not connection.transport.is_closing()
        connection.send(data)
        now = asyncio.get_running_loop().time()
        if is_open and not self.is_relayed and now < self.deadlines[number] - _IN_TIME:
            self.in_time.add(number)

    def send_with_tail(self, connection: DirectConnection, last: bytes, number: int) -> None:
        """Send the last of an answer and, in the same packet, the beginning of what nobody asked for.

        The rest comes as the answer to the next request, should there be one on this connection.
        """
        rng = self.rng
        stray = session(self.token(number))
        if self.reuse or rng.random() < 0.5:
            cut = rng.choice([1, rng.randrange(1, 30), rng.randrange(30, len(stray)), 0])
            rest = [stray[cut:], stray, b""]
            connection.send(last + (stray[:cut] or b"\r\n"))
            self.owe(connection, connection.sealed(rng.choice(rest)))
        else:
            # Half a TLS record, which a connection that is used again cannot see.
            record = connection.sealed(stray)
            connection.send(last)
            connection.send_as_it_is(record[: len(record) // 2])
            self.owe(connection, record[len(record) // 2 :])

    def owe(self, connection: Connection, rest: bytes) -> None:
        if rest:
            self.owed[connection] = rest

    async def respond(self, connection: DirectConnection, number: int) -> None:  # noqa: C901, PLR0912, PLR0915 -- one per fault
        rng = self.rng
        good = session(self.token(number))
        kind = rng.choices(*zip(*self.kinds.items(), strict=True))[0]
        if kind == "stall":
            await connection.gone()
        elif kind == "late":
            await asyncio.sleep(rng.random() * 0.03)
            self.answer_in_whole(connection, number, good)
        elif kind == "held":
            self.hold_past_the_deadline(connection, number)
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
            self.answer_in_whole(connection, number, good[cut:])
        elif kind == "chunked":
            self.answer_in_whole(connection, number, self.in_chunks(good))
        elif kind == "bad chunk":
            if rng.random() < 0.5:
                connection.send(chunked(b"{}") + b"ZZ\r\n")
                return
            connection.send(chunked(b"{}"))
            await asyncio.sleep(rng.choice([0, 0.002]))
            connection.send(b"ZZ\r\n")
        elif kind == "interim":
            hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * rng.randrange(1, 9)
            self.answer_in_whole(connection, number, hints + good)
        elif kind == "status":
            self.answer_in_whole(connection, number, self.refusal(number))
        elif kind == "redirect":
            connection.send(answer(307, b"", f"Location: http://localhost:{self.trapped}/c{number}/x"))
        elif kind == "garbage":
            connection.send(rng.randbytes(40) + b"\r\n\r\n")
        elif kind == "last":
            connection.send(session(self.token(number), "Connection: close"))
            connection.finish()
        elif kind == "cookie":
            connection.send(session(self.token(number), f"Set-Cookie: DSR={self.salt}; Path=/; HttpOnly"))
        elif kind == "tail":
            last = rng.choice([good, good, self.in_chunks(good), self.refusal(number)])
            if rng.random() < 0.3:
                cut = rng.randrange(1, len(last))
                connection.send(last[:cut])
                await asyncio.sleep(0)
                last = last[cut:]
            self.send_with_tail(connection, last, number)
        else:
            self.answer_in_whole(connection, number, good)
            if kind == "stray":
                await self.stray(connection, number)

    def in_chunks(self, good: bytes) -> bytes:
        body = good.partition(b"\r\n\r\n")[2]
        cut = self.rng.randrange(len(body))
        return chunked(*filter(None, (body[:cut], body[cut:]))) + b"0\r\n\r\n"

    def refusal(self, number: int) -> bytes:
        status = self.rng.choice([400, 401, 404, 408, 421, 429, 500, 502, 503, 520])
        return answer(status, {"errorCode": "E061301", "errorMessage": f"{number}-{self.salt}"})

    def hold_past_the_deadline(self, connection: DirectConnection, number: int) -> None:
        """Somebody else's code holds the loop while an answer lies in the kernel, and a deadline passes."""
        loop = asyncio.get_running_loop()
        good = session(self.token(number))
        self.answer_in_whole(connection, number, good if self.rng.random() < 0.7 else self.refusal(number))
        if (left := self.deadlines[number] - loop.time()) < _MAX_HELD:
            time.sleep(max(left, 0) + self.rng.random() * 0.01)

    async def stray(self, connection: DirectConnection, number: int) -> None:
        """What nobody asked for; as a rule, where connections are reused, only while nothing is in flight.

        A proxy holds it up, and nobody knows what is in flight when it arrives.
        """
        rng = self.rng
        if self.is_relayed and self.reuse:
            return
        for _ in range(rng.randrange(1, 3)):
            await asyncio.sleep(rng.choice([0, 0, 0.001, 0.004, 0.02]))
            connection.let_arrive()
            if not self.strays_in_flight and not connection.is_idle():
                return
            if not self.send_unasked(connection, number):
                return
            connection.let_arrive()

    def send_unasked(self, connection: DirectConnection, number: int) -> bool:
        """Send something, or end the connection; False where nothing more can follow."""
        rng = self.rng
        stray = session(self.token(number))
        what = rng.randrange(10)
        if what == 0:
            connection.finish()
        elif what == 1:
            connection.reset()
        elif what <= 3:
            cut = rng.choice([1, rng.randrange(1, 30), rng.randrange(1, len(stray))])
            connection.send(stray[:cut])
            if rng.random() < 0.3:
                connection.finish()
            else:
                self.owe(connection, connection.sealed(rng.choice([stray[cut:], stray, b""])))
            return False
        elif what == 4:
            connection.send(rng.randbytes(20))
        elif what == 5:
            connection.send(stray * 50)
        elif what == 6 and not self.reuse:
            record = connection.sealed(stray)
            connection.send_as_it_is(record[: rng.randrange(1, len(stray))])
            return False
        else:
            connection.send(stray)
        return True

    def speak_while_the_loop_is_busy(self, server: Server) -> None:
        """A callback that takes some milliseconds, and what comes over idle connections meanwhile.

        It stands in the turn in which a call looks at its connection and writes to it. Where the loop
        keeps a write back until the end of the turn, what comes now comes before the request has left.
        """
        rng = self.rng
        time.sleep(0.001)  # as in `let_arrive`
        idle = [each for each in server.connections if each in self.at_rest and each.is_idle()]
        for connection in rng.sample(idle, min(len(idle), rng.choice([1, 4, 100]))):
            if connection not in self.owed:
                self.send_unasked(connection, _NOBODYS_NUMBER)
        time.sleep(rng.choice([0.001, 0.004]))

    # --- what the callers do

    async def call(self, number: int, transport: Any, url: str, server: Server) -> None:
        rng = self.rng
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {
            "base_url": f"{url}/c{number}",
            "auth_management_key": f"key-{self.salt}",
        }
        _current.set(number)
        timeout = rng.random() * 0.06 + 0.0001 if rng.random() < 0.2 else self.patience
        self.deadlines[number] = loop.time() + timeout
        making: Coroutine[Any, Any, FinishResult | StartResult]
        if rng.random() < _STARTS:
            making = NativeOAuthStarter(PROJECT, transport, **options).start(
                provider="apple", login_options={"customClaims": {"x": f"claim-{self.salt}"}}, timeout=timeout
            )
        else:
            making = NativeOAuthFinisher(PROJECT, transport, **options).finish(
                provider="apple",
                state_id=f"state-{self.salt}",
                code=f"{number}-{self.salt}",
                user=AppleUser(given_name=f"name-{self.salt}"),
                timeout=timeout,
            )
        task: asyncio.Task[Any] = asyncio.create_task(making)
        if rng.random() < self.busy and not self.is_relayed and self.open_transport is None:
            turns = rng.choice([0, 0, 0, 1, 3])  # a new connection takes a few turns to be there

            def later() -> None:
                nonlocal turns
                turns -= 1
                if turns < 0:
                    self.speak_while_the_loop_is_busy(server)
                else:
                    loop.call_soon(later)

            loop.call_soon(later)
        cancelled = rng.random() < 0.1
        if cancelled:
            if rng.random() < 0.7:
                for _ in range(rng.randrange(25)):
                    await asyncio.sleep(0)
            else:
                await asyncio.sleep(rng.random() * 0.02)
            task.cancel()
        await asyncio.wait([task])
        if len(self.ticks) == _TICKS_TO_END and self.ticks[0] > self.deadlines[number]:
            self.violate(f"call {number}: it ended long after its deadline, with the loop free")
        self.judge(number, task, cancelled=cancelled)

    def judge(self, number: int, task: asyncio.Task[FinishResult | StartResult], *, cancelled: bool) -> None:
        self.figures.calls += 1
        if task.cancelled():
            self.figures.ends["cancelled"] += 1
            if not cancelled:
                self.violate(f"call {number}: cancelled by nobody")
            return
        error = task.exception()
        if error is None:
            result = task.result()
            is_start = isinstance(result, StartResult)
            self.figures.ends["started" if is_start else "session"] += 1
            token = result.state_id if isinstance(result, StartResult) else result.session_jwt
            if token != self.token(number):
                self.violate(f"call {number}: a token of somebody else, {token}")
            if self.salt in repr(task.result()):
                self.violate(f"call {number}: a secret in the repr of a result")
        elif not isinstance(error, DescopeNativeError):
            self.violate(f"call {number}: {type(error).__name__} escaped")
        else:
            phase = getattr(error, "phase", "")
            self.figures.ends[f"{error.outcome.value} {type(error).__name__} {phase}".strip()] += 1
            if isinstance(error, RequestTimeout) and number in self.in_time and self.open_transport is None:
                self.violate(f"call {number}: an answer in time was thrown away")
            if error.outcome is Outcome.NOT_SENT:
                self.unsent[number] = type(error).__name__
            if any(self.salt in text for text in texts_of(error)):
                self.violate(f"call {number}: a secret in {type(error).__name__}")

    async def batch(self, numbers: range, urls: list[str], server: Server, reach: "_Reach") -> None:
        rng = self.rng
        slots = asyncio.Semaphore(rng.choice([8, 64, 64]))
        limit = rng.choice([8, 32, 100])
        proxy = reach.proxy if rng.random() < 0.3 and self.open_transport is None else None
        self.is_relayed = proxy is not None
        self.owners_are_done = False

        async def one(number: int) -> None:
            async with slots:
                if self.idle is not None and rng.random() < 0.1:
                    await asyncio.sleep(rng.random() * 2 * self.idle)
                url = urls[0] if rng.random() < 0.95 else rng.choice(urls[1:])
                await self.call(number, transport, url, server)

        async with AsyncExitStack() as opened:
            transport: Any
            closable: list[AiohttpTransport | aiohttp.ClientSession] = []
            owners: list[asyncio.Task[None]] = []
            ssl = reach.context or True
            if self.open_transport is not None:
                opening = self.open_transport(ssl=reach.context, limit=limit)
                transport = await opened.enter_async_context(opening)
            elif self.make_transport is AiohttpTransport and rng.random() < 0.5:
                options: dict[str, Any] = {"reuse_connections": self.reuse}
                if self.keep_warm and self.reuse:
                    options |= {"keep_warm": True, "keepalive_timeout": rng.choice([0.02, 0.1, 55.0])}
                transport = await opened.enter_async_context(
                    AiohttpTransport.open(ssl=ssl, limit=limit, proxy=proxy, **options)
                )
            else:
                connector = aiohttp.TCPConnector(ssl=ssl, limit=limit, force_close=not self.reuse)
                borrowed = await opened.enter_async_context(aiohttp.ClientSession(connector=connector))
                transport = (
                    self.make_transport(borrowed, proxy=proxy) if proxy else self.make_transport(borrowed)
                )
                if proxy is None:  # closed before a proxy has answered, aiohttp leaves that connection open
                    closable.append(borrowed)
                if rng.random() < 0.7 and proxy is None:
                    owners = [asyncio.ensure_future(self.own(borrowed, urls[0])) for _ in range(3)]
            calls = [asyncio.ensure_future(one(number)) for number in numbers]
            if rng.random() < 0.3:
                last = rng.randrange(1, len(calls) // 5 + 2)  # these find it closing or closed
                await asyncio.wait(calls[:-last] or calls[:1])
                closing = closable[0] if closable and rng.random() < 0.3 else transport
                await closing.close()
            await asyncio.gather(*calls)
            self.owners_are_done = True
            for owner in owners:
                owner.cancel()
            await asyncio.gather(*owners, return_exceptions=True)
            await transport.close()

    async def own(self, borrowed: aiohttp.ClientSession, url: str) -> None:
        """Use the pool that a transport has borrowed. What an owner gets from this is not judged."""
        rng = self.rng
        # Where its own time is up in the same moment, aiohttp makes a timeout of a cancellation.
        while not borrowed.closed and not self.owners_are_done:
            limit = aiohttp.ClientTimeout(total=0.1)
            with suppress(aiohttp.ClientError, OSError, RuntimeError):
                method = rng.choice(["GET", "POST"])
                async with borrowed.request(
                    method, f"{url}/owner", timeout=limit, allow_redirects=False
                ) as response:
                    await response.read()
            await asyncio.sleep(rng.choice([0, 0.001, 0.01]))


@attrs.frozen
class _Reach:
    """What a client needs to get at the servers."""

    context: ssl.SSLContext | None
    proxy: str | None


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


def _eagerly(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
    """`asyncio.eager_task_factory`, which until Python 3.13.3 takes less than the newest uvloop hands it."""
    task: Any = asyncio.Task
    return task(coroutine, loop=loop, **{**options, "eager_start": True})


async def run(
    calls: int,
    seed: int,
    *,
    tls: bool = False,
    reuse: bool = True,
    strays_in_flight: bool | None = None,
    make_transport: MakeTransport = AiohttpTransport,
    open_transport: OpenTransport | None = None,
    kinds: Mapping[str, int] = KINDS,
    busy: float = 0.05,
    eager: bool = False,
    progress: bool = False,
    patience: float = 0.3,
    keep_warm: bool = False,
    idle: float | None = None,
) -> Figures:
    """Make this many calls and judge them. Strays are in flight, unless told, where nothing is reused.

    ``patience`` is the timeout in seconds of four calls in five. ``kinds`` says what a server does and how
    often, ``busy`` how often idle connections speak while the loop is held up. With ``keep_warm``
    transports keep a connection ready, some of them for moments only. ``idle`` is how many seconds the
    server keeps an idle connection, if it ends it; callers then pause about as long.
    """
    if eager:
        asyncio.get_running_loop().set_task_factory(_eagerly)
    figures = Figures(seed)
    in_flight = not reuse if strays_in_flight is None else strays_in_flight
    this = Run(
        figures, random.Random(seed), reuse, in_flight, make_transport, open_transport, patience, kinds, busy
    )
    this.keep_warm, this.idle = keep_warm, idle
    log = logging.getLogger("descope_native")
    handler = _Log(this)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    started = time.monotonic()
    async with serve(tunnel):  # with its first listener, uvloop opens a file for good
        pass
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
        server = await stack.enter_async_context(serve(this.serve, server_side, direct=True))
        deaf_server = await stack.enter_async_context(serve(deaf))
        trap_server = await stack.enter_async_context(serve(trap))
        proxy_server = await stack.enter_async_context(serve(tunnel, direct=True))
        this.trapped = trap_server.port
        scheme = "https" if tls else "http"
        urls = [server.url(scheme), deaf_server.url(scheme), f"{scheme}://localhost:{unused_port()}"]
        proxy = f"http://user:{this.salt}@localhost:{proxy_server.port}" if tls else None
        beating = asyncio.ensure_future(_beat(this))
        for start in range(0, calls, _BATCH):
            numbers = range(start, min(start + _BATCH, calls))
            await this.batch(numbers, urls, server, _Reach(client_side, proxy))
            for each in (proxy_server, server, deaf_server, trap_server):
                await _settle(this, each)
            if progress and (start // _BATCH) % 20 == 0:
                print(f"{start:8} calls, {len(this.figures.violations)} violations", flush=True)
        beating.cancel()
        await asyncio.wait([beating])


async def _beat(this: Run) -> None:
    """Note when the loop had time, so that a call is not blamed for a machine that had none."""
    while True:
        await asyncio.sleep(_TICK)
        this.ticks.append(asyncio.get_running_loop().time())


async def _settle(this: Run, server: Server) -> None:
    """Once a transport is closed, its connections are gone; only then is counted what they carried."""
    try:
        async with asyncio.timeout(5):
            await server.until(lambda: not server.open)
    except TimeoutError:
        this.violate(f"{len(server.open)} connections left over")
    for connection in server.connections:
        this.account(connection)
        this.owed.pop(connection, None)
    server.connections.clear()


def _open_files() -> int:
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.is_dir() else 0
