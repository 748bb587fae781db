"""The rules of requests and answers, where a slightly different rule would pass all the other tests."""

import json
import logging
import platform
import string
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import pytest
from kit.support import APPLE, PROJECT, STATE, Answer, answering_in_memory, only, session
from yarl import URL

from descope_native import (
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    RateLimitedError,
    RejectedError,
    ResponseError,
    ServerError,
    UnexpectedResponse,
    __version__,
)
from descope_native._service.json_text import _nests_too_deep
from descope_native._service.set_cookie import read_cookies
from descope_native._service.times import parse_retry_after

JSON_SESSION = '{"sessionJwt": "s.e.s", "refreshJwt": "r.e.f"}'


async def sent(**options: Any) -> HttpRequest:
    """What one call hands to its transport."""

    def answer(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, (), JSON_SESSION.encode())

    transport = InMemoryTransport(answer)
    await NativeOAuthFinisher(PROJECT, transport, **options).finish(**APPLE)
    await transport.close()
    request = only(transport.requests)
    assert isinstance(request, HttpRequest)
    return request


@pytest.mark.parametrize(("key", "bearer"), [(None, PROJECT), ("K3y", f"{PROJECT}:K3y")])
async def test_the_headers_are_these_and_no_others(key: str | None, bearer: str) -> None:
    """In the usual spelling: header names are the same in any case, but not to whoever reads a log."""
    assert dict((await sent(auth_management_key=key)).headers) == {
        "Authorization": f"Bearer {bearer}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"descope_native/{__version__}",
        "x-descope-sdk-name": "descope_native",
        "x-descope-sdk-version": __version__,
        "x-descope-sdk-python-version": platform.python_version(),
        "x-descope-project-id": PROJECT,
    }


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example"),
        ("https://a.example/X", "https://a.example/X"),
        ("https://a.example/X//", "https://a.example/X"),
        ("https://a.example/a%20b%2Fc/", "https://a.example/a%20b%2Fc"),
        ("https://a.example/@b", "https://a.example/@b"),
        ("https://a.example:8443/p", "https://a.example:8443/p"),
        ("http://localhost:1/p", "http://localhost:1/p"),
        ("http://a.localhost", "http://a.localhost"),
        ("http://127.8.9.1", "http://127.8.9.1"),
        ("http://[::1]:2", "http://[::1]:2"),
    ],
)
async def test_the_path_is_put_after_that_of_the_base(base_url: str, url: str) -> None:
    """Whatever a base has for a path is kept, escapes and all, but for the slashes at its end."""
    assert str((await sent(base_url=base_url)).url) == url + "/v1/auth/oauth/native/finish"


async def test_the_request_is_json_without_a_blank() -> None:
    """A POST with the keys of the wire, in their order, and nothing between them."""
    request = await sent()
    assert request.method == "POST"
    assert (
        request.body
        == json.dumps(
            {"provider": "apple", "stateId": STATE, "code": APPLE["code"]}, separators=(",", ":")
        ).encode()
    )


@pytest.mark.parametrize("text", [" {} ", "\t{}\r\n", "\n\n{}"])
async def test_blanks_of_json_around_an_answer_are_let_in(text: str) -> None:
    """Those four that RFC 8259 §2 names."""
    async with answering_in_memory(Answer(body=text.replace("{}", JSON_SESSION).encode())) as service:
        assert (await service.finish()).session_jwt == "s.e.s"


@pytest.mark.parametrize(
    "text", ["\x0c{}", "{}\x0b", "\u00a0{}", "{}\u2028", "X{}", "{}X", "\x00{}", "{}\x1f"]
)
async def test_no_other_blanks_around_an_answer_are_let_in(text: str) -> None:
    """What Python takes for a blank need not be one of JSON."""
    async with answering_in_memory(Answer(body=text.replace("{}", JSON_SESSION).encode())) as service:
        with pytest.raises(UnexpectedResponse) as caught:
            await service.finish()
    assert caught.value.problem == "the answer is not JSON"


NO_SESSION = "the answer has no session in body or cookies (not as documented: "


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (
            Answer(200, [("Content-Encoding", "gzip")]),
            "the answer has a Content-Encoding that was not asked for",
        ),
        (Answer(200, (), b"["), "the answer is not JSON"),
        (Answer(200, (), b"[]"), "the answer is not a JSON object"),
        *(
            (Answer(200, (), body), "the answer has no session in body or cookies")
            for body in (
                b"{}",
                b'{"sessionJwt": null}',
                b'{"sessionJwt": ""}',
                b'{"refreshJwt": "r.e.f"}',
                b'{"refreshJwt": "r.e.f", "sessionJwt": null}',
                b'{"refreshJwt": "r.e.f", "sessionJwt": ""}',
            )
        ),
        (
            Answer(200, (), b'{"sessionJwt": "bad token"}'),
            NO_SESSION + "sessionJwt: expected token, found string)",
        ),
        (
            Answer(200, [("Set-Cookie", "DS=bad token")], b'{"sessionJwt": 5}'),
            NO_SESSION + "sessionJwt: expected string, found integer)",
        ),
        (
            Answer(200, [("Set-Cookie", "DSR=r")], b'{"refreshJwt": 5}'),
            NO_SESSION + "refreshJwt: expected token, found integer)",
        ),
        (
            Answer(200, (), b'{"sessionJwt": 1, "firstSeen": "yes"}'),
            NO_SESSION + "sessionJwt: expected string, found integer; firstSeen: expected boolean, "
            "found string)",
        ),
        (Answer(302), "the service redirected to nowhere; not followed"),
        (Answer(302, [("Location", "")]), "the service redirected to nowhere; not followed"),
        (
            Answer(302, [("Location", "https://b.example:1/p?q")]),
            "the service redirected to https://b.example:1; not followed",
        ),
        (Answer(302, [("Location", "/p")]), "the service redirected to http://localhost; not followed"),
        (
            Answer(302, [("Location", "mailto:a")]),
            "the service redirected to no web address; not followed",
        ),
        (Answer(600), "the service answered 600, which means nothing here"),
    ],
)
async def test_an_answer_that_is_no_session_is_told_why(answer: Answer, problem: str) -> None:
    """To the word, with the places and the types, and none of the values."""
    async with answering_in_memory(answer) as service:
        with pytest.raises(UnexpectedResponse) as caught:
            await service.finish()
    assert caught.value.problem == problem
    assert caught.value.status == answer.status


async def test_drift_is_told_in_full_up_to_ten_places() -> None:
    """The eleventh and all beyond it are counted, so that no answer makes a text without an end."""
    names = [
        "name",
        "email",
        "phone",
        "status",
        "picture",
        "givenName",
        "middleName",
        "familyName",
        "recoveryEmail",
        "recoveryPhone",
    ]
    user = dict.fromkeys(names, 1)
    told = "not as documented: " + "; ".join(f"user.{name}: expected string, found integer" for name in names)
    for more, end in (
        ({}, ""),
        ({"userId": 1}, "; and 1 more"),
        ({"userId": 1, "test": 1}, "; and 2 more"),
    ):
        async with answering_in_memory(session(user=user | more), strict=True) as service:
            with pytest.raises(UnexpectedResponse) as caught:
                await service.finish()
        assert caught.value.problem == told + end


STATUSES: list[tuple[int, type[ResponseError]]] = [
    (300, UnexpectedResponse),
    (399, UnexpectedResponse),
    (400, RejectedError),
    (407, RejectedError),
    (408, ServerError),
    (409, RejectedError),
    (428, RejectedError),
    (429, RateLimitedError),
    (430, RejectedError),
    (498, RejectedError),
    (499, ServerError),
    (500, ServerError),
    (501, ServerError),
    (599, ServerError),
    (600, UnexpectedResponse),
    (601, UnexpectedResponse),
]
SAID = {"errorCode": "E061301", "errorDescription": "described", "errorMessage": "told"}


@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_a_status_is_told_from_its_neighbours(status: int, kind: type[ResponseError]) -> None:
    """At both ends of each range, with the trace id, and with what the service said of its own errors."""
    answer = Answer(status, [("CF-Ray", "8f1e-FRA"), ("Retry-After", "7")], json.dumps(SAID).encode())
    async with answering_in_memory(answer) as service:
        with pytest.raises(ResponseError) as caught:
            await service.finish()
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.trace_id) == (status, "8f1e-FRA")
    if kind is not UnexpectedResponse:
        assert (error.code, error.description, error.message) == ("E061301", "described", "told")
    if isinstance(error, RateLimitedError):
        assert error.retry_after == 7.0


@pytest.mark.parametrize("status", [200, 201, 299])
async def test_any_2xx_may_carry_a_session(status: int) -> None:
    """Any but 200 is drift, and no reason to lose it."""
    async with answering_in_memory(attrs.evolve(session(), status=status)) as service:
        result = await service.finish()
    assert [(d.path, d.found) for d in result.drift] == ([] if status == 200 else [("status", str(status))])


@pytest.mark.parametrize(
    ("line", "cookies"),
    [
        ("DS=a=b", {"DS": "a=b"}),
        ("DS", {}),
        ('DS="a"', {"DS": "a"}),
        ('DS="ab"', {"DS": "ab"}),
        ('DS=""', {}),
        ('DS="', {"DS": '"'}),
        ('DS="a', {"DS": '"a'}),
        ('DS=a"', {"DS": 'a"'}),
        ('DS=ab"c', {"DS": 'ab"c'}),
        ("DS=a; Max-Age=1", {"DS": "a"}),
        ("DS=a; Max-Age=0", {}),
        ("DS=a; Max-Age=-1", {}),
        ("DS=a; Max-Age=", {"DS": "a"}),
        ("DS=a; Max-Age=; Expires=Thu, 01 Jan 1970 00:00:00 GMT", {}),
        ("DS=a; Expires==Thu, 01 Jan 1970 00:00:00 GMT", {}),
        ("DS=a; Expires=Thu, 01 Jan 1970 00:00:00", {}),
        ("DS=a; Expires=Thu, 01 Jan 1970 01:00:00 +0100", {}),
        ("DS=a; Expires=Thu, 01 Jan 1970 00:00:01 -0100", {"DS": "a"}),
        # Read for 64 characters: 999 is over, 9999 would not be.
        (f"DS=a; Expires={'Thu, 01 Jan 00:00:00':60} 9999", {}),
        (f"DS=a; Expires={'Thu, 01 Jan 00:00:00':59} 9999", {"DS": "a"}),
    ],
)
def test_a_cookie_line_is_read_like_this(line: str, cookies: dict[str, str]) -> None:
    """As of the 3,600th second of 1970: the first = splits, quotes go in pairs, what ends by then is over."""
    assert read_cookies([line], 3600.0) == cookies


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7".zfill(64), 7.0),
        ("7".zfill(65), None),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:03 GMT", 1.0),
    ],
)
def test_retry_after_is_read_like_this(value: str, seconds: float | None) -> None:
    """As of the second second of 1970, and for 64 characters."""
    assert parse_retry_after([value], 2.0) == seconds


async def test_a_location_is_looked_at_for_2048_characters() -> None:
    """No server's header makes us parse without an end."""
    start = "https://" + "u" * 2038 + "@b"
    answer = Answer(302, [("Location", start + "c.example/")])
    async with answering_in_memory(answer) as service:
        with pytest.raises(UnexpectedResponse) as caught:
            await service.finish()
    assert len(start) == 2048
    assert caught.value.problem == "the service redirected to https://b; not followed"


async def described(description: str, **arguments: Any) -> str | None:
    """What an error shows of what the service said."""
    answer = Answer(400, (), json.dumps({"errorDescription": description}).encode())
    async with answering_in_memory(answer) as service:
        with pytest.raises(RejectedError) as caught:
            await service.finish(**(arguments or APPLE))
    assert isinstance(caught.value, RejectedError)
    return caught.value.description


LONG = "kN3vQ8xT1zR5wY7b"
GONE = "[redacted]"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (LONG[:11], LONG[:11]),
        (LONG[:12], GONE),
        (LONG[2:14], GONE),
        (LONG[-12:], GONE),
        (LONG[:12] + "?X", GONE + "?X"),
        (LONG[:12] + "X", GONE),
        ("X" + LONG[-12:], GONE),
        ("X" + LONG[:12] + "X", GONE),
        (f"a {LONG} b {LONG} c", f"a {GONE} b {GONE} c"),
        ("short-1short-2", GONE + GONE),
        ("short-1 short-2", f"{GONE} {GONE}"),
    ],
)
async def test_twelve_characters_of_a_secret_are_one(said: str, shown: str) -> None:
    """Fewer could be chance; more, or all of a short one, is blacked out wherever it stands."""
    arguments = {"provider": "apple", "state_id": "short-1", "code": LONG, "user": '{"a": ["short-2"]}'}
    assert await described(said, **arguments) == shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('it was {"n": 12345678}!', f"it was {GONE}!"),
        (" ".join([LONG * 6 + "abc"] * 20), " ".join([GONE] * 6)),
    ],
    ids=["the JSON of a user", "much of a long secret"],
)
async def test_what_was_sent_is_blacked_out_whole(said: str, shown: str) -> None:
    """With its braces, where it was JSON, and as often as 600 characters hold it."""
    arguments = {
        "provider": "apple",
        "state_id": "short-1",
        "code": LONG * 6 + "abc",
        "user": '{"n": 12345678}',
    }
    assert await described(said, **arguments) == shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a" * 300, "a" * 300),
        ("a" * 301, "a" * 300),
        ("a b" * 200, ("a b" * 100)),
        ("a" * 599 + " ", "a" * 300),
        ("a" * 600, "a" * 300),
        ("a" * 601, "a" * 300),
        (" " * 599 + "a" * 9, "a"),
        (" " * 600 + "a" * 9, None),
        ("aaa\tb\u2028c\x00d", "aaa b c d"),
    ],
    ids=range(9),
)
async def test_a_text_is_cut_like_this(said: str, shown: str | None) -> None:
    """At 300 characters, of the first 600."""
    assert await described(said) == shown


async def test_each_of_several_secrets_is_known_in_each_spelling() -> None:
    """Those that are short, and have characters that somebody escapes."""
    arguments: dict[str, Any] = {"provider": "apple", "state_id": 'a"b<1>', "code": "c&d e"}
    for said in ("a&quot;b&lt;1&gt;", "a%22b%3C1%3E", r"a\"b<1>", "c&amp;d e", "c%26d%20e", "c%26d+e"):
        assert await described(f"it was {said}, really", **arguments) == f"it was {GONE}, really", said


async def test_each_string_of_a_users_json_is_a_secret() -> None:
    """However it nests; but white space is none, or no text would be left."""
    arguments: dict[str, Any] = {"provider": "apple", "state_id": "s-1", "code": "c-1"}
    user = '{"a": ["name-1", ["name-2", [" "]], "name-3"], "b": {"c": "name-4"}, "d": "name-5"}'
    for number in range(1, 6):
        text = await described(f"hello -- - name-{number} there", **arguments, user=user)
        assert text == f"hello -- - {GONE} there"


@pytest.mark.parametrize("length", [400, 600])
async def test_a_long_secret_is_known_in_each_spelling(length: int) -> None:
    """Also where no twelve characters of it in a row are left as they were."""
    secret = 'x"' * (length // 2)
    text = await described(
        f"it was {json.dumps(secret)[1:-1]}", provider="apple", state_id="s-1", code=secret
    )
    assert text == f"it was {GONE}"


async def test_a_token_that_begins_otherwise_is_one_by_its_three_parts() -> None:
    """Not each header of a JWT begins as most do."""
    for token in ("AAAAAAAA.BBBBBBBB.CC", "AAAAAAAA.BBBBBBBB."):
        assert await described(f"it was {token} then") == f"it was {GONE} then"
    assert await described("it was AAAAAAA.BBBBBBBB.CC then") == "it was AAAAAAA.BBBBBBBB.CC then"


async def test_a_part_of_a_secret_is_no_trace_id() -> None:
    """Twelve characters of one are enough, wherever they stand."""
    secret = "9e1c2d3c4b5a6978-abcdef"
    async with answering_in_memory(Answer(400, [("cf-ray", f"8f-{secret[3:15]}-FRA")])) as service:
        with pytest.raises(RejectedError) as caught:
            await service.finish(provider="apple", state_id="s-1", code=secret)
    assert caught.value.trace_id is None


@pytest.mark.parametrize("before", [*range(570, 602), 1180, 1199])
async def test_a_secret_on_the_edge_of_what_is_looked_at_is_not_shown_in_part(before: int) -> None:
    """What is blacked out before it makes room, so that an edge far behind comes into sight."""
    said = "k" * before + " u: Zaphod Beeblebrox was unknown" * 30
    arguments = {"provider": "apple", "state_id": "s", "code": "k" * before}
    text = await described(said, **arguments, user='{"name": "Zaphod Beeblebrox"}')
    assert not any(part in str(text) for part in ("kk", "Zap", "Bee"))


@pytest.mark.parametrize(
    "spelled",
    [
        'Zo "ë/!',
        r"Zo \"\u00eb/!",
        r"Zo \"ë/!",
        "Zo &quot;ë/!",
        "Zo%20%22%C3%AB/%21",
        "Zo%20%22%C3%AB%2F%21",
        "Zo+%22%C3%AB%2F%21",
        "Zo%20%22%c3%ab%2f%21",
        r"Zo \\\"\\u00eb/!",
        "Zo%2520%2522%25C3%25AB%252F%2521",
        "Zo%2520%2522%25C3%25AB/%2521",
        "Zo%2520%2522%25C3%25AB%2F%2521",
        "Zo+%2522%25C3%25AB%252F%2521",
        "Zo%2B%2522%25C3%25AB%252F%2521",
        "Zo%2520%2522%25c3%25ab%252f%2521",
    ],
)
async def test_a_spelling_of_a_secret_is_blacked_out_to_its_last_character(spelled: str) -> None:
    """As it is, and as JSON, HTML and URLs write it, in each other too; what stands around it stays."""
    arguments = {"provider": "apple", "state_id": "s", "code": 'Zo "ë/!'}
    assert await described(f"A: {spelled} (B)", **arguments) == f"A: {GONE} (B)"


OTHER: Final = "aB3dE6gH9jK2mN5p"


@pytest.mark.parametrize("said", [LONG[-11:], OTHER[-11:]])
async def test_eleven_characters_may_be_chance(said: str) -> None:
    """Also where they are the last of a secret."""
    arguments = {"provider": "apple", "state_id": OTHER, "code": LONG}
    assert await described(said, **arguments) == said


@pytest.mark.parametrize(
    ("secret", "spelled"),
    [
        ("abcdef+ghi/jkl+mnop", "abcdef+ghi%252Fjk"),
        ("abcdef ghi/jkl mnop", "abcdef%2Bghi%252Fjk"),
    ],
)
async def test_a_secret_cut_short_is_known_in_a_url_within_a_url(secret: str, spelled: str) -> None:
    """By twelve characters of it, whatever a plus sign stands for in either of the two."""
    arguments = {"provider": "apple", "state_id": "short-1", "code": secret}
    assert await described(f"A: {spelled} (B)", **arguments) == f"A: {GONE} (B)"


async def test_half_a_surrogate_pair_in_a_name_is_no_reason_to_fail() -> None:
    """JSON can spell what UTF-8 cannot, and a phone may send it."""
    user = '{"name": {"firstName": "\\ud800 & co"}}'
    arguments = {"provider": "apple", "state_id": "s", "code": "c", "user": user}
    assert await described("no such person: ? & co", **arguments) == "no such person: ? & co"


@pytest.mark.parametrize(("code", "shown"), [("TRACE", "TRACE-1"), ("TRACE-", None), ("TRACE-1", None)])
async def test_six_characters_of_a_trace_id_that_are_a_whole_secret_drop_it(
    code: str, shown: str | None
) -> None:
    """Fewer are chance."""
    answer = Answer(400, [("cf-ray", "TRACE-1")], b"")
    async with answering_in_memory(answer) as service:
        with pytest.raises(RejectedError) as caught:
            await service.finish(provider="apple", state_id="s", code=code)
    assert isinstance(caught.value, RejectedError)
    assert caught.value.trace_id == shown


async def test_a_trace_id_that_is_the_key_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever echoes a header may echo that one."""
    caplog.set_level(logging.INFO)
    answer = Answer(200, [("cf-ray", "K3y-of-ours")], JSON_SESSION.encode())
    async with answering_in_memory(answer, auth_management_key="K3y-of-ours") as service:
        await service.finish()
    assert "outcome=session" in caplog.text
    assert "K3y" not in caplog.text


@pytest.mark.parametrize(
    ("code", "said", "shown"),
    [
        ("cod", "a cod, cod", f"a {GONE}, {GONE}"),
        ("cod", "a code, acod, 1cod2", "a code, acod, 1cod2"),
        ("cod", "cod-cod (cod)", f"{GONE}-{GONE} ({GONE})"),
        ("cod", "cod", GONE),
        ("cod", "-cod", f"-{GONE}"),
        ("cod", "a -cod- b", f"a -{GONE}- b"),
        ("code", "acode, code1, code", f"a{GONE}, {GONE}1, {GONE}"),
    ],
)
async def test_three_characters_are_blacked_out_where_they_stand_by_themselves(
    code: str, said: str, shown: str
) -> None:
    """Within a word they are chance; four never are."""
    assert await described(said, provider="apple", state_id="\u00a7", code=code) == shown


@pytest.mark.parametrize(
    ("body", "cookie", "told"),
    [
        (None, "tok", None),
        ("", "tok", None),
        (5, "tok", "sessionJwt: expected token, found integer"),
        ("to k", "tok", "sessionJwt: expected token, found string"),
    ],
)
async def test_a_cookie_stands_in_for_a_token_that_cannot_be_one(
    body: object, cookie: str, told: str | None
) -> None:
    """Whatever the body has; only null and an empty string are no oddity."""
    answer = Answer(200, [("Set-Cookie", f"DS={cookie}; Path=/")], json.dumps({"sessionJwt": body}).encode())
    async with answering_in_memory(answer) as service:
        result = await service.finish(**APPLE)
    assert result.session_jwt == cookie
    assert [f"{odd.path}: expected {odd.expected}, found {odd.found}" for odd in result.drift] == (
        [told] if told else []
    )


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (None, "(not as documented: sessionJwt: expected token, found string)"),
        ("", "(not as documented: sessionJwt: expected token, found string)"),
        (5, "(not as documented: sessionJwt: expected string, found integer)"),
        ("to k", "(not as documented: sessionJwt: expected token, found string)"),
    ],
)
async def test_a_cookie_that_is_no_token_stands_in_for_nothing_but_nothing(body: object, told: str) -> None:
    """What is wrong is told of whichever of the two was there."""
    answer = Answer(200, [("Set-Cookie", "DS=to k; Path=/")], json.dumps({"sessionJwt": body}).encode())
    async with answering_in_memory(answer) as service:
        with pytest.raises(UnexpectedResponse) as caught:
            await service.finish(**APPLE)
    assert isinstance(caught.value, UnexpectedResponse)
    assert caught.value.problem == f"the answer has no session in body or cookies {told}"


@pytest.mark.parametrize("coding", ["identity", "Identity", " identity ", ""])
async def test_identity_is_no_coding(coding: str) -> None:
    """In any case (RFC 9110 §8.4.1), and with the white space that a header may have around it."""
    answer = Answer(200, [("Content-Encoding", coding)], JSON_SESSION.encode())
    async with answering_in_memory(answer) as service:
        assert (await service.finish(**APPLE)).session_jwt == "s.e.s"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, (), rb'{"sessionJwt": "s\ud800"}'),
        Answer(200, [("Set-Cookie", "DS=s\udce9")], b"{}"),
    ],
    ids=["body", "cookie"],
)
async def test_a_token_that_utf8_cannot_carry_is_told_as_any_odd_one(answer: Answer) -> None:
    """Half a surrogate pair: JSON can spell it, and aiohttp makes it of a header's odd bytes."""
    async with answering_in_memory(answer) as service:
        with pytest.raises(UnexpectedResponse) as caught:
            await service.finish()
    assert caught.value.problem == NO_SESSION + "sessionJwt: expected token, found string)"


LETTERS_AND_DIGITS: Final = set(string.ascii_letters + string.digits)
CHARACTERS: Final = [chr(number) for number in range(0x180)]


def refusal(project_id: str = PROJECT, **options: Any) -> str | None:
    """What a finisher says of what it is made of."""
    try:
        NativeOAuthFinisher(project_id, InMemoryTransport(lambda _: HttpResponse(200)), **options)
    except InvalidRequestError as error:
        return str(error)
    return None


def test_a_project_id_is_made_of_these_characters() -> None:
    """Those of a token (RFC 9110 §5.6.2), at least one of them."""
    assert {char for char in CHARACTERS if not refusal("P" + char)} == LETTERS_AND_DIGITS | set(
        "!#$%&'*+-.^_`|~"
    )
    assert not refusal("P")
    assert refusal("")


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_a_region_is_four_letters_or_digits(place: int) -> None:
    """It becomes a part of a host's name; no shorter project id names one."""

    def project(char: str, length: int) -> str:
        return ("P" + "use1"[: place - 1] + char + "use1"[place:]).ljust(length, "x")

    assert {char for char in CHARACTERS if not refusal(project(char, 32))} == LETTERS_AND_DIGITS
    assert not refusal(project("-", 31))


def test_a_key_is_made_of_these_characters() -> None:
    """All that ASCII can print but the blank."""
    keys = {char: refusal(auth_management_key="K" + char) for char in CHARACTERS}
    assert [char for char in CHARACTERS if not keys[char]] == [chr(octet) for octet in range(0x21, 0x7F)]


def test_a_base_url_is_made_of_these_characters() -> None:
    """Those of RFC 3986 §2; a query and a fragment are refused by themselves."""
    problem = "base_url must be a URL, in the characters of RFC 3986"
    refusals = {char: refusal(base_url=f"https://a.example/b{char}c") or "" for char in CHARACTERS}
    fit = LETTERS_AND_DIGITS | set("-._~:/?#[]@!$&'()*+,;=%")
    assert {char for char in CHARACTERS if problem not in refusals[char]} == fit
    assert {char for char in CHARACTERS if not refusals[char]} == fit - set("?#")


async def test_a_trace_id_is_made_of_these_characters() -> None:
    """Letters, digits and hyphens, from 1 to 64 of them: it is shown and logged as it came."""

    async def traced(ray: str) -> str | None:
        async with answering_in_memory(Answer(400, [("cf-ray", ray)])) as service:
            with pytest.raises(RejectedError) as caught:
                await service.finish()
        assert isinstance(caught.value, RejectedError)
        return caught.value.trace_id

    assert {char for char in CHARACTERS if await traced("8f1e" + char)} == LETTERS_AND_DIGITS | {"-"}
    assert [await traced("f" * length) for length in (0, 1, 64, 65)] == [None, "f", "f" * 64, None]


async def test_a_handler_may_do_with_the_headers_what_it_likes() -> None:
    """They are its own: the next request has them all."""
    seen: list[int] = []

    def answer(request: HttpRequest) -> HttpResponse:
        seen.append(len(request.headers))
        dict.clear(request.headers)  # type: ignore[arg-type]
        return HttpResponse(200, (), JSON_SESSION.encode())

    finisher = NativeOAuthFinisher(PROJECT, InMemoryTransport(answer))
    await finisher.finish(**APPLE)
    await finisher.finish(**APPLE)
    assert seen == [9, 9]


async def test_no_status_below_200_is_an_answer() -> None:
    """Whatever it brings."""
    async with answering_in_memory(attrs.evolve(session(), status=199)) as service:
        with pytest.raises(UnexpectedResponse) as caught:
            await service.finish()
    assert isinstance(caught.value, UnexpectedResponse)
    assert caught.value.problem == "the service answered 199, which means nothing here"


@pytest.mark.parametrize("odd", [5, "to k", [], False])
async def test_other_cookies_stand_in_for_nothing(odd: object) -> None:
    """A token that cannot be one is told as if no cookie had come."""
    answer = attrs.evolve(session(refreshJwt=odd), headers=[("Set-Cookie", "theirs=tok; Path=/")])
    async with answering_in_memory(answer) as service:
        result = await service.finish()
    assert (result.session_jwt, result.refresh_jwt) == ("s.e.s", None)
    assert [drift.path for drift in result.drift] == ["refreshJwt"]


@pytest.mark.parametrize(
    "attribute", ["Max-Age = 0 ", " max-age =\t-1", "EXPIRES = Thu, 01 Jan 1970 00:00:00 GMT "]
)
def test_white_space_around_an_attribute_of_a_cookie_is_none_of_it(attribute: str) -> None:
    """RFC 6265 §5.2 takes it off the name and the value."""
    assert read_cookies([f"DS=a;{attribute};Path=/"], 3600.0) == {}


@pytest.mark.parametrize(
    ("max_age", "reads"),
    [("-", False), ("--1", False), ("9", True), ("100", True), ("9" * 20, True), ("9" * 21, False)],
)
def test_a_max_age_of_twenty_digits_is_read(max_age: str, reads: bool) -> None:
    """It goes before Expires, which decides where it cannot be read."""
    line = f"DS=a; Max-Age={max_age}; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    assert read_cookies([line], 3600.0) == ({"DS": "a"} if reads else {})


@pytest.fixture
def five_hours_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process whose local time is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "EST5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("five_hours_behind")
@pytest.mark.parametrize("zone", ["", " -0000", " GMT"])
def test_an_expiry_without_a_zone_is_in_utc(zone: str) -> None:
    """Wherever the process runs."""
    line = f"DS=a; Expires=Thu, 01 Jan 1970 01:00:00{zone}"
    assert [read_cookies([line], now) for now in (3599.0, 3600.0)] == [{"DS": "a"}, {}]


@pytest.mark.parametrize("year", ["10000", "9" * 30])
def test_an_expiry_beyond_any_calendar_is_ignored(year: str) -> None:
    """A cookie that may be over is better than no session."""
    assert read_cookies([f"DS=a; Expires=Thu, 01 Jan {year} 00:00:00 GMT"], 3600.0) == {"DS": "a"}


@pytest.mark.parametrize(
    ("location", "code", "shown"),
    [
        ("https://c0de-1.example/", "c0de-1", f"https://{GONE}.example"),
        # A URL makes its host lower case, in which no secret would be told.
        (
            "https://me@AuthCode-XyZ0123456789.evil.example:8443/x",
            "AuthCode-XyZ0123456789",
            f"https://{GONE}:8443",
        ),
    ],
    ids=["as it is", "in capitals"],
)
async def test_a_host_that_a_redirect_makes_of_the_code_is_not_shown(
    location: str, code: str, shown: str
) -> None:
    """Whoever echoes a request may do so in any header."""
    answer = Answer(302, [("Location", location)])
    async with answering_in_memory(answer) as service:
        with pytest.raises(UnexpectedResponse) as caught:
            await service.finish(provider="apple", state_id="s", code=code)
    assert isinstance(caught.value, UnexpectedResponse)
    assert caught.value.problem == f"the service redirected to {shown}; not followed"


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b'"E061301"', b"null", b"{}"])
async def test_a_rate_limit_is_told_whatever_its_body_is(body: bytes) -> None:
    """The body decorates; when to come again is in the head."""
    async with answering_in_memory(Answer(429, [("Retry-After", "7")], body)) as service:
        with pytest.raises(RateLimitedError) as caught:
            await service.finish()
    error = caught.value
    assert isinstance(error, RateLimitedError)
    assert (error.code, error.description, error.message, error.retry_after) == (None, None, None, 7.0)


@pytest.mark.parametrize(
    ("base_url", "problem"),
    [
        (5, "must be a URL, in the characters of RFC 3986"),
        (b"https://a.example", "must be a URL, in the characters of RFC 3986"),
        ("https://a.example:99999", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("https:", "must be an absolute http or https URL"),
        ("https:///p", "must be an absolute http or https URL"),
        ("a.example/p", "must be an absolute http or https URL"),
        ("//a.example/p", "must be an absolute http or https URL"),
        ("ftp://a.example", "must be an absolute http or https URL"),
        ("https://a@b.example", "must not hold a user name or password"),
        ("https://a:b@c.example/p", "must not hold a user name or password"),
        ("https://@c.example", "must not hold a user name or password"),
        (URL("https://a:b@c.example/p"), "must not hold a user name or password"),
        ("https://a.example/?", "must not hold a query or fragment"),
        ("https://a.example/#", "must not hold a query or fragment"),
        ("https://a.example/p?q#f", "must not hold a query or fragment"),
        ("http://a.example", "must be https, or a loopback address (allow_http=True insists)"),
        ("http://localhost.example", "must be https, or a loopback address (allow_http=True insists)"),
        ("http://mylocalhost", "must be https, or a loopback address (allow_http=True insists)"),
        ("http://10.0.0.1", "must be https, or a loopback address (allow_http=True insists)"),
    ],
    ids=str,
)
def test_a_base_url_is_refused_with_its_reason(base_url: Any, problem: str) -> None:
    """To the word, and without the value."""
    assert refusal(base_url=base_url) == f"base_url {problem}"


@pytest.mark.parametrize(
    ("project_id", "base_url", "url"),
    [
        (PROJECT, None, "https://api.descope.com"),
        ("Puse1".ljust(31, "x"), None, "https://api.descope.com"),
        ("Puse1".ljust(32, "x"), None, "https://api.use1.descope.com"),
        ("Puse1".ljust(32, "x"), "https://a.example", "https://a.example"),
        (PROJECT, URL("https://a.example/p/"), "https://a.example/p"),
        (PROJECT, "https://a.example//p", "https://a.example//p"),
    ],
)
async def test_a_request_goes_where_its_project_is(
    project_id: str, base_url: str | URL | None, url: str
) -> None:
    """To the base that was given, else to the region, else to the one host for all."""
    transport = InMemoryTransport(lambda _: HttpResponse(200, (), JSON_SESSION.encode()))
    await NativeOAuthFinisher(project_id, transport, base_url=base_url).finish(**APPLE)
    assert str(only(transport.requests).url) == url + "/v1/auth/oauth/native/finish"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_plain_http_is_let_in_where_the_caller_insists(scheme: str) -> None:
    """And only then, off loopback; nothing else is let in by it."""
    assert refusal(base_url=f"{scheme}://a.example", allow_http=True) is None
    assert refusal(base_url="ftp://a.example", allow_http=True)
    assert refusal(base_url=f"{scheme}://a@b.example", allow_http=True)


async def test_all_that_is_odd_in_an_answer_is_told() -> None:
    """In its body, in its cookies and of its status: none of it hides another."""
    odd = session(refreshJwt=5, firstSeen=1, unsavedSSO="no")
    answer = attrs.evolve(odd, status=201, headers=[("Set-Cookie", "DSR=tok; Path=/")])
    async with answering_in_memory(answer) as service:
        result = await service.finish()
    assert result.refresh_jwt == "tok"
    assert sorted(f"{drift.path}: {drift.expected}, {drift.found}" for drift in result.drift) == [
        "firstSeen: boolean, integer",
        "refreshJwt: token, integer",
        "status: 200, 201",
        "unsavedSSO: boolean, string",
    ]


DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def test_retry_after_may_be_any_date_of_http() -> None:
    """Whatever its day of the week and its month (RFC 9110 §5.6.7)."""
    for day in DAYS:
        assert parse_retry_after([f"{day}, 02 Jan 1970 00:00:07 GMT"], 86400.0) == 7.0
    for number, month in enumerate(MONTHS, 1):
        now = datetime(1970, number, 1, tzinfo=UTC).timestamp()
        assert parse_retry_after([f"Thu, 01 {month} 1970 00:00:07 GMT"], now) == 7.0
    assert parse_retry_after(["Thu, 01 Jan 9999 00:00:00 GMT"], 0.0) == 3600.0
    assert parse_retry_after([" \tThu, 01 Jan 1970 00:00:07 GMT\t "], 0.0) == 7.0


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-7",
        "+7",
        "\u0667",
        "\u00a07",
        "7, 7",
        "Thursday, 01-Jan-70 00:00:07 GMT",
        "Thu Jan  1 00:00:07 1970",
        "Thu, 01 Jan 0970 00:00:07 GMT",
        "Thu, 01 Jan 970 00:00:07 GMT",
        "Thu, 01 Jan 19700 00:00:07 GMT",
        "Thu, 1 Jan 1970 00:00:07 GMT",
        "Thu, 001 Jan 1970 00:00:07 GMT",
        "Thu, 01 Jan 1970 0:00:07 GMT",
        "Thu, 01 Jan 1970 00:0:07 GMT",
        "Thu, 01 Jan 1970 00:00:7 GMT",
        "Thu, 01 Jan 1970 00:00:007 GMT",
        "Thu, 01 Jan 1970 00:00 GMT",
        "Thu, 01 Jan 1970 00:00:07 +0000",
        "Thu, 01 Jan 1970 00:00:07 UTC",
        "Thu, 01 Jan 1970 00:00:07",
        "Thu, 01 Jan 1970 00:00:07 GMT+1",
        "Thu 01 Jan 1970 00:00:07 GMT",
        "01 Jan 1970 00:00:07 GMT",
        "thu, 01 Jan 1970 00:00:07 GMT",
        "Thu, 01 jan 1970 00:00:07 GMT",
        "Xxx, 01 Jan 1970 00:00:07 GMT",
        "Thu, 32 Jan 1970 00:00:07 GMT",
        "Thu, 01 Jan 1970 24:00:07 GMT",
        "Thu, \u0660\u0661 Jan 1970 00:00:07 GMT",
        "Thu, 01 Jan 1\u0669\u0667\u0660 00:00:07 GMT",
        "Thu, 01 Jan 1970 00:00:0\u0667 GMT",
    ],
)
def test_what_is_nearly_a_retry_after_is_none(value: str) -> None:
    """Doubt gives None, and the caller its own choice."""
    assert parse_retry_after([value], 0.0) is None


@pytest.mark.parametrize(
    ("body", "too_deep"),
    [
        (b"[" * 4000 + b"]" * 4000, False),
        (b"[" * 4001 + b"]" * 4001, True),
        (b"[{" * 2000 + b"}]" * 2000, False),
        (b"[{" * 2001 + b"}]" * 2001, True),
        (b'"' + b"[" * 9000 + b'"', False),
        (b"1" * 9000, False),
        (b"[]" * 9000, False),
        (b'["\\\\",' + b"[" * 3999 + b"]" * 4000, False),
        (b'["\\"[",' + b"[" * 3999 + b"]" * 4000, False),
        (b'["\\\\\\"[",' + b"[" * 3999 + b"]" * 4000, False),
    ],
    ids=range(10),
)
def test_an_answer_nests_too_deep_from_here_on(body: bytes, too_deep: bool) -> None:
    """Beyond 4,000 levels; neither strings nor neighbours count."""
    assert _nests_too_deep(body) is too_deep


@pytest.mark.parametrize("status", [199, 300])
async def test_a_session_beside_a_status_that_is_no_success_is_none(status: int) -> None:
    """2xx are, and nothing next to them."""
    async with answering_in_memory(Answer(status, (), b'{"sessionJwt": "s.e.s"}')) as service:
        with pytest.raises(UnexpectedResponse) as caught:
            await service.finish()
    assert caught.value.status == status
