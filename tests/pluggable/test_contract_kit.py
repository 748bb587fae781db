"""The kit finds what is wrong with a transport: each fault here differs from a good one in a line or two."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from descope_native import ConnectionLost, HttpRequest, HttpResponse, Transport
from descope_native.testing.transport_contract import (
    BrokenPromiseError,
    OpenTransport,
    Promises,
    Trust,
    cases,
    check,
    load,
)

GUIDE = (Path(__file__).parents[2] / "docs" / "transports.md").read_text(encoding="utf-8")
(GOOD,) = re.findall(r"<!-- pytest: my_transport.py -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
BOUND = "                        if len(body) > MAX_BODY"
PROMISES = Promises(
    can_prove_not_sent=False,
    reuses_connections=False,
    refuses_early_answers=False,
    tells_bad_heads=False,
    reads_while_sending=False,
    tells_other_loop=False,
)


def made_of(source: str) -> OpenTransport:
    """What the source of the guide's transport opens."""
    names: dict[str, Any] = {}
    exec(source, names)
    opened: OpenTransport = names["open_session_transport"]
    return opened


def changed(old: str, new: str) -> OpenTransport:
    """The guide's transport with this line put for that."""
    assert GOOD.count(old) == 1, old
    return made_of(GOOD.replace(old, new))


Send = Callable[[Transport, HttpRequest], Any]


def around(send: Send) -> OpenTransport:
    """The guide's transport with this around its `send`."""

    class Around:
        def __init__(self, inner: Transport) -> None:
            self._inner = inner

        async def send(self, request: HttpRequest, /) -> HttpResponse:
            answer: HttpResponse = await send(self._inner, request)
            return answer

    @asynccontextmanager
    async def opened(trust: Trust) -> AsyncGenerator[Transport]:
        async with made_of(GOOD)(trust) as inner:
            yield Around(inner)

    return opened


async def sending_again(inner: Transport, request: HttpRequest) -> HttpResponse:
    try:
        return await inner.send(request)
    except ConnectionLost:
        return await inner.send(request)


async def joining_headers(inner: Transport, request: HttpRequest) -> HttpResponse:
    answer = await inner.send(request)
    joined: dict[str, str] = {}
    for name, value in answer.headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return attrs.evolve(answer, headers=joined)


async def stripping_bodies(inner: Transport, request: HttpRequest) -> HttpResponse:
    answer = await inner.send(request)
    return attrs.evolve(answer, body=answer.body.strip())


async def knowing_one_spelling_of_chunked(inner: Transport, request: HttpRequest) -> HttpResponse:
    answer = await inner.send(request)
    if answer.header_values("Transfer-Encoding") in ([], ["chunked"]):
        return answer
    return attrs.evolve(answer, body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(answer.body), answer.body))


async def swallowing_cancellation(inner: Transport, request: HttpRequest) -> HttpResponse:
    try:
        return await inner.send(request)
    except asyncio.CancelledError:
        return HttpResponse(503)


async def deaf_to_cancellation(inner: Transport, request: HttpRequest) -> HttpResponse:
    task = asyncio.ensure_future(inner.send(request))
    until = time.monotonic() + 3.5  # a little longer than the kit waits
    while not task.done() and time.monotonic() < until:
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task], timeout=0.1)
    task.cancel()
    return await task


async def cancelling_itself(inner: Transport, request: HttpRequest) -> HttpResponse:
    raise asyncio.CancelledError


async def letting_out_what_is_foreign(inner: Transport, request: HttpRequest) -> HttpResponse:
    try:
        return await inner.send(request)
    except ConnectionLost:
        raise aiohttp.ServerDisconnectedError from None


async def quoting_the_request(inner: Transport, request: HttpRequest) -> HttpResponse:
    try:
        return await inner.send(request)
    except ConnectionLost as lost:
        raise ConnectionLost("wait", "lost") from ValueError(request.body, lost)


async def logging_the_headers(inner: Transport, request: HttpRequest) -> HttpResponse:
    answer = await inner.send(request)
    logging.getLogger("throwaway").debug("got %s", answer.headers)
    return answer


async def answering_for_another(inner: Transport, request: HttpRequest) -> HttpResponse:
    answer = await inner.send(request)
    return attrs.evolve(answer, body=answer.body.replace(b"call-", b"call-1"))


async def returning_something_else(inner: Transport, request: HttpRequest) -> Any:
    answer = await inner.send(request)
    return answer.body


_left: list[asyncio.Task[None]] = []


async def leaving_a_task(inner: Transport, request: HttpRequest) -> HttpResponse:
    _left.append(asyncio.ensure_future(asyncio.sleep(10)))
    return await inner.send(request)


@asynccontextmanager
async def hanging_when_closed(trust: Trust) -> AsyncGenerator[Transport]:
    async with made_of(GOOD)(trust) as transport:
        yield transport
        await asyncio.sleep(60)


@asynccontextmanager
async def never_closing(trust: Trust) -> AsyncGenerator[Transport]:
    opened = made_of(GOOD)(trust)
    yield await opened.__aenter__()
    _open.append(opened)


_open: list[AbstractAsyncContextManager[Transport]] = []


# The fault, a case that finds it, and some of what is said.
FAULTS: dict[str, tuple[OpenTransport, str, str]] = {
    "a cookie jar": (
        changed("aiohttp.DummyCookieJar()", "None"),
        "cookies_are_not_kept",
        "the cookie of an answer was sent",
    ),
    "a redirect followed": (
        changed("allow_redirects=False", "allow_redirects=True"),
        "redirects_are_not_followed",
        "a 301 was followed to another origin",
    ),
    "sent again": (around(sending_again), "nothing_is_sent_twice", "one call was sent 2 times"),
    "a wrong phase": (
        changed('ConnectionLost("wait"', 'ConnectionLost("connect"'),
        "an_answer_cut_at_any_byte_is_no_answer",
        "it was said that nothing was sent, and the server has it",
    ),
    "no progress": (
        changed('request.progress.phase = "send"', 'request.progress.phase = "pool"'),
        "cancellation_passes_through_while_waiting",
        "nothing was sent, and the server has it: it was cancelled, phase pool",
    ),
    "an unbounded body": (
        changed("MAX_BODY = 1024 * 1024", "MAX_BODY = 1 << 40"),
        "a_body_without_end_is_given_up",
        "a body of 16 MiB in chunks was read",
    ),
    "an unbounded body of a known length": (
        changed(BOUND, f"{BOUND} and answer.content_length is None"),
        "a_body_without_end_is_given_up",
        "a body of 16 MiB of a known length was read",
    ),
    "an unbounded body to the end of the connection": (
        changed(BOUND, f'{BOUND} and "Connection" not in answer.headers'),
        "a_body_without_end_is_given_up",
        "a body of 16 MiB to the end of the connection was read",
    ),
    "a body stripped": (
        around(stripping_bodies),
        "a_body_is_handed_over_as_it_came",
        "a body was changed",
    ),
    "chunks known by one spelling": (
        around(knowing_one_spelling_of_chunked),
        "bodies_end_where_they_say",
        "a body in chunks, with a capital",
    ),
    "a body undone": (
        changed("auto_decompress=False", "auto_decompress=True"),
        "a_body_is_handed_over_as_it_came",
        "a body was changed",
    ),
    "half a body": (
        changed(
            '            failure = ConnectionLost("wait"',
            "            return HttpResponse(status, headers, body) #",
        ),
        "an_answer_cut_at_any_byte_is_no_answer",
        "were taken for an answer",
    ),
    "a refusal lost": (
        changed("if status and not 200", "if False and not 200"),
        "a_refusal_counts_without_its_body",
        "a 400 whose body is cut: it raised ConnectionLost",
    ),
    "joined headers": (
        around(joining_headers),
        "lines_of_one_name_stay_apart",
        "two Set-Cookie lines did not stay two",
    ),
    "a header added": (
        changed("headers=request.headers,", 'headers={**request.headers, "Cookie": "a=b"},'),
        "the_request_arrives_as_it_was_made",
        "a cookie was sent",
    ),
    "a header twice": (
        changed("headers=request.headers,", 'headers=[*request.headers.items(), ("X-Odd", "again")],'),
        "the_request_arrives_as_it_was_made",
        "the header X-Odd arrived 2 times, or changed",
    ),
    "a header changed": (
        changed("headers=request.headers,", 'headers={**request.headers, "X-Odd": "a,b"},'),
        "the_request_arrives_as_it_was_made",
        "the header X-Odd arrived 1 times, or changed",
    ),
    "another host": (
        changed("headers=request.headers,", 'headers={**request.headers, "Host": "else.example"},'),
        "the_request_arrives_as_it_was_made",
        "the Host header is not the URL's",
    ),
    "no length": (
        changed("headers=request.headers,", "headers=request.headers, chunked=True,"),
        "the_request_arrives_as_it_was_made",
        "there is not one Content-Length",
    ),
    "another body": (
        changed("data=request.body,", "data=request.body.replace(b'e', b'E'),"),
        "the_request_arrives_as_it_was_made",
        "the body is not that of the request",
    ),
    "another path": (
        changed("request.url, data", 'request.url / "", data'),
        "the_request_arrives_as_it_was_made",
        "method or path is not that of the request",
    ),
    "a stray taken": (
        changed("force_close=True", "force_close=False"),
        "what_nobody_asked_for_is_no_answer",
        "a call got an answer that came before its request was sent",
    ),
    "an answer of somebody else": (
        around(answering_for_another),
        "calls_at_once_get_their_own_answers",
        "an answer that is not its own",
    ),
    "a deadline ignored": (
        changed("asyncio.timeout(request.timeout)", "asyncio.timeout(None)"),
        "the_deadline_is_kept",
        "a call with a timeout of 0.25 s had not ended much later",
    ),
    "a deadline that is told otherwise": (
        changed('RequestTimeout("wait", request.timeout)', 'ConnectionLost("wait", "late")'),
        "the_deadline_is_kept",
        "silence until the deadline: it raised ConnectionLost",
    ),
    "a cancellation swallowed": (
        around(swallowing_cancellation),
        "cancellation_passes_through_while_waiting",
        "a cancellation did not come through: it got an answer, 503",
    ),
    "a cancellation ignored": (
        around(deaf_to_cancellation),
        "cancellation_passes_through_while_waiting",
        "a cancelled call went on",
    ),
    "a cancellation made up": (
        around(cancelling_itself),
        "every_status_is_an_answer",
        "a call ended as cancelled, and nobody had cancelled it",
    ),
    "any certificate": (
        changed("ssl=trust.context", "ssl=False"),
        "somebody_else_there_is_told",
        "another host's certificate was accepted",
    ),
    "an error of somebody else's": (
        around(letting_out_what_is_foreign),
        "nobody_there_is_told",
        "ServerDisconnectedError (",
    ),
    "a secret in a cause": (
        around(quoting_the_request),
        "no_error_and_no_log_tells_a_secret",
        "an error tells a secret",
    ),
    "a secret in the log": (
        around(logging_the_headers),
        "no_error_and_no_log_tells_a_secret",
        "a good answer: a log tells a secret",
    ),
    "no HttpResponse": (
        around(returning_something_else),
        "every_status_is_an_answer",
        "what came back is no HttpResponse",
    ),
    "a close that hangs": (hanging_when_closed, "cookies_are_not_kept", "closing took longer than 3 s"),
    "no close": (never_closing, "closing_leaves_nothing_behind", "is closed: it got an answer"),
    "calls that go on": (
        never_closing,
        "closing_ends_the_calls_in_flight",
        "calls in flight go on once the transport is closed",
    ),
    "a task left behind": (
        around(leaving_a_task),
        "closing_leaves_nothing_behind",
        "tasks are running after the end",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_kit_finds(fault: str) -> None:
    """A transport with this fault does not pass, and is told what was seen."""
    open_transport, name, said = FAULTS[fault]
    (case,) = (case for case in cases(PROMISES) if case.name == name)
    try:
        with pytest.raises(BrokenPromiseError, match=re.escape(said)):
            await case.run(open_transport)
    finally:
        for task in _left:
            task.cancel()
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=5)
        for opened in _open:
            await opened.__aexit__(None, None, None)
        _left.clear()
        _open.clear()


# A claim, a case that shows that the guide's transport cannot make it, and some of what is said.
CLAIMS = {
    "can_prove_not_sent": (
        "nobody_there_is_told",
        r"refused connection: it raised ConnectionLost \(unknown\)",
    ),
    "reuses_connections": ("connections_are_reused", "three calls took 3 connections"),
    "refuses_early_answers": ("an_early_answer_is_not_taken", "an answer was taken that had come before"),
    "tells_bad_heads": (
        "a_bad_head_is_told_at_once",
        r"another protocol: it raised ConnectionLost \(unknown\)",
    ),
    "reads_while_sending": ("a_refusal_is_taken_before_all_is_sent", "ResourceWarning"),
    "tells_other_loop": ("another_event_loop_is_told", "on another event loop: "),
}


@pytest.mark.parametrize("claim", CLAIMS)
async def test_a_false_claim_is_named(claim: str) -> None:
    """A case that needs a claim is not there without it, and names it where it is false."""
    name, said = CLAIMS[claim]
    (case,) = (case for case in cases(attrs.evolve(PROMISES, **{claim: True})) if case.name == name)
    with pytest.raises(BrokenPromiseError, match=rf"{said}.*\({claim}\)"):
        await case.run(made_of(GOOD))


async def test_what_is_not_claimed_is_not_asked_for() -> None:
    """The guide's transport holds all the rest."""
    assert {case.name for case in cases()} - {case.name for case in cases(PROMISES)} == {
        *("connections_are_reused", "an_early_answer_is_not_taken", "a_bad_head_is_told_at_once"),
        "a_refusal_is_taken_before_all_is_sent",
        *("another_event_loop_is_told", "a_fork_is_told"),
    }
    assert [(str(case), said) async for case, said in check(made_of(GOOD), PROMISES) if said] == []


async def test_a_table_has_what_is_broken_and_what_holds() -> None:
    """`check` goes on after a case that fails, also where the transport cannot even be opened."""
    following = changed("allow_redirects=False", "allow_redirects=True")
    found = [str(case) async for case, said in check(following, PROMISES) if said]
    assert found == ["redirects_are_not_followed"]

    def cannot_be_opened(trust: Trust) -> AbstractAsyncContextManager[Transport]:
        raise RuntimeError("no")

    found = [str(said) async for _, said in check(cannot_be_opened)]
    assert set(found) == {"RuntimeError came out of it"}


async def test_a_transport_that_hangs_does_not_hang_the_kit() -> None:
    """A case has a limit."""
    (case,) = (case for case in cases(PROMISES) if case.name == "the_deadline_is_kept")
    with pytest.raises(BrokenPromiseError, match=r"it was not over after 0\.05 s"):
        await case.run(made_of(GOOD), limit=0.05)
    await asyncio.sleep(0.3)  # for what the case was about to end by itself


def test_each_case_has_a_name_and_a_sentence() -> None:
    """What is printed for it."""
    for case in cases():
        assert str(case) == case.name
        assert case.sentence.endswith(".")


def test_a_transport_is_named_by_module_and_function() -> None:
    """As on the command line. What is not there is said without a traceback."""
    assert load("test_contract_kit:hanging_when_closed") is hanging_when_closed
    for wrong in (
        "",
        "test_contract_kit",
        "test_contract_kit:nothing",
        "test_contract_kit:GOOD",
    ):
        with pytest.raises(ValueError, match="no such function"):
            load(wrong)
    with pytest.raises(ValueError, match="nowhere cannot be imported"):
        load("nowhere:to")


async def test_a_fork_that_goes_on_is_told() -> None:
    """A transport that works in a child, or on another loop, is not what claims to refuse that."""

    trusts: list[Trust] = []

    class Fresh:
        async def send(self, request: HttpRequest, /) -> HttpResponse:
            async with made_of(GOOD)(trusts[0]) as transport:
                return await transport.send(request)

    @asynccontextmanager
    async def opened(trust: Trust) -> AsyncGenerator[Transport]:
        trusts.append(trust)
        yield Fresh()

    for case in cases(attrs.evolve(PROMISES, tells_other_loop=True)):
        if case.name in {"a_fork_is_told", "another_event_loop_is_told"}:
            with pytest.raises(BrokenPromiseError, match=r"it got an answer, 200 \(tells_other_loop\)"):
                await case.run(opened)
