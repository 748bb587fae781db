"""Cookie mode: the tokens come as Set-Cookie lines, over both transports."""

import time
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from kit.support import Answer, Answering, answering_in_memory, as_json, session

from descope_native import Drift, Outcome, RejectedError, ServerError, UnexpectedResponse

USUAL = "; Path=/; Expires=Wed, 01 Jan 2110 00:00:00 GMT; Max-Age=2419199; HttpOnly; Secure; SameSite=None"


def cookies(*lines: str) -> list[tuple[str, str]]:
    return [("Set-Cookie", line) for line in lines]


def in_cookies(*lines: str, status: int = 200, **body: object) -> Answer:
    return Answer(status, cookies(*lines), as_json(body))


@pytest.mark.parametrize(
    "body",
    [{}, {"sessionJwt": "", "refreshJwt": ""}, {"sessionJwt": None, "refreshJwt": None}],
    ids=["absent", "empty", "null"],
)
async def test_tokens_are_taken_from_the_usual_cookies(answering: Answering, body: dict[str, Any]) -> None:
    """DS is the session and DSR the refresh token; a comma in Expires splits nothing; none of it is drift."""
    answer = in_cookies("DS=se.ss.ion" + USUAL, "DSR=re.fre.sh" + USUAL, **body)
    async with answering(answer, strict=True) as service:
        result = await service.finish()
    assert result.session_jwt == "se.ss.ion"
    assert result.refresh_jwt == "re.fre.sh"


@pytest.mark.parametrize(
    ("body", "session_jwt", "refresh_jwt"),
    [
        ({"sessionCookieName": "MyS", "cookieName": "MyR"}, "my-session", "my-refresh"),
        ({"sessionCookieName": "MyS"}, "my-session", "usual-refresh"),
        ({"cookieName": "MyR"}, "usual-session", "my-refresh"),
        ({"sessionCookieName": "", "cookieName": None}, "usual-session", "usual-refresh"),
        ({"sessionCookieName": "MyS", "cookieName": "Nowhere"}, "my-session", None),
    ],
)
async def test_the_body_names_the_cookies(
    answering: Answering, body: dict[str, Any], session_jwt: str, refresh_jwt: str | None
) -> None:
    """`sessionCookieName` and `cookieName` (of the refresh token) go before DS and DSR."""
    lines = ["DSR=usual-refresh", "MyR=my-refresh", "DS=usual-session", "MyS=my-session"]
    async with answering(in_cookies(*lines, **body)) as service:
        result = await service.finish()
    assert (result.session_jwt, result.refresh_jwt) == (session_jwt, refresh_jwt)


async def test_an_ill_typed_cookie_name_costs_no_session(answering: Answering) -> None:
    """It is drift, and the usual name stands in."""
    async with answering(in_cookies("DS=s", sessionCookieName=["DS"])) as service:
        result = await service.finish()
    assert result.session_jwt == "s"
    assert [drift.path for drift in result.drift] == ["sessionCookieName"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["DS=old", "DS=new"], "new"),
        (["DS=other; Domain=a.example", "DS=mine; Domain=b.example"], "mine"),
        (["DS=good", "DS=; Max-Age=0"], "good"),
        (["DS=good", "DS=gone; Max-Age=0"], "good"),
        (["DS=good", "DS=gone; max-age=-1"], "good"),
        (["DS=good", "DS=gone; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "good"),
        (["DS=good", "DS=gone; expires=Thu, 01-Jan-1970 00:00:01 GMT"], "good"),
        (["DS=gone; Max-Age=0", "DS=good"], "good"),
        (["DS=good; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "good"),
        (["DS=gone; Max-Age=0; Expires=Wed, 01 Jan 2110 00:00:00 GMT", "DS=good"], "good"),
        (["DS=good; Max-Age=soon"], "good"),
        (["DS=good; Max-Age="], "good"),
        (["DS=good; Max-Age"], "good"),
        (["DS=good; Max-Age=" + "9" * 5000], "good"),
        (["DS=good; Expires=tomorrow"], "good"),
        (["DS=good; Expires=Wed, 99 Xxx 9999 99:99:99 GMT"], "good"),
        (["DS=good; Expires="], "good"),
        (["DS=good; Expires=Wed, 01 Jan 2110 00:00:00"], "good"),
        (["DS=good; Domain=login.customer.example; Path=/somewhere; Secure"], "good"),
        (["DS=good; Domain=; SameSite=Weird; Priority=High; ;;"], "good"),
        ([" DS = good "], "good"),
        (['DS="good"'], "good"),
        (["DS=a=b=="], "a=b=="),
        (["DS=good", "DS=two words"], "good"),
        (["DS=two words", "DS=good", "DS=com,ma"], "good"),
        (["ds=lower", "DS=good", "DSX=longer"], "good"),
        (["DS", "=DS", "", "; DS=hidden", "DS=good"], "good"),
        (["x=1, DS=joined", "DS=good"], "good"),
    ],
)
async def test_the_newest_unexpired_cookie_of_a_name_wins(
    answering: Answering, lines: list[str], expected: str
) -> None:
    """Read from the raw lines: a jar would drop another domain's; what cannot be understood is ignored."""
    async with answering(in_cookies(*lines)) as service:
        assert (await service.finish()).session_jwt == expected


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["DSR=only-refresh"],
        ["DS="],
        ['DS=""'],
        ["DS=gone; Max-Age=0"],
        ["DS=gone; Expires=Thu, 01 Jan 1970 00:00:00 GMT"],
        ["DS=two words"],
        ['DS=quo"te'],
        ["DS=com,ma"],
        ["DS=back\\slash"],
        ["x=1, DS=joined"],
    ],
    ids=str,
)
async def test_no_usable_session_cookie_is_no_result(answering: Answering, lines: list[str]) -> None:
    """A cookie's value is held to the same octets and size as a token in the body."""
    async with answering(in_cookies(*lines)) as service:
        with pytest.raises(UnexpectedResponse, match="no session"):
            await service.finish()


async def test_a_value_in_the_body_wins(answering: Answering) -> None:
    """Five of the six official SDKs have it so."""
    headers = cookies("DS=cookie-session", "DSR=cookie-refresh")
    body = as_json({"sessionJwt": "body-session", "refreshJwt": "body-refresh"})
    async with answering(Answer(200, headers, body)) as service:
        result = await service.finish()
    assert (result.session_jwt, result.refresh_jwt) == ("body-session", "body-refresh")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (False, "boolean"),
        (0, "integer"),
        (5, "integer"),
        (1.5, "number"),
        ([], "array"),
        (["a"], "array"),
        ({}, "object"),
        ("bad token", "string"),
        (" ", "string"),
    ],
)
async def test_a_cookie_stands_in_for_what_is_no_token(
    answering: Answering, value: object, found: str
) -> None:
    """A session is not lost to what stands in its place in the body; that is drift."""
    answer = in_cookies("DS=s", "DSR=r", sessionJwt=value, refreshJwt=value)
    async with answering(answer, attrs.evolve(answer, status=201)) as service:
        result, odder = await service.finish(), await service.finish()
    assert (result.session_jwt, result.refresh_jwt) == ("s", "r")
    assert result.drift == (Drift("sessionJwt", "token", found), Drift("refreshJwt", "token", found))
    assert odder.drift == (*result.drift, Drift("status", "200", "201"))


async def test_each_token_is_looked_for_by_itself(answering: Answering) -> None:
    """A project may keep only one of the two in cookies."""
    mixed = in_cookies("DS=cookie-session", "DSR=cookie-refresh", sessionJwt="body-session")
    other = in_cookies("DS=cookie-session", "DSR=cookie-refresh", refreshJwt="body-refresh")
    async with answering(mixed, other, strict=True) as service:
        first, second = await service.finish(), await service.finish()
    assert (first.session_jwt, first.refresh_jwt) == ("body-session", "cookie-refresh")
    assert (second.session_jwt, second.refresh_jwt) == ("cookie-session", "body-refresh")


async def test_an_unusable_refresh_cookie_is_drift(answering: Answering) -> None:
    """It must not get into a header, and it is no reason to lose the session."""
    async with answering(in_cookies("DS=good", "DSR=not good")) as service:
        result = await service.finish()
    assert result.session_jwt == "good"
    assert result.refresh_jwt is None
    assert [(drift.path, drift.expected) for drift in result.drift] == [("refreshJwt", "token")]


@pytest.mark.parametrize("name", ["set-cookie", "SET-COOKIE", "Set-Cookie"])
async def test_the_header_is_found_in_any_case(answering: Answering, name: str) -> None:
    """HTTP's names have no case, and proxies use that."""
    async with answering(Answer(200, [(name, "DS=s")], b"{}")) as service:
        assert (await service.finish()).session_jwt == "s"


@pytest.mark.parametrize(
    ("status", "error"),
    [(302, UnexpectedResponse), (400, RejectedError), (401, RejectedError), (500, ServerError)],
)
async def test_cookies_of_an_answer_that_is_no_2xx_are_ignored(
    answering: Answering, status: int, error: type[Exception]
) -> None:
    """A session beside a refusal is none."""
    async with answering(in_cookies("DS=s", "DSR=r", status=status)) as service:
        with pytest.raises(error):
            await service.finish()


async def test_cookies_do_not_mend_a_body_that_is_no_json(answering: Answering) -> None:
    """Without the body nobody knows the cookies' names, nor what the service was about to say."""
    async with answering(Answer(200, cookies("DS=s", "DSR=r"), b"")) as service:
        with pytest.raises(UnexpectedResponse, match="not JSON") as caught:
            await service.finish()
    assert caught.value.outcome is Outcome.UNKNOWN


async def test_one_answers_cookies_do_not_reach_the_next(answering: Answering) -> None:
    """Nothing is remembered between two people's calls."""
    async with answering(in_cookies("DS=alice", "DSR=alice"), in_cookies("DS=bob"), session()) as service:
        alice, bob = await service.finish(), await service.finish()
    assert (alice.session_jwt, alice.refresh_jwt) == ("alice", "alice")
    assert (bob.session_jwt, bob.refresh_jwt) == ("bob", None)


async def session_in(line: str, now: str = "Thu, 01 Jan 1970 01:00:00 GMT") -> str | None:
    """The session in this line, at this time by the answer's own clock."""
    answer = Answer(200, [("Date", now), ("Set-Cookie", line)], b"{}")
    async with answering_in_memory(answer) as service:
        try:
            result = await service.finish()
        except UnexpectedResponse:
            return None
    assert isinstance(result.session_jwt, str)
    return result.session_jwt


@pytest.fixture
def five_hours_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process whose local time is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "EST5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("five_hours_behind")
@pytest.mark.parametrize("expires", ["08:49:37 GMT", "08:49:37", "08:49:37 -0000", "09:49:37 +0100"])
async def test_expires_is_a_moment(expires: str) -> None:
    """A cookie is gone at the very second that Expires names, in UTC unless it says otherwise."""
    kept = [
        await session_in(f"DS=x; Expires=Sun, 06 Nov 1994 {expires}", f"Sun, 06 Nov 1994 08:49:{second} GMT")
        for second in (36, 37, 38)
    ]
    assert kept == ["x", None, None]


OVER = "Expires=Thu, 01 Jan 1970 00:00:00 GMT"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('DS="ab"', "ab"),
        ('DS="', None),
        ('DS="a', None),
        ('DS=ab"c', None),
        ("DS=a; Max-Age=1", "a"),
        ("DS=a;Max-Age = 0 ", None),
        ("DS=a; max-age =\t-1;Path=/", None),
        (f"DS=a; Max-Age=; {OVER}", None),
        (f"DS=a; Max-Age=-; {OVER}", None),
        (f"DS=a; Max-Age=--1; {OVER}", None),
        (f"DS=a; Max-Age={'9' * 20}; {OVER}", "a"),
        (f"DS=a; Max-Age={'9' * 21}; {OVER}", None),
        ("DS=a; EXPIRES = Thu, 01 Jan 1970 00:00:00 GMT ", None),
        ("DS=a; Expires==Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("DS=a; Expires=Thu, 01 Jan 10000 00:00:00 GMT", "a"),
        (f"DS=a; Expires=Thu, 01 Jan {'9' * 30} 00:00:00 GMT", "a"),
        # Read for 64 characters: 999 is over, 9999 would not be.
        (f"DS=a; Expires={'Thu, 01 Jan 00:00:00':60} 9999", None),
        (f"DS=a; Expires={'Thu, 01 Jan 00:00:00':59} 9999", "a"),
        ("DS=s\udce9", None),
    ],
)
async def test_a_cookie_line_is_read_like_this(line: str, value: str | None) -> None:
    """The first = splits, quotes go in pairs, and a cookie that may be over is better than no session."""
    assert await session_in(line) == value
