"""Tests freeze clocks and the clocks of machines are wrong: neither costs a sign-in."""

import asyncio
import base64
import contextlib
import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any

import freezegun
import pytest
import time_machine
from kit.support import GOOGLE, PROJECT, STATE, Answer, answering_in_memory, as_json

from descope_native import (
    FinishResult,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    NativeOAuthFinisher,
    RateLimitedError,
    RequestTimeout,
    Retry,
)
from descope_native.cookies import make_cookies
from descope_native.testing import FakeDescope

SESSION = HttpResponse(200, (), b'{"sessionJwt": "s.e.s"}')
FROZEN: dict[str, Callable[[str], AbstractContextManager[Any]]] = {
    "freezegun": freezegun.freeze_time,
    "freezegun tick": lambda moment: freezegun.freeze_time(moment, tick=True),
    "freezegun real_asyncio": lambda moment: freezegun.freeze_time(moment, real_asyncio=True),
    "time-machine": lambda moment: time_machine.travel(moment, tick=False),
    "time-machine tick": lambda moment: time_machine.travel(moment, tick=True),
    "none": lambda _: contextlib.nullcontext(),
}


@pytest.mark.parametrize("moment", ["1999-12-31", "2041-05-06"])
@pytest.mark.parametrize("frozen", FROZEN)
async def test_a_call_works_under_a_frozen_clock(
    frozen: str, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the past and in the future, and what it took is what that clock says: seconds, not years."""
    caplog.set_level(logging.INFO, "descope_native")
    with FROZEN[frozen](moment):
        fake = FakeDescope()
        finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake))
        result = await finisher.finish(**fake.sign_in("google").as_arguments())
    assert result.session_jwt
    assert 0 <= vars(caplog.records[-1])["descope_elapsed"] < 10


@pytest.mark.parametrize("frozen", FROZEN)
async def test_a_clock_that_jumps_within_a_call_does_no_harm(frozen: str) -> None:
    """The handler thaws nothing: it freezes a clock for a while, as a mocked service may."""

    async def handle(_: HttpRequest) -> HttpResponse:
        with FROZEN[frozen]("2041-05-06"):
            return SESSION

    finisher = NativeOAuthFinisher(PROJECT, InMemoryTransport(handle))
    assert (await finisher.finish(**GOOGLE)).session_jwt == "s.e.s"


@pytest.mark.parametrize("frozen", FROZEN)
def test_retry_works_under_a_frozen_clock(frozen: str) -> None:
    """Its deadline is of the same clock as the call's."""
    waits: list[float] = []
    answers = [HttpResponse(429, (("Retry-After", "2"),)), SESSION]

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def call() -> FinishResult:
        transport = InMemoryTransport(lambda _: answers.pop(0))
        return await NativeOAuthFinisher(PROJECT, transport, retry=Retry(sleep=sleep)).finish(**GOOGLE)

    with FROZEN[frozen]("2041-05-06"):
        assert asyncio.run(call()).session_jwt == "s.e.s"
    assert [wait >= 2 for wait in waits] == [True]


async def test_what_a_call_took_is_what_its_event_loop_says(caplog: pytest.LogCaptureFixture) -> None:
    """One clock for the deadline and for the log."""
    caplog.set_level(logging.INFO, "descope_native")

    async def handle(_: HttpRequest) -> HttpResponse:
        await asyncio.Event().wait()
        return SESSION

    loop = asyncio.get_running_loop()
    finisher = NativeOAuthFinisher(PROJECT, InMemoryTransport(handle), timeout=0.05)
    before = loop.time()
    with pytest.raises(RequestTimeout):
        await finisher.finish(**GOOGLE)
    assert 0.04 < vars(caplog.records[-1])["descope_elapsed"] <= loop.time() - before + 0.001


# --- what the service says of time is judged by its own clock


def jwt(name: str, **claims: object) -> str:
    parts = [as_json({"alg": "none"}), json.dumps(claims).encode(), name.encode()]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


async def finish(*headers: tuple[str, str], **body: object) -> FinishResult:
    async with answering_in_memory(Answer(200, headers, as_json(body))) as service:
        result: FinishResult = await service.finish()
        return result


OFF = [-86_400.0, -660.0, 0.0, 660.0, 86_400.0]


@pytest.mark.parametrize("ahead", OFF)
@pytest.mark.parametrize("told", ["by Date", "by the token"])
async def test_a_session_that_was_just_issued_is_not_over(ahead: float, told: str) -> None:
    """Whatever our clock says; and one that is over by the service's own is, whatever our clock says."""
    theirs = time.time() - ahead
    date = [("Date", formatdate(theirs, usegmt=True))] if told == "by Date" else []
    good = jwt("good", iat=int(theirs), exp=int(theirs) + 600)
    over = jwt("over", iat=int(theirs) + 1, exp=int(theirs) + 600)
    result = await finish(
        *date,
        ("Set-Cookie", f"DS={good}; Expires={formatdate(theirs + 600, usegmt=True)}"),
        ("Set-Cookie", f"DS={over}; Expires={formatdate(theirs - 60, usegmt=True)}"),
    )
    assert result.session_jwt == good


@pytest.mark.parametrize(
    "form", ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"], ids=["RFC 850", "asctime"]
)
async def test_an_obsolete_form_of_date_counts_as_well(form: str) -> None:
    """RFC 9110 §5.6.7 has recipients take all three."""
    theirs = datetime.now(UTC) - timedelta(minutes=11)
    date = ("Date", theirs.strftime(form))
    end = formatdate(theirs.timestamp() + 600, usegmt=True)
    result = await finish(date, ("Set-Cookie", f"DS=plain; Expires={end}"))
    assert result.session_jwt == "plain"


@pytest.mark.parametrize("date", ["", "now", "Sun, 99 Nov 1994 08:49:37 GMT", "x" * 5000])
async def test_a_date_that_is_none_is_not_used(date: str) -> None:
    """Then our own clock has to do."""
    end = formatdate(time.time() + 600, usegmt=True)
    result = await finish(("Date", date), ("Set-Cookie", f"DS=plain; Expires={end}"))
    assert result.session_jwt == "plain"


@pytest.mark.parametrize("ahead", OFF)
async def test_a_rate_limit_that_is_a_date_is_waited_for(ahead: float) -> None:
    """It counts from the answer's own Date."""
    theirs = time.time() - ahead
    headers = [
        ("Date", formatdate(theirs, usegmt=True)),
        ("Retry-After", formatdate(theirs + 90, usegmt=True)),
    ]
    async with answering_in_memory(Answer(429, headers)) as service:
        with pytest.raises(RateLimitedError) as caught:
            await service.finish()
    assert caught.value.retry_after == 90.0


@pytest.mark.parametrize("ahead", OFF)
def test_a_cookie_lives_as_long_as_it_was_meant_to(ahead: float) -> None:
    """The answer's ends are counted from when its tokens were issued, by the clock that wrote both."""
    theirs = int(time.time() - ahead)
    session, refresh = jwt("s", iat=theirs, exp=theirs + 600), jwt("r", iat=theirs, exp=theirs + 7200)
    by_token = make_cookies(FinishResult(session_jwt=session, refresh_jwt=refresh))
    assert [cookie.max_age for cookie in by_token] == [600, 7200]
    told = FinishResult(
        session_jwt=session,
        refresh_jwt=refresh,
        session_expiration=theirs + 300,
        cookie_expiration=theirs + 3600,
    )
    assert [cookie.max_age for cookie in make_cookies(told)] == [300, 3600]


# --- of several cookies of one name, the newest

OLD, NEW, LONGER = jwt("a", iat=1000, exp=9000), jwt("b", iat=2000, exp=3000), jwt("c", iat=2000, exp=4000)


@pytest.mark.parametrize(
    ("tokens", "newest"),
    [
        ([OLD, NEW], NEW),
        ([NEW, OLD], NEW),
        ([LONGER, NEW, OLD], LONGER),
        ([NEW, LONGER], LONGER),
        ([jwt("x", iat=5), jwt("y", iat=5)], jwt("y", iat=5)),
        ([jwt("x", exp=6), jwt("y", exp=5)], jwt("x", exp=6)),
        ([jwt("x", iat="5"), jwt("y", iat=True), jwt("z", iat=float("nan"))], jwt("z", iat=float("nan"))),
        ([jwt("x", iat=-5), jwt("y", iat=1e300)], jwt("y", iat=1e300)),
        ([jwt("x", iat=5.5), jwt("y", iat=4)], jwt("x", iat=5.5)),
        (["plain", "other"], "other"),
        (["a.W10.c", "a.bm8.c"], "a.bm8.c"),
        (["a.W10.c", "a.!.c", "a..c"], "a..c"),
        ([NEW, "two words"], NEW),
    ],
)
async def test_the_newest_of_several_cookies_is_taken(tokens: list[str], newest: str) -> None:
    """By their own claims where they are JWTs, else the last; claims that are no times are none."""
    result = await finish(*(("Set-Cookie", f"DS={token}; Path=/{at}") for at, token in enumerate(tokens)))
    assert result.session_jwt == newest


async def test_claims_that_nest_deep_are_none() -> None:
    """A token may hold 16 KiB of brackets."""
    deep = base64.urlsafe_b64encode(b"[" * 12_000).decode()
    result = await finish(("Set-Cookie", f"DS=a.{deep}.c"), ("Set-Cookie", f"DS={NEW}"))
    assert result.session_jwt == NEW


# --- the device tokens


async def test_device_tokens_go_out_as_headers_and_come_back() -> None:
    """In the body or as cookies; never in the request's body, and not as headers where there are none."""
    cookies = [("Set-Cookie", "DTD=trusted.c"), ("Set-Cookie", "DKD=known.c")]
    body = as_json({"sessionJwt": "s.e.s", "knownDeviceJwt": "known.b"})
    async with answering_in_memory(Answer(200, cookies, body)) as service:
        result = await service.finish(**GOOGLE, known_device_jwt="known.a", trusted_device_jwt="trusted.a")
        await service.finish(**GOOGLE, known_device_jwt="", trusted_device_jwt=None)
    assert (result.known_device_jwt, result.trusted_device_jwt) == ("known.b", "trusted.c")
    first, second = service.received
    assert first.header("x-descope-known-device-token") == ["known.a"]
    assert first.header("x-descope-trusted-device-token") == ["trusted.a"]
    assert first.body == second.body
    assert json.loads(first.body).keys() == {"provider", "stateId", "idToken"}
    assert json.loads(first.body)["stateId"] == STATE
    assert not [name for name, _ in second.headers if "device" in name]
