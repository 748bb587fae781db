"""What a finisher passes on, remembers of a call, and takes for granted."""

import asyncio
import inspect
import logging
import sys
from typing import Any

import pytest
from support import PROJECT, Answer, answering_in_memory, as_json, session
from yarl import URL

from descope_native import (
    FinishResult,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    RequestTimeout,
    Retry,
    UnexpectedResponse,
)
from descope_native.models import FrozenDict


def test_a_call_has_fifteen_seconds_unless_told() -> None:
    """Both ways to make a finisher take the same options with the same defaults, the safe ones."""
    made = inspect.signature(NativeOAuthFinisher).parameters
    opened = inspect.signature(NativeOAuthFinisher.open).parameters
    options = {name: each.default for name, each in opened.items() if each.kind is each.KEYWORD_ONLY}
    assert options == {name: each.default for name, each in made.items() if each.kind is each.KEYWORD_ONLY}
    assert options["timeout"] == 15.0
    assert (options["retry"], options["strict"], options["allow_http"]) == (None, False, False)


async def test_a_call_really_has_fifteen_seconds() -> None:
    """As its transport is told; and a finisher that `open` made takes the same and as little for granted."""
    transport = InMemoryTransport(lambda _: HttpResponse(200, (), as_json({"sessionJwt": "s.e.s"})))
    await NativeOAuthFinisher(PROJECT, transport).finish(provider="google", state_id="s", id_token="t")
    (request,) = transport.requests
    assert 14.5 < request.timeout <= 15.0
    async with NativeOAuthFinisher.open(PROJECT) as finisher:
        assert (vars(finisher)["_timeout"], vars(finisher)["_strict"]) == (15.0, False)
    with pytest.raises(InvalidRequestError):
        NativeOAuthFinisher.open(PROJECT, base_url="http://cluster")


async def test_open_passes_on_what_it_is_given() -> None:
    """A plain address in a cluster and a retry are meant for the finisher that comes out."""
    retry = Retry()
    async with NativeOAuthFinisher.open(
        PROJECT, base_url="http://cluster", allow_http=True, retry=retry, strict=True, timeout=3
    ) as finisher:
        assert repr(finisher) == "<NativeOAuthFinisher http://cluster>"
        assert vars(finisher)["_retry"] is retry
        assert (vars(finisher)["_strict"], vars(finisher)["_timeout"]) == (True, 3.0)


def test_a_finisher_that_was_refused_has_a_repr() -> None:
    """A traceback that shows locals shows it."""
    unmade = NativeOAuthFinisher.__new__(NativeOAuthFinisher)
    assert repr(unmade) == "<NativeOAuthFinisher without an endpoint>"


async def test_a_call_cancelled_while_it_waits_to_retry_tells_what_its_attempt_proved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The service had said no, so the code is not in doubt."""
    waiting = asyncio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    with caplog.at_level(logging.INFO, "descope_native"):
        async with answering_in_memory(Answer(429), retry=Retry(sleep=sleep)) as service:
            call = asyncio.create_task(service.finish())
            call.add_done_callback(lambda _: waiting.set())
            await waiting.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
    (line,) = [record for record in caplog.records if record.name == "descope_native"]
    facts: Any = line
    assert facts.descope_outcome == "rejected (cancelled)"
    assert facts.descope_elapsed == round(facts.descope_elapsed, 3)


async def test_no_time_left_sends_nothing() -> None:
    """A handler would take the code before any clock is looked at."""

    def answer(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200)

    transport = InMemoryTransport(answer)
    request = HttpRequest(method="POST", url=URL("https://a"), headers={}, body=b"", timeout=0.0)
    with pytest.raises(RequestTimeout) as caught:
        await transport.send(request)
    await transport.close()
    assert caught.value.phase == "pool"
    assert transport.requests == []


async def test_a_call_in_memory_takes_no_time() -> None:
    """It gives way to the event loop, and does not sleep."""
    async with answering_in_memory(session(), timeout=0.9) as service:
        assert isinstance(await service.finish(), FinishResult)


@pytest.mark.parametrize("text", ["session", "refresh"])
async def test_all_other_tokens_make_no_session(text: str) -> None:
    """Nor is one that is there made doubtful by others that are not."""
    others = {"refreshJwt": "r.e.f", "externalToken": "e", "trustedDeviceJwt": "t"}
    tokens = others if text == "session" else {"sessionJwt": "s.e.s"}
    async with answering_in_memory(Answer(body=as_json(tokens)), strict=True) as service:
        if text == "refresh":
            assert (await service.finish()).session_jwt == "s.e.s"
        else:
            with pytest.raises(UnexpectedResponse, match=r"^the answer has no session in body or cookies \["):
                await service.finish()


async def test_a_list_that_is_none_is_told_with_its_place() -> None:
    """As an array that was expected, and what was there instead."""
    async with answering_in_memory(session(user={"userTenants": 1})) as service:
        (drift,) = (await service.finish()).drift
    assert (drift.path, drift.expected, drift.found) == ("user.userTenants", "array", "integer")


def test_objects_that_differ_have_hashes_that_differ() -> None:
    """Or a set of them would be as slow as a list."""
    assert len({hash(FrozenDict({"a": number})) for number in range(50)}) > 40
    assert hash(FrozenDict({"a": 1, "b": 2})) == hash(FrozenDict({"b": 2, "a": 1}))


async def test_the_time_of_a_call_is_logged_in_milliseconds(caplog: pytest.LogCaptureFixture) -> None:
    """In seconds, with three places after the point at most."""

    async def answer(_: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0.0203)
        return HttpResponse(200, (), as_json({"sessionJwt": "s.e.s"}))

    caplog.set_level(logging.INFO)
    await NativeOAuthFinisher(PROJECT, InMemoryTransport(answer)).finish(
        provider="google", state_id="s", id_token="t"
    )
    (record,) = caplog.records
    elapsed = vars(record)["descope_elapsed"]
    assert 0.02 <= elapsed < 5
    assert elapsed == round(elapsed, 3)
    assert f"elapsed={elapsed} " in record.getMessage()


def test_the_longest_time_is_the_largest_float() -> None:
    """More is refused: it could not be added to any clock."""
    longest = sys.float_info.max
    transport = InMemoryTransport(lambda _: HttpResponse(200))
    NativeOAuthFinisher(PROJECT, transport, timeout=longest)
    with pytest.raises(InvalidRequestError):
        NativeOAuthFinisher(PROJECT, transport, timeout=2 * int(longest))
