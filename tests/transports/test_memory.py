"""InMemoryTransport: a handler instead of a network, and everything else as over a real one."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kit.support import GOOGLE, PROJECT, session
from yarl import URL

from descope_native import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    Outcome,
    RequestTimeout,
    Retry,
    TLSError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)
from descope_native.transports import _lifecycle

OK = HttpResponse(200, (), session().body)


def request(timeout: float = 5.0) -> HttpRequest:
    url = URL("https://api.descope.com/v1/auth/oauth/native/finish")
    return HttpRequest(method="POST", url=url, headers={}, body=b"{}", timeout=timeout)


async def hang(_: HttpRequest) -> HttpResponse:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def answer(_: HttpRequest) -> HttpResponse:
    return OK


class Awaitable:
    """Something that can be awaited and is no coroutine."""

    def __await__(self) -> Generator[None, None, HttpResponse]:
        yield
        return OK


@pytest.mark.parametrize(
    "handler", [lambda _: OK, answer, lambda _: Awaitable()], ids=["sync", "async", "awaitable"]
)
async def test_a_handler_answers_now_or_later(handler: Any) -> None:
    """Sync, async, or anything that can be awaited."""
    assert await InMemoryTransport(handler).send(request()) is OK


async def test_a_request_whose_answer_is_there_says_so() -> None:
    """Its phase is that of one whose answer came over a network."""
    transport = InMemoryTransport(answer)
    await transport.send(request())
    assert transport.requests[0].progress.phase == "read"


async def test_it_keeps_what_was_sent() -> None:
    """The requests themselves, in order, also those that failed."""

    def handle(sent: HttpRequest) -> HttpResponse:
        if sent is second:
            raise ConnectionRefusedError
        return OK

    first, second, third = request(), request(), request()
    transport = InMemoryTransport(handle)
    await transport.send(first)
    with pytest.raises(ConnectError):
        await transport.send(second)
    await transport.send(third)
    assert [id(sent) for sent in transport.requests] == [id(first), id(second), id(third)]


async def test_it_yields_to_the_loop() -> None:
    """Even for a handler that answers at once: a test meets the same interleaving as production."""
    order: list[str] = []

    def handle(_: HttpRequest) -> HttpResponse:
        order.append("handled")
        return OK

    asyncio.get_running_loop().call_soon(order.append, "somebody else")
    await InMemoryTransport(handle).send(request())
    assert order == ["somebody else", "handled"]


async def test_it_honours_the_timeout() -> None:
    """The handler is interrupted, and the code may be spent."""
    started = asyncio.get_running_loop().time()
    with pytest.raises(RequestTimeout) as caught:
        await InMemoryTransport(hang).send(request(0.05))
    assert 0.049 <= asyncio.get_running_loop().time() - started < 5  # uvloop counts in milliseconds
    assert caught.value.phase == "wait"
    assert caught.value.seconds == 0.05
    assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("timeout", [0.0, -1.0])
async def test_without_time_nothing_is_sent(timeout: float) -> None:
    """A deadline that is over before the call begins leaves the code good."""
    transport = InMemoryTransport(answer)
    with pytest.raises(RequestTimeout) as caught:
        await transport.send(request(timeout))
    assert caught.value.outcome is Outcome.NOT_SENT
    assert caught.value.safe_to_retry
    assert not transport.requests


FAILURES: list[tuple[BaseException, type[Exception], Outcome]] = [
    (ConnectionRefusedError(111, "refused"), ConnectError, Outcome.NOT_SENT),
    (ConnectionResetError(104, "reset"), ConnectionLost, Outcome.UNKNOWN),
    (BrokenPipeError(), ConnectionLost, Outcome.UNKNOWN),
    (socket.gaierror(socket.EAI_NONAME, "no such host"), ConnectError, Outcome.NOT_SENT),
    (ssl.SSLCertVerificationError(1, "expired"), TLSError, Outcome.NOT_SENT),
    (ssl.SSLError(1, "bad record"), ConnectionLost, Outcome.UNKNOWN),
    (TimeoutError(), RequestTimeout, Outcome.UNKNOWN),
    (OSError("something"), ConnectionLost, Outcome.UNKNOWN),
]
OURS: list[DescopeNativeError] = [
    ConnectError("dns", "x"),
    TLSError("x"),
    RequestTimeout("pool", 1.0),
    ConnectionLost("read", "x"),
    TransportClosed("wait", "x"),
    TransportError("send", "x"),
    UnexpectedResponse(0, "x"),
]


@pytest.mark.parametrize("in_a_coroutine", [False, True])
@pytest.mark.parametrize(("raised", "error", "outcome"), FAILURES)
async def test_the_handlers_os_errors_become_ours(
    raised: Exception,
    error: type[TransportError],
    outcome: Outcome,
    in_a_coroutine: bool,
) -> None:
    """As the real transport has it, and with no foreign exception in the chain."""

    def fail(_: HttpRequest) -> HttpResponse:
        raise raised

    async def fail_later(_: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)
        raise raised

    with pytest.raises(error) as caught:
        await InMemoryTransport(fail_later if in_a_coroutine else fail).send(request())
    assert type(caught.value) is error
    assert caught.value.outcome is outcome
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("raised", OURS, ids=lambda error: type(error).__name__)
async def test_errors_of_ours_pass_as_they_are(raised: DescopeNativeError) -> None:
    """So that a test can stage any failure there is."""

    def fail(_: HttpRequest) -> HttpResponse:
        raise raised

    with pytest.raises(DescopeNativeError) as caught:
        await InMemoryTransport(fail).send(request())
    assert caught.value is raised


async def test_a_file_that_a_handler_misses_is_a_mistake_and_no_lost_connection(tmp_path: Path) -> None:
    """An answer kept in a file is a fine idea, and a wrong path to it is to be seen for what it is."""
    missing = tmp_path / "answer.json"
    finisher = NativeOAuthFinisher(
        PROJECT, InMemoryTransport(lambda _: HttpResponse(200, (), missing.read_bytes()))
    )
    with pytest.raises(FileNotFoundError, match=r"answer\.json"):
        await finisher.finish(**GOOGLE)


async def test_a_mistake_in_a_handler_is_not_dressed_up() -> None:
    """The test that has it should see it."""

    def wrong(_: HttpRequest) -> HttpResponse:
        raise KeyError("typo")

    with pytest.raises(KeyError, match="typo"):
        await InMemoryTransport(wrong).send(request())


async def test_closing_ends_the_calls_in_flight_and_waits_for_them() -> None:
    """All of them, and those that had not begun know that nothing was sent."""
    transport = InMemoryTransport(hang)
    under_way = [asyncio.create_task(transport.send(request())) for _ in range(3)]
    while len(transport.requests) < 3:
        await asyncio.sleep(0)
    queued = asyncio.create_task(transport.send(request()))
    await asyncio.sleep(0)
    assert len(transport.requests) == 3
    await transport.close()
    outcomes = []
    for call in [*under_way, queued]:
        assert call.done()
        error = call.exception()
        assert isinstance(error, TransportClosed)
        assert error.__context__ is None
        outcomes.append(error.outcome)
    assert outcomes == [Outcome.UNKNOWN] * 3 + [Outcome.NOT_SENT]
    assert len(transport.requests) == 3


async def test_closing_waits_for_a_handler_that_cleans_up() -> None:
    """When close returns, nothing of the handler is running any more."""
    cleaned = []

    async def slow_to_end(_: HttpRequest) -> HttpResponse:
        try:
            await asyncio.Event().wait()
        finally:
            for _turn in range(5):
                await asyncio.sleep(0)
            cleaned.append(True)
        raise AssertionError

    transport = InMemoryTransport(slow_to_end)
    call = asyncio.create_task(transport.send(request()))
    while not transport.requests:
        await asyncio.sleep(0)
    await asyncio.gather(transport.close(), transport.close())
    assert cleaned == [True]
    assert isinstance(call.exception(), TransportClosed)


async def test_a_handlers_error_on_the_way_out_of_a_close_is_told_as_closed() -> None:
    """What a connection says while it is torn down is no news."""

    async def fails_when_interrupted(_: HttpRequest) -> HttpResponse:
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionResetError

    transport = InMemoryTransport(fails_when_interrupted)
    call = asyncio.create_task(transport.send(request()))
    while not transport.requests:
        await asyncio.sleep(0)
    await transport.close()
    assert isinstance(call.exception(), TransportClosed)


async def test_why_a_call_found_itself_closed_is_not_told_otherwise_by_closing() -> None:
    """The more exact word stays: of a session that was closed under a transport that is closed as well."""

    async def knows_better(_: HttpRequest) -> HttpResponse:
        try:
            await asyncio.Event().wait()
        finally:
            raise TransportClosed("read", "the session was closed")

    transport = InMemoryTransport(knows_better)
    call = asyncio.create_task(transport.send(request()))
    while not transport.requests:
        await asyncio.sleep(0)
    await transport.close()
    assert str(call.exception()).startswith("the session was closed")


async def test_a_transport_that_is_closed_while_a_call_enters_it_sends_nothing() -> None:
    """The handler sees no request, and the error says that there was none."""
    transport = InMemoryTransport(answer)
    call = asyncio.create_task(transport.send(request()))
    await asyncio.sleep(0)  # the call is in, and has not come to the handler
    await transport.close()
    error = call.exception()
    assert isinstance(error, TransportClosed)
    assert error.outcome is Outcome.NOT_SENT
    assert transport.requests == []


async def test_closing_waits_for_a_call_whose_time_is_up_already() -> None:
    """It is on its way out and needs no second push."""
    release = asyncio.Event()

    async def slow_to_end(_: HttpRequest) -> HttpResponse:
        try:
            await asyncio.Event().wait()
        finally:
            release.set()
            await asyncio.sleep(0)
        raise AssertionError

    transport = InMemoryTransport(slow_to_end)
    call = asyncio.create_task(transport.send(request(0.02)))
    await release.wait()
    await transport.close()
    assert call.done()
    error = call.exception()
    assert isinstance(error, TransportClosed)
    assert error.outcome is Outcome.UNKNOWN


async def test_closing_twice_is_closing_once_and_then_all_is_refused() -> None:
    """Idempotent; afterwards nothing is sent."""
    transport = InMemoryTransport(answer)
    await transport.send(request())
    await transport.close()
    await transport.close()
    with pytest.raises(TransportClosed, match="closed") as caught:
        await transport.send(request())
    assert caught.value.outcome is Outcome.NOT_SENT
    assert not caught.value.safe_to_retry
    assert len(transport.requests) == 1


async def test_cancellation_reaches_the_handler_and_passes_through() -> None:
    """At each step of a call, and the next call is none the worse."""
    for steps in range(6):
        transport = InMemoryTransport(hang)
        call = asyncio.create_task(transport.send(request()))
        for _turn in range(steps):
            await asyncio.sleep(0)
        call.cancel("mine")
        with pytest.raises(asyncio.CancelledError, match="mine"):
            await call
        await transport.close()


def test_another_event_loop_is_refused() -> None:
    """With a word on what to do, and nothing sent."""
    finisher = asyncio.run(_opened())
    with pytest.raises(TransportClosed, match="another event loop") as caught:
        asyncio.run(finisher.finish(**GOOGLE))
    assert caught.value.outcome is Outcome.NOT_SENT


async def _opened() -> NativeOAuthFinisher:
    return NativeOAuthFinisher(PROJECT, InMemoryTransport(answer))


def test_another_thread_with_its_loop_is_refused_too() -> None:
    """While the first loop is running, and its own calls go on."""

    async def main() -> None:
        transport = InMemoryTransport(answer)
        errors: list[Exception] = []

        def elsewhere() -> None:
            try:
                asyncio.run(transport.send(request()))
            except TransportClosed as error:
                errors.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert len(errors) == 1
        assert await transport.send(request()) is OK

    asyncio.run(main())


def test_closing_on_another_loop_only_refuses_what_comes() -> None:
    """The calls of another loop are not ours to end."""
    entered, leave = threading.Event(), threading.Event()

    async def slow(_: HttpRequest) -> HttpResponse:
        entered.set()
        await asyncio.to_thread(leave.wait)
        return OK

    transport = InMemoryTransport(slow)
    with ThreadPoolExecutor(1) as elsewhere:
        call = elsewhere.submit(lambda: asyncio.run(transport.send(request())))
        assert entered.wait(10)
        try:
            asyncio.run(asyncio.wait_for(transport.close(), 10))
        finally:
            leave.set()
        assert call.result(10) is OK
    with pytest.raises(TransportClosed, match="the transport is closed"):
        asyncio.run(transport.send(request()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_is_refused() -> None:
    """A child that inherits a transport is told to open its own; the parent's goes on."""

    async def main() -> None:
        transport = InMemoryTransport(answer)
        await transport.send(request())
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            said = b"nothing"
            try:
                sending = transport.send(request())
                sending.send(None)
            except TransportClosed as error:
                said = f"{error.outcome.value}: {error.problem}".encode()
            finally:
                os.write(writing, said)
                os._exit(0)
        os.close(writing)
        told = os.read(reading, 1000)
        os.close(reading)
        assert os.waitpid(child, 0) == (child, 0)  # noqa: ASYNC222 -- it has said its last
        assert told == b"not_sent: the transport was opened before a fork; open one per process"
        assert await transport.send(request()) is OK

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_closing_in_a_fork_ends_nobodys_calls() -> None:
    """Not even where the child goes on within the parent's coroutine, in which no loop runs any more."""

    async def main() -> None:
        transport = InMemoryTransport(answer)
        child = os.fork()
        if not child:
            try:
                transport.close().send(None)
            except StopIteration:
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0) == (child, 0)  # noqa: ASYNC222 -- it has said its last
        assert await transport.send(request()) is OK

    asyncio.run(main())


FORKED_BETWEEN_TWO_RUNS = """
import asyncio, os, warnings
from descope_native import InMemoryTransport, NativeOAuthFinisher

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads

async def begin():
    entered = asyncio.Event()

    async def handle(request):
        entered.set()
        await asyncio.Event().wait()

    transport = InMemoryTransport(handle)
    finisher = NativeOAuthFinisher("P2project", transport)
    call = asyncio.create_task(finisher.finish(provider="apple", state_id="state", code="code"))
    await entered.wait()
    return transport, call

loop = asyncio.new_event_loop()
transport, call = loop.run_until_complete(begin())
if (child := os.fork()) == 0:
    try:
        loop.run_until_complete(transport.close())
        print("child:", call.done(), flush=True)
    finally:
        os._exit(0)
os.waitpid(child, 0)
print("parent:", call.done(), flush=True)
loop.run_until_complete(transport.close())
print("parent:", call.done(), flush=True)
loop.run_until_complete(asyncio.gather(call, return_exceptions=True))
loop.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_closing_in_a_fork_leaves_the_calls_of_the_parent_alone() -> None:
    """A child that runs the very loop on has copies of them, whose sockets it shares."""
    program = [sys.executable, "-c", FORKED_BETWEEN_TWO_RUNS]
    said = subprocess.run(program, capture_output=True, text=True, timeout=30, check=True)
    assert said.stdout.splitlines() == ["child: False", "parent: False", "parent: True"]
    assert said.stderr == ""


async def test_a_fork_is_known_by_a_note_that_the_child_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same within this process, for whoever counts covered lines."""
    transport = InMemoryTransport(answer)
    assert await transport.send(request()) is OK
    with monkeypatch.context() as patch:
        patch.setattr(_lifecycle, "_forks", [None])
        with pytest.raises(TransportClosed, match="fork"):
            await transport.send(request())
    assert await transport.send(request()) is OK


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("within_a_loop", [False, True])
def test_what_was_never_used_belongs_to_the_process_that_uses_it_first(*, within_a_loop: bool) -> None:
    """A server that forks its workers makes it once, on an event loop or not; each copy works."""

    async def made() -> InMemoryTransport:
        return InMemoryTransport(answer)

    transport = asyncio.run(made()) if within_a_loop else InMemoryTransport(answer)
    child = os.fork()
    if not child:
        try:
            os._exit(0 if asyncio.run(transport.send(request())) == OK else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0) == (child, 0)


async def test_a_fork_before_the_first_use_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same within this process; from its first use on it belongs there and nowhere else."""
    transport = InMemoryTransport(answer)
    with monkeypatch.context() as patch:
        patch.setattr(_lifecycle, "_forks", [None])
        assert await transport.send(request()) is OK
        assert await transport.send(request()) is OK
    with pytest.raises(TransportClosed, match="fork"):
        await transport.send(request())


@pytest.mark.parametrize("retry", [None, Retry()])
def test_a_call_without_an_event_loop_says_so(retry: Retry | None) -> None:
    """As every call that was not sent: with an error of ours. Closing there only refuses what comes."""
    transport = InMemoryTransport(answer)
    finisher = NativeOAuthFinisher(PROJECT, transport, retry=retry)
    with pytest.raises(TransportError) as caught:
        finisher.finish(**GOOGLE).send(None)
    assert type(caught.value) is TransportError
    assert caught.value.args == ("pool", "no event loop runs here; run the call with asyncio.run()")
    assert caught.value.outcome is Outcome.NOT_SENT
    assert transport.requests == []
    with pytest.raises(StopIteration):
        transport.close().send(None)
    with pytest.raises(TransportClosed):
        asyncio.run(transport.send(request()))


@pytest.mark.parametrize("retry", [None, Retry()])
async def test_a_call_outside_a_task_says_so(retry: Retry | None) -> None:
    """Driven from a callback there is no task, which a deadline needs. The transport is not harmed."""
    transport = InMemoryTransport(answer)
    finisher = NativeOAuthFinisher(PROJECT, transport, retry=retry)
    ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    def drive() -> None:
        with pytest.raises(TransportError) as caught:
            finisher.finish(**GOOGLE).send(None)
        ended.set_result(caught.value)

    asyncio.get_running_loop().call_soon(drive)
    error = await ended
    assert type(error) is TransportError
    assert error.args == ("pool", "no task runs here; wrap the call in asyncio.create_task()")
    assert error.outcome is Outcome.NOT_SENT
    assert transport.requests == []
    assert await transport.send(request()) is OK


def test_it_can_be_made_before_there_is_an_event_loop() -> None:
    """As a sync fixture does; then it belongs to the loop that uses it first, and to no other."""
    transport = InMemoryTransport(lambda _: HttpResponse(204))
    request = HttpRequest(method="POST", url=URL("https://localhost"), headers={}, body=b"", timeout=5)
    assert asyncio.run(transport.send(request)).status == 204
    with pytest.raises(TransportClosed, match="another event loop"):
        asyncio.run(transport.send(request))


def test_it_can_be_closed_without_ever_having_been_used() -> None:
    """Closing what no loop has used yet ends at once."""
    transport = InMemoryTransport(lambda _: HttpResponse(204))
    asyncio.run(transport.close())
    request = HttpRequest(method="POST", url=URL("https://localhost"), headers={}, body=b"", timeout=5)
    with pytest.raises(TransportClosed):
        asyncio.run(transport.send(request))


@pytest.mark.parametrize("status", [200, 299])
async def test_a_body_that_is_too_large_is_no_answer_where_it_matters(status: int) -> None:
    """As over a network, in the same words."""
    transport = InMemoryTransport(lambda _: HttpResponse(status, (), b"1234"), max_body=3)
    with pytest.raises(UnexpectedResponse) as caught:
        await transport.send(request())
    assert caught.value.args[:2] == (status, "the answer's body is larger than 3 bytes")


@pytest.mark.parametrize(
    ("status", "body", "comes"),
    [
        (200, b"123", b"123"),
        (199, b"1234", b""),
        (300, b"1234", b""),
        (400, b"1234", b""),
        (203, b"1", b"1"),
        (204, b"1", b""),
        (205, b"1", b"1"),
        (303, b"1", b"1"),
        (304, b"1", b""),
        (305, b"1", b"1"),
    ],
)
async def test_a_body_comes_where_it_would_over_a_network(status: int, body: bytes, comes: bytes) -> None:
    """Not with a status that has none, nor beyond the limit of a status that says enough."""
    transport = InMemoryTransport(lambda _: HttpResponse(status, {"A": "b"}, body), max_body=3)
    assert await transport.send(request()) == HttpResponse(status, {"A": "b"}, comes)


@pytest.mark.parametrize("max_body", [0, -1, True, 1.5, "9", None])
def test_a_limit_that_cannot_be_right_is_refused(max_body: Any) -> None:
    """In the words of the network's transport."""
    InMemoryTransport(lambda _: HttpResponse(200), max_body=1)
    with pytest.raises(InvalidRequestError) as caught:
        InMemoryTransport(lambda _: HttpResponse(200), max_body=max_body)
    assert caught.value.args == ("max_body must be a whole number, 1 at least",)
