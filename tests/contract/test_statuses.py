"""What an answer that is no 200 becomes, over both transports: rows 16 to 20 of the failure table."""

import re
import string
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from kit.support import Answer, Answering, answering_in_memory, as_json, session

from descope_native import (
    Outcome,
    ProjectRejectedError,
    RateLimitedError,
    RejectedError,
    ResponseError,
    ServerError,
    UnexpectedResponse,
)

SPENT = {
    "errorCode": "E061301",
    "errorDescription": "Failed to exchange code",
    "errorMessage": "The code was used before",
}
BODIES = {
    "error JSON": as_json(SPENT),
    "empty": b"",
    "HTML": b"<html><body>Bad Gateway</body></html>",
    "text": b"no",
    "array": b"[]",
    "null": b"null",
    "binary": b"\x00\xff\xfe",
    "truncated": as_json(SPENT)[:-5],
    "deep": b"[" * 100_000,
    "a session": session().body,
}

NO_RETRY = (
    400,
    401,
    402,
    403,
    404,
    405,
    406,
    407,
    409,
    410,
    411,
    412,
    413,
    414,
    415,
    418,
    422,
    423,
    424,
    426,
    428,
    430,
    431,
)
REJECTED = [*((status, False) for status in (*NO_RETRY, 451, 498)), (421, True), (425, True)]
MAYBE_DONE = [408, 499, 500, 501, 502, 503, 504, 505, 511, 520, 521, 522, 523, 524, 525, 526, 530, 598, 599]


async def refused(answering: Answering, answer: Answer) -> ResponseError:
    """The error that this answer becomes, after exactly one request."""
    async with answering(answer) as service:
        with pytest.raises(ResponseError) as caught:
            await service.finish()
    assert len(service.received) == 1
    return caught.value


@pytest.mark.parametrize(("status", "safe_to_retry"), REJECTED)
async def test_a_4xx_is_the_services_no(answering: Answering, status: int, safe_to_retry: bool) -> None:
    """Only 421 and 425 say that nobody looked at the request; whatever the body, the status decides."""
    for body in BODIES.values():
        error = await refused(answering, Answer(status, body=body))
        assert type(error) is RejectedError
        assert error.status == status
        assert error.outcome is Outcome.REJECTED
        assert error.safe_to_retry is safe_to_retry


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_429_is_a_rate_limit(answering: Answering, body: bytes) -> None:
    """Whatever the body: really it is empty. The code was not looked at, so it may go out again."""
    error = await refused(answering, Answer(429, body=body))
    assert type(error) is RateLimitedError
    assert error.status == 429
    assert error.outcome is Outcome.REJECTED
    assert error.safe_to_retry
    assert error.retry_after is None


@pytest.mark.parametrize("status", MAYBE_DONE)
async def test_a_5xx_408_or_499_proves_nothing(answering: Answering, status: int) -> None:
    """The origin may have taken the code behind any gateway's error, so it must not go out again."""
    for body in BODIES.values():
        error = await refused(answering, Answer(status, body=body))
        assert type(error) is ServerError
        assert error.status == status
        assert error.outcome is Outcome.UNKNOWN
        assert not error.safe_to_retry


@pytest.mark.parametrize("status", [101, 300, 301, 302, 303, 304, 305, 307, 308, 399, 600, 999])
async def test_any_other_status_is_unexpected(answering: Answering, status: int) -> None:
    """Not a success, even with a session in it, and nothing is known of the code."""
    body = b"" if status in {101, 304} else session().body
    error = await refused(answering, Answer(status, [("cf-ray", "ray-1")], body=body))
    assert type(error) is UnexpectedResponse
    assert error.status == status
    assert error.outcome is Outcome.UNKNOWN
    assert not error.safe_to_retry
    assert error.trace_id == "ray-1"
    if 300 <= status < 400:
        assert error.problem == "the service redirected to nowhere; not followed"
    else:
        assert error.problem == f"the service answered {status}, which means nothing here"


@pytest.mark.parametrize("status", [201, 202, 204, 205, 206, 226, 299])
async def test_another_2xx_without_a_session_is_unexpected(answering: Answering, status: int) -> None:
    """204 has no body by definition, the others have none that helps."""
    error = await refused(answering, Answer(status))
    assert type(error) is UnexpectedResponse
    assert error.status == status
    assert error.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("https://login.example/somewhere?code=secret#fragment", "https://login.example"),
        ("https://user:password@login.example:8443/x", "https://login.example:8443"),
        ("http://LOGIN.example", "http://login.example"),
        ("/v2/elsewhere?code=secret", "http://localhost"),
        ("elsewhere", "http://localhost"),
        ("//other.example/secret", "http://other.example"),
        ("https://[::1", "no web address"),
        ("https://login.example:99999/", "no web address"),
        ("mailto:somewhere@secret.example", "no web address"),
        ("", "nowhere"),
        (None, "nowhere"),
    ],
)
@pytest.mark.parametrize("status", [302, 307])
async def test_a_redirect_is_not_followed_and_names_the_origin_only(
    answering: Answering, status: int, location: str | None, named: str
) -> None:
    """Following would hand the code to somebody else; path, query and user name are nobody's business."""
    headers = [] if location is None else [("Location", location)]
    error = await refused(answering, Answer(status, headers))
    assert type(error) is UnexpectedResponse
    own_port = r"(:\d+)?" if named == "http://localhost" else ""
    assert re.search(f"redirected to {re.escape(named)}{own_port}; not followed", str(error))
    for secret in ("secret", "password", "somewhere", "elsewhere"):
        assert secret not in repr(error)


async def test_a_location_is_looked_at_for_2048_characters() -> None:
    """No server's header makes us parse without an end."""
    location = ("https://" + "u" * 2038 + "@b").ljust(2048) + "c.example/"
    error = await refused(answering_in_memory, Answer(302, [("Location", location)]))
    assert "redirected to https://b;" in str(error)


async def test_no_status_below_200_is_a_success() -> None:
    """Whatever it brings; over a network it would only announce an answer."""
    error = await refused(answering_in_memory, Answer(199, body=session().body))
    assert (type(error), error.status) == (UnexpectedResponse, 199)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (SPENT, ("E061301", "Failed to exchange code", "The code was used before")),
        ({"errorCode": "E061301"}, ("E061301", None, None)),
        ({"errorDescription": "Only this"}, (None, "Only this", None)),
        ({"errorMessage": "Only that"}, (None, None, "Only that")),
        (dict.fromkeys(SPENT, ""), (None, None, None)),
        (dict.fromkeys(SPENT), (None, None, None)),
        (dict.fromkeys(SPENT, 5), (None, None, None)),
        ({"errorCode": ["E061301"], "errorMessage": {}}, (None, None, None)),
        ({"errorCode": "E06130"}, (None, None, None)),
        ({"errorCode": "E0613011"}, (None, None, None)),
        ({"errorCode": "e061301"}, (None, None, None)),
        ({"errorCode": "E061301\n"}, (None, None, None)),
        ({"errorCode": "E\u0660\u0660\u0660\u0660\u0660\u0660"}, (None, None, None)),
        ({"errorCode": "X061301", "errorMessage": "kept"}, (None, None, "kept")),
        ({"errorMessage": "ünï 日本 stays"}, (None, None, "ünï 日本 stays")),
        ({"errorMessage": "a\nb\x00\x1b[31mc\u202e\u2028\ud800"}, (None, None, "a b  [31mc")),
        ({"errorMessage": " \n "}, (None, None, None)),
        ({"errorMessage": "long words " * 100}, (None, None, ("long words " * 100)[:300])),
        ({"new": {}, **SPENT}, ("E061301", "Failed to exchange code", "The code was used before")),
    ],
)
@pytest.mark.parametrize("status", [401, 429, 503])
async def test_the_error_json_is_quoted_where_it_is_as_documented(
    answering: Answering, status: int, said: dict[str, Any], expected: tuple[str | None, ...]
) -> None:
    """Each text may be missing, empty, null or nonsense; what cannot be printed or is too long goes."""
    error = await refused(answering, Answer(status, body=as_json(said)))
    assert (error.code, error.description, error.message) == expected
    for text in expected:
        assert text is None or text in str(error)


@pytest.mark.parametrize(
    ("ray", "trace_id"),
    [
        ("8f1e2d3c4b5a6978-FRA", "8f1e2d3c4b5a6978-FRA"),
        ("x" * 64, "x" * 64),
        ("x" * 65, None),
        ("two words", None),
        ("", None),
        ("ray;drop", None),
    ],
)
@pytest.mark.parametrize("status", [200, 302, 401, 429, 503])
async def test_the_trace_id_is_what_support_asks_for(
    answering: Answering, status: int, ray: str, trace_id: str | None
) -> None:
    """Every error of an answer has its `cf-ray`, in any case of the name, where it looks like one."""
    error = await refused(answering, Answer(status, [("CF-RAY", ray)], b"{}"))
    assert error.trace_id == trace_id


async def test_a_trace_id_is_made_of_these_characters() -> None:
    """Letters, digits and hyphens: it is shown and logged as it came."""
    characters = [chr(number) for number in range(0x180)]
    errors = {
        char: await refused(answering_in_memory, Answer(400, [("cf-ray", "8f" + char)]))
        for char in characters
    }
    assert {char for char in characters if errors[char].trace_id} == {
        *string.ascii_letters,
        *string.digits,
        "-",
    }


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["10"], 10),
        (["0"], 0),
        ([" 10\t "], 10),
        (["007"], 7),
        (["3600"], 3600),
        (["3601"], 3600),
        (["9" * 64], 3600),
        (["9" * 65], None),
        (["9" * 5000], None),
        (["-1"], None),
        (["+1"], None),
        (["1.5"], 2),
        (["0.001"], 1),
        (["7."], 7),
        (["3599.5"], 3600),
        ([".5"], None),
        (["-0.5"], None),
        (["1.5.5"], None),
        (["1e3"], None),
        (["0x10"], None),
        (["ten"], None),
        ([""], None),
        ([], None),
        (["10, 20"], None),
        (["10", "20"], 20),
        (["20", "10", "0"], 20),
        (["10", "10"], 10),
        (["10", "soon"], None),
        (["10", "Sun, 06 Nov 1994 08:49:37 GMT"], 10),
        (["Sun, 06 Nov 1994 08:49:37 GMT"], 0),
        (["Fri, 31 Dec 2199 23:59:59 GMT"], 3600),
        (["Sunday, 06-Nov-94 08:49:37 GMT"], None),
        (["Sun Nov  6 08:49:37 1994"], None),
        (["Sun, 06 Nov 1994 08:49:37 +0000"], None),
        (["Wed, 31 Feb 2199 00:00:00 GMT"], None),
        (["Wed, 01 Jan 2199 25:61:61 GMT"], None),
        (["Sat, 01 Jan 0050 00:00:00 GMT"], None),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_retry_after_is_seconds_or_a_date_and_else_unknown(
    answering: Answering, values: list[str], expected: float | None
) -> None:
    """A number or a date, 0 to 3600 whole seconds, the longest of several; doubt gives None."""
    error = await refused(answering, Answer(429, [("Retry-After", value) for value in values]))
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == expected
    assert error.retry_after is None or type(error.retry_after) is float


async def wait_of(value: str, now: str) -> float | None:
    """The seconds that a rate limit asks for, at this time by its own clock."""
    error = await refused(answering_in_memory, Answer(429, [("Retry-After", value), ("Date", now)]))
    assert isinstance(error, RateLimitedError)
    return error.retry_after


@pytest.mark.parametrize(
    ("now", "seconds"),
    [("08:49:07", 30), ("08:49:37", 0), ("08:50:07", 0), ("07:49:38", 3599), ("07:49:36", 3600)],
)
async def test_a_date_is_counted_from_now(now: str, seconds: float) -> None:
    """To the second, between 0 and an hour."""
    day = "Sun, 06 Nov 1994"
    assert await wait_of(f"{day} 08:49:37 GMT", f"{day} {now} GMT") == seconds


async def test_retry_after_may_be_any_date_of_http() -> None:
    """Whatever its day of the week and its month (RFC 9110 §5.6.7)."""
    for day in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"):
        assert await wait_of(f"{day}, 02 Jan 1971 00:00:07 GMT", "Fri, 02 Jan 1971 00:00:00 GMT") == 7
    for month in ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"):
        assert await wait_of(f"Thu, 01 {month} 1971 00:00:07 GMT", f"Thu, 01 {month} 1971 00:00:00 GMT") == 7


@pytest.mark.parametrize(
    "value",
    [
        "10\n",
        "\x0b10",
        "X10",
        "\u0661\u0660",
        "1_0",
        "\u00a07",
        "Thu, 01 Jan 970 00:00:07 GMT",
        "Thu, 01 Jan 19710 00:00:07 GMT",
        "Thu, 1 Jan 1971 00:00:07 GMT",
        "Thu, 001 Jan 1971 00:00:07 GMT",
        "Thu, 01 Jan 1971 0:00:07 GMT",
        "Thu, 01 Jan 1971 00:0:07 GMT",
        "Thu, 01 Jan 1971 00:00:7 GMT",
        "Thu, 01 Jan 1971 00:00:007 GMT",
        "Thu, 01 Jan 1971 00:00 GMT",
        "Thu, 01 Jan 1971 00:00:07 UTC",
        "Thu, 01 Jan 1971 00:00:07",
        "Thu, 01 Jan 1971 00:00:07 GMT+1",
        "Thu 01 Jan 1971 00:00:07 GMT",
        "01 Jan 1971 00:00:07 GMT",
        "thu, 01 Jan 1971 00:00:07 GMT",
        "Thu, 01 jan 1971 00:00:07 GMT",
        "Xxx, 01 Jan 1971 00:00:07 GMT",
        "Thu, \u0660\u0661 Jan 1971 00:00:07 GMT",
        "Thu, 01 Jan 1\u0669\u0667\u0660 00:00:07 GMT",
    ],
)
async def test_what_is_nearly_a_retry_after_is_none(value: str) -> None:
    """What Python would take for a space, a digit or a date is not always one to HTTP."""
    assert await wait_of(value, "Thu, 01 Jan 1971 00:00:00 GMT") is None


async def test_retry_after_may_be_a_date_to_come(answering: Answering) -> None:
    """The seconds are counted from now."""
    error = await refused(answering, Answer(429, [("Retry-After", in_seconds(120))]))
    assert isinstance(error, RateLimitedError)
    assert error.retry_after is not None
    assert 100 < error.retry_after <= 120


@pytest.mark.parametrize("status", [400, 421, 503])
async def test_retry_after_counts_on_429_only(answering: Answering, status: int) -> None:
    """Elsewhere it is no promise that the code may go out again."""
    error = await refused(answering, Answer(status, [("Retry-After", "1")]))
    assert not hasattr(error, "retry_after")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "E111119", ProjectRejectedError),
        (403, "E111119", ProjectRejectedError),
        (400, "E111119", RejectedError),
        (401, "E061301", RejectedError),
        (403, None, RejectedError),
    ],
)
async def test_a_wrong_project_or_key_is_told_apart(
    answering: Answering,
    caplog: pytest.LogCaptureFixture,
    status: int,
    code: str | None,
    kind: type[RejectedError],
) -> None:
    """By the service's code only. In the log it is an ERROR, since no person can mend it."""
    async with answering(Answer(status, body=as_json({"errorCode": code}))) as service:
        with pytest.raises(RejectedError) as caught:
            await service.finish()
    assert type(caught.value) is kind
    assert caught.value.outcome is Outcome.REJECTED
    (record,) = [record for record in caplog.records if record.name == "descope_native"]
    assert record.levelname == ("ERROR" if kind is ProjectRejectedError else "WARNING")
