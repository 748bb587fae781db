"""Errors, retries and cookies at the edges that no other test stands on."""

import math
import random
import time
from collections.abc import Callable

import attrs
import pytest

from descope_native import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    FinishResult,
    InvalidRequestError,
    RateLimitedError,
    RejectedError,
    RequestTimeout,
    ResponseError,
    Retry,
    ServerError,
    TLSError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)
from descope_native.cookies import Cookie, make_cookies

SAID = ("ray", "E061301", "described", "told")
MADE: list[tuple[Callable[[], DescopeNativeError], tuple[object, ...], dict[str, object]]] = [
    (lambda: InvalidRequestError("x"), ("x",), {"problem": "x"}),
    (lambda: TransportError("wait", "x"), ("wait", "x"), {"phase": "wait", "problem": "x"}),
    (lambda: ConnectionLost("read", "x"), ("read", "x"), {"phase": "read", "problem": "x"}),
    (lambda: TransportClosed("pool", "x"), ("pool", "x"), {"phase": "pool", "problem": "x"}),
    (
        lambda: ConnectError("dns", "x"),
        ("dns", "x", True),
        {"phase": "connect", "problem": "x", "reason": "dns", "safe_to_retry": True},
    ),
    (
        lambda: ConnectError("proxy", "x", safe_to_retry=False),
        ("proxy", "x", False),
        {"phase": "connect", "problem": "x", "reason": "proxy", "safe_to_retry": False},
    ),
    (
        lambda: TLSError("x"),
        ("x",),
        {"phase": "connect", "problem": "x", "reason": "tls", "safe_to_retry": False},
    ),
    (
        lambda: RequestTimeout("wait", 1.5),
        ("wait", 1.5),
        {"phase": "wait", "problem": "no answer within 1.5 s", "seconds": 1.5, "safe_to_retry": False},
    ),
    *(
        (
            lambda kind=kind: kind(400, *SAID),
            (400, *SAID),
            dict(zip(("status", "trace_id", "code", "description", "message"), (400, *SAID), strict=True)),
        )
        for kind in (ResponseError, RejectedError, ServerError)
    ),
    (
        lambda: RateLimitedError(429, *SAID, retry_after=2.5),
        (429, *SAID, 2.5),
        {"status": 429, "trace_id": "ray", "message": "told", "retry_after": 2.5},
    ),
    (
        lambda: UnexpectedResponse(302, "x", "ray"),
        (302, "x", "ray"),
        {"status": 302, "problem": "x", "trace_id": "ray", "code": None, "description": None},
    ),
]


@pytest.mark.parametrize(("make", "args", "facts"), MADE, ids=range(len(MADE)))
def test_an_error_holds_what_it_was_made_of(
    make: Callable[[], DescopeNativeError], args: tuple[object, ...], facts: dict[str, object]
) -> None:
    """As attributes and as ``args``, from which alone it can be made again."""
    error = make()
    assert error.args == args
    assert {name: getattr(error, name) for name in facts} == facts
    again = type(error)(*error.args)
    assert (vars(again), str(again), repr(again)) == (vars(error), str(error), repr(error))
    assert all(type(getattr(error, name)) is type(fact) for name, fact in facts.items())


RESERVED = ["comment", "domain", "expires", "httponly", "max-age"]
RESERVED += ["partitioned", "path", "samesite", "secure", "version"]
PLAIN = FinishResult(session_jwt="s", refresh_jwt="r")


@pytest.mark.parametrize("name", RESERVED)
@pytest.mark.parametrize("spelled", [str.lower, str.upper, str.title])
def test_the_name_of_an_attribute_is_no_name_of_a_cookie(name: str, spelled: Callable[[str], str]) -> None:
    """In any case; what ``http.cookies`` refuses would be lost with every framework built on it."""
    (cookie, _) = make_cookies(attrs.evolve(PLAIN, session_cookie_name=spelled(name)))
    assert cookie.name == "DS"


@pytest.mark.parametrize(
    ("domain", "host", "expected"),
    [
        (".A.Example", None, "a.example"),
        ("..a.example", None, None),
        ("a.example.", None, None),
        ("", "a.example", None),
        ("a.example", "A.EXAMPLE:8443", "a.example"),
        ("a.example", "b.a.example", "a.example"),
        ("a.example", "ba.example", None),
    ],
)
def test_a_domain_is_held_to_the_host(domain: str, host: str | None, expected: str | None) -> None:
    """Without the dot that old servers put before it, in small letters, and only if it covers the host."""
    (cookie, _) = make_cookies(attrs.evolve(PLAIN, session_cookie_domain=domain), host=host)
    assert cookie.domain == expected


@pytest.mark.parametrize(
    ("age", "expected"), [(-1, None), (0, None), (1, 1), (34_559_999, 34_559_999), (34_560_001, 34_560_000)]
)
def test_an_age_is_kept_from_one_second_on(age: int, expected: int | None) -> None:
    """One second is an age; none is the end of the cookie, which no sign-in means."""
    assert make_cookies(attrs.evolve(PLAIN, cookie_max_age=age))[1].max_age == expected


def test_a_session_that_ends_now_has_no_age() -> None:
    """The cookie then goes with the browser, and not at once."""
    now = int(time.time())
    assert make_cookies(attrs.evolve(PLAIN, session_expiration=now))[0].max_age is None


@pytest.mark.parametrize(("share", "attempts"), [(0.9 + 1e-9, 1), (0.9 - 1e-9, 2)])
async def test_a_wait_leaves_a_tenth_of_the_deadline_or_is_not_begun(share: float, attempts: int) -> None:
    """An attempt with next to no time left loses a good code; with a tenth of it left it may do."""
    now = 0.0
    made = 0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def fail() -> None:
        nonlocal made
        made += 1
        raise ConnectError("refused", "x")

    retry = Retry(attempts=2, sleep=sleep, clock=lambda: now)
    before = random.getstate()
    try:
        random.seed(5)
        with pytest.raises(ConnectError):
            await retry.run(fail, 1e9)
        wait = now
        random.seed(5)
        now, made = 0.0, 0
        with pytest.raises(ConnectError):
            await retry.run(fail, wait / share)
    finally:
        random.setstate(before)
    assert wait > 0
    assert made == attempts


def test_a_longest_wait_without_an_end_is_refused() -> None:
    """It would outlive every deadline."""
    with pytest.raises(InvalidRequestError):
        Retry(maximum=math.inf)


def test_a_retry_is_three_attempts_in_seconds_unless_told() -> None:
    """As documented: waits of at most 0.2 seconds first and 5 at last, all of it given by keyword only."""
    retry = Retry()
    assert (retry.attempts, retry.initial, retry.maximum) == (3, 0.2, 5.0)
    with pytest.raises(TypeError):
        Retry(3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Cookie("DS", "s", None, "/", None, True, True, "lax")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        make_cookies(PLAIN, "a.example")  # type: ignore[call-arg]
    assert make_cookies(result=PLAIN) == make_cookies(PLAIN)
