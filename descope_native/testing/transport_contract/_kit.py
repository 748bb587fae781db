"""What the cases are made with: calls over a transport, and a judgement by what the servers received."""

import asyncio
import itertools
import traceback
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import attrs
from yarl import URL

from descope_native.errors import DescopeNativeError, Outcome, ResponseError, outcome_in
from descope_native.testing.transport_contract._servers import Connection, Server, Trust, answer, authority
from descope_native.transports import HttpRequest, HttpResponse, Transport

OpenTransport = Callable[[Trust], AbstractAsyncContextManager[Transport]]
"""Opens a transport whose TLS takes the kit's servers for genuine, and closes it at the end."""

GRACE: Final = 3.0
"""Seconds that a busy machine may add to what ought to be over at once."""

CODE: Final = "code-5d41402abc4b2a76b9719d911017c592"
BEARER: Final = "key-9b74c9897bac770ffc029102a200c5de"

_numbers: Final = itertools.count(1)


class BrokenPromiseError(AssertionError):
    """A transport does not hold what it has to. The text says what was seen."""


def require(holds: object, seen: str) -> None:
    """Raise `BrokenPromiseError` with what was seen instead."""
    if not holds:
        raise BrokenPromiseError(seen)


def _where(error: BaseException) -> str:
    """What was raised, with its text, and the line that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} ({error}) in line {frame.lineno} of {Path(frame.filename).name}"


@attrs.frozen(kw_only=True)
class Promises:
    """What a transport claims beyond what every transport owes. All of it, unless said otherwise.

    Attributes:
        can_prove_not_sent: an error says ``NOT_SENT`` where nobody was reached, so that the code is still
            good. Without it such an error may say ``UNKNOWN``, which is never wrong.
        reuses_connections: a second call goes over the connection of the first, and a connection that
            died meanwhile is replaced.
        refuses_early_answers: what a server says before the request is there is not taken for its answer.
        tells_bad_heads: what cannot become an answer is told at once, and a 101 by its status. Without it,
            as any failure, at the latest at the deadline.
        reads_while_sending: a refusal that comes before all of a large request is sent is taken. Without it,
            the call may wait until its deadline.
        tells_closed: a call on a closed transport, and one that is closed while it is in flight, fail with
            `TransportClosed`. Without it, with any `TransportError`.
        tells_other_loop: so does a call on another event loop than the one it was opened on, and after
            a fork. Without it, nobody may use the transport there.
    """

    can_prove_not_sent: bool = True
    reuses_connections: bool = True
    refuses_early_answers: bool = True
    tells_bad_heads: bool = True
    reads_while_sending: bool = True
    tells_closed: bool = True
    tells_other_loop: bool = True


def session_of(number: int) -> bytes:
    """The body that call gets, and no other."""
    return b'{"sessionJwt": "session.of.call-%d-"}' % number


def number_in(request: bytes) -> int:
    """Which call this is, by its path; 0 where it is none of the kit's."""
    start = request.partition(b"/call-")[2].partition(b"/")[0]
    return int(start) if start.isdigit() else 0


async def echo(connection: Connection) -> None:
    """Answers each request with the session that is its own."""
    while request := await connection.request():
        connection.send(answer(200, session_of(number_in(request))))


@attrs.define(eq=False)
class Call:
    """One call and how it ended."""

    number: int
    request: HttpRequest
    server: Server | None
    task: "asyncio.Task[HttpResponse]"

    @property
    def answer(self) -> HttpResponse | None:
        return None if self.task.cancelled() or self.task.exception() else self.task.result()

    @property
    def error(self) -> BaseException | None:
        return None if self.task.cancelled() else self.task.exception()

    @property
    def end(self) -> str:
        """How it ended, for a text."""
        if self.task.cancelled():
            return "it was cancelled"
        if self.answer is not None:
            return f"it got an answer, {self.answer.status} with {len(self.answer.body)} bytes"
        facts = [self.error.outcome.value] if isinstance(self.error, DescopeNativeError) else []
        facts += [f"status {self.error.status}"] if isinstance(self.error, ResponseError) else []
        return f"it raised {type(self.error).__name__}" + (f" ({', '.join(facts)})" if facts else "")

    @property
    def outcome(self) -> Outcome:
        """What is said about it."""
        if isinstance(self.error, DescopeNativeError):
            return self.error.outcome
        return outcome_in(self.request.progress.phase)

    def arrivals(self) -> int:
        """How often its server has seen it."""
        return self.server.received.count(b"/call-%d/" % self.number) if self.server else 0

    def has_arrived(self) -> bool:
        return self.arrivals() > 0

    def headers(self, name: str) -> list[str]:
        """The values that its answer has under this name."""
        return [] if self.answer is None else self.answer.header_values(name)

    def failed(self, *kinds: type[DescopeNativeError]) -> bool:
        return isinstance(self.error, kinds)

    def require_own_answer(self) -> None:
        require(
            self.answer is not None and self.answer.status == 200,
            f"a call on a good connection got no answer: {self.end}",
        )
        require(
            self.answer is not None and self.answer.body == session_of(self.number),
            "a call got an answer that is not its own",
        )


class Kit:
    """Opens the transport under test and makes calls over it."""

    def __init__(self, open_transport: OpenTransport, promises: Promises) -> None:
        self._open = open_transport
        self._tasks: list[asyncio.Task[HttpResponse]] = []
        self.promises = promises

    async def abandon(self) -> None:
        """End the calls that a case which failed has left, and hear how they ended."""
        loop = asyncio.get_running_loop()
        tasks = [task for task in self._tasks if task.get_loop() is loop]  # another one has ended its own
        for task in tasks:
            task.cancel()
        if tasks:
            done, _ = await asyncio.wait(tasks, timeout=GRACE)
            await asyncio.gather(*done, return_exceptions=True)

    @asynccontextmanager
    async def transport(self) -> AsyncGenerator[Transport]:
        """The transport, opened for one case. That it can be closed is looked at each time."""
        opened = self._open(authority().trust)
        transport = await opened.__aenter__()
        try:
            yield transport
        finally:
            await self.close(opened)

    async def open(self) -> "tuple[AbstractAsyncContextManager[Transport], Transport]":
        """The same for cases that are about closing: `close` ends it."""
        opened = self._open(authority().trust)
        return opened, await opened.__aenter__()

    async def close(self, opened: AbstractAsyncContextManager[Transport]) -> None:
        """Leave the block, in this task: some clients insist on the one that entered it."""
        try:
            async with asyncio.timeout(GRACE):
                await opened.__aexit__(None, None, None)
        except TimeoutError:
            raise BrokenPromiseError(f"closing took longer than {GRACE:g} s") from None

    def start(
        self,
        transport: Transport,
        server: Server | str,
        *,
        timeout: float = 10.0,
        more: str = "v1/auth/oauth/native/finish",
        headers: "dict[str, str] | None" = None,
        body: bytes | None = None,
    ) -> Call:
        """Begin a call. A server is given as itself, or by its base URL where it keeps no record."""
        number = next(_numbers)
        base = server if isinstance(server, str) else server.url()
        request = HttpRequest(
            method="POST",
            url=URL(f"{base}/call-{number}/{more}", encoded=True),
            headers={"Authorization": f"Bearer P2:{BEARER}", "Content-Type": "application/json"}
            | (headers or {}),
            body=b'{"code": "%s"}' % CODE.encode() if body is None else body,
            timeout=timeout,
        )
        task = asyncio.ensure_future(_sent(transport, request))
        self._tasks.append(task)
        return Call(number, request, None if isinstance(server, str) else server, task)

    async def end(self, call: Call) -> Call:
        """Wait for it, no longer than it may take, and look at how it ended."""
        await asyncio.wait([call.task], timeout=call.request.timeout + GRACE)
        if not call.task.done():
            call.task.cancel()
            await asyncio.wait([call.task], timeout=GRACE)
            require(False, f"a call with a timeout of {call.request.timeout:g} s had not ended much later")  # noqa: FBT003 -- it says so
        require(not call.task.cancelled(), "a call ended as cancelled, and nobody had cancelled it")
        self._judge(call)
        return call

    async def call(
        self,
        transport: Transport,
        server: Server | str,
        *,
        timeout: float = 10.0,
        more: str = "v1/auth/oauth/native/finish",
        headers: "dict[str, str] | None" = None,
        body: bytes | None = None,
    ) -> Call:
        """Make a call and wait for its end."""
        return await self.end(
            self.start(transport, server, timeout=timeout, more=more, headers=headers, body=body)
        )

    async def cancel(self, call: Call) -> Call:
        """Cancel it, and look at how it ended."""
        was_over = call.task.done()
        call.task.cancel()
        await asyncio.wait([call.task], timeout=GRACE)
        require(call.task.done(), "a cancelled call went on")
        require(was_over or call.task.cancelled(), f"a cancellation did not come through: {call.end}")
        self._judge(call)
        return call

    @staticmethod
    def _judge(call: Call) -> None:
        if call.error is not None and not isinstance(call.error, DescopeNativeError):
            escaped = f"{_where(call.error)} escaped: raise TransportError or one of its kinds"
            raise BrokenPromiseError(escaped) from call.error
        require(
            call.answer is None or isinstance(call.answer, HttpResponse), "what came back is no HttpResponse"
        )
        is_unsent = call.answer is None and call.outcome is Outcome.NOT_SENT
        require(
            not (is_unsent and call.arrivals()),
            f"it was said that nothing was sent, and the server has it: {call.end}, "
            f"phase {call.request.progress.phase}",
        )
        require(call.arrivals() <= 1, f"one call was sent {call.arrivals()} times")


async def _sent(transport: Transport, request: HttpRequest) -> HttpResponse:
    return await transport.send(request)


async def eventually(condition: Callable[[], bool]) -> bool:
    """Whether this comes to be so before long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            while not condition():  # noqa: ASYNC110 -- what a transport does can only be asked for again
                await asyncio.sleep(0.002)
    return condition()
