"""A 200 whose body is no session, over both transports: rows 13 and 14 of the failure table."""

import asyncio
import gzip
import json
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kit.support import DOCUMENTED_ANSWER, Answer, Answering, session

from descope_native import Drift, FinishResult, Outcome, RejectedError, UnexpectedResponse
from descope_native.converters import make_converter

SESSION = session().body


async def unexpected(answering: Answering, *answers: Answer) -> list[UnexpectedResponse]:
    """The errors that these answers become, each after exactly one request."""
    errors = []
    async with answering(*answers) as service:
        for _ in answers:
            with pytest.raises(UnexpectedResponse) as caught:
                await service.finish()
            assert caught.value.status == 200
            assert caught.value.outcome is Outcome.UNKNOWN
            assert not caught.value.safe_to_retry
            errors.append(caught.value)
    assert len(service.received) == len(answers)
    return errors


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"\x00",
        b"OK",
        b"<!doctype html><title>Sign in to the hotel's network</title>",
        b"{'sessionJwt': 's'}",
        b"{sessionJwt: 1}",
        SESSION + b"x",
        SESSION + SESSION,
        SESSION[:-1] + b",}",
        b'{"sessionJwt": "s", "x": 01}',
        b'\xef\xbb\xbf{"sessionJwt": "s"',
        '{"sessionJwt": "s"'.encode("utf-16"),
        SESSION.decode().encode("utf-16")[:-1] + b"x",
        b"\xff" + SESSION,
        b'{"sessionJwt": "s", "x": NaNa}',
        b'{"sessionJwt": "s", "x": "\x01}',
        b'{"sessionJwt": "s"\xe9}',
        gzip.compress(SESSION, mtime=0),
    ],
    ids=lambda body: repr(body[:40]),
)
async def test_a_body_that_is_not_json_is_unexpected(answering: Answering, body: bytes) -> None:
    """However leniently it is read."""
    (error,) = await unexpected(answering, Answer(body=body))
    assert str(error) == "the answer is not JSON [status 200, outcome unknown]"


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"sessionJwt": "s", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda body: repr(body[:40]),
)
async def test_a_body_that_nests_too_deep_is_unexpected(answering: Answering, body: bytes) -> None:
    """Whether it would be JSON in the end, nobody can say who has a stack."""
    (error,) = await unexpected(answering, Answer(body=body))
    assert str(error) == "the answer nests too deep for Python's JSON parser [status 200, outcome unknown]"


@pytest.mark.parametrize(
    "body",
    [b"\xef\xbb\xbf[]", b"NaN", b"[]", b"null", b"true", b"0", b'""', b'"abc"', b'[{"sessionJwt": "s"}]'],
)
async def test_json_that_is_no_object_is_unexpected(answering: Answering, body: bytes) -> None:
    """An empty array is not an empty success."""
    (error,) = await unexpected(answering, Answer(body=body))
    assert str(error) == "the answer is not a JSON object [status 200, outcome unknown]"


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"user": {"email": "ada@example.com"}}',
        b'{"errorCode": "E061301"}',
        b'{"refreshJwt": "r.e.f", "externalToken": "e", "trustedDeviceJwt": "t"}',
    ],
)
async def test_an_object_without_a_session_is_unexpected(answering: Answering, body: bytes) -> None:
    """Whatever else it holds, and none of that is quoted."""
    (error,) = await unexpected(answering, Answer(body=body))
    assert "no session in body or cookies" in str(error)
    assert "ada" not in str(error)
    assert "E061301" not in str(error)


async def test_no_cut_of_the_documented_answer_is_a_result(answering: Answering) -> None:
    """Half an answer is none, wherever it breaks off."""
    cuts = range(0, len(DOCUMENTED_ANSWER.rstrip()) - 1, 41)
    errors = await unexpected(answering, *(Answer(body=DOCUMENTED_ANSWER[:cut]) for cut in cuts))
    assert {str(error) for error in errors} == {"the answer is not JSON [status 200, outcome unknown]"}


def drift_of(expected: str, found: str) -> Drift:
    return Drift("body", expected, found)


BOM = drift_of("UTF-8", "a byte order mark")
OTHER_BYTES = drift_of("UTF-8", "other bytes")
NAN = Drift("*", "finite number", "NaN")
INFINITY = Drift("*", "finite number", "infinity")


@pytest.mark.parametrize(
    ("body", "drift"),
    [
        (b"\xef\xbb\xbf" + SESSION, [BOM]),
        (b"\r\n\xef\xbb\xbf\xef\xbb\xbf " + SESSION, [BOM]),
        (SESSION.decode().encode("utf-16"), [drift_of("UTF-8", "UTF-16")]),
        (SESSION.decode().encode("utf-16-be"), [drift_of("UTF-8", "UTF-16-BE")]),
        (SESSION.decode().encode("utf-32"), [drift_of("UTF-8", "UTF-32")]),
        (b'{"sessionJwt": "s.e.s", "x": "\xe9"}', [OTHER_BYTES]),
        (b'{"sessionJwt": "s.e.s", "x": "\xed\xa0\x80"}', [OTHER_BYTES]),
        (b'{"sessionJwt": "s.e.s", "\xc0\xaf": "x"}', [OTHER_BYTES]),
        (b'\xef\xbb\xbf{"sessionJwt": "s.e.s", "x": "\xff"}', [OTHER_BYTES, BOM]),
        (b'{"sessionJwt": "s.e.s", "x": "a\tb\x01"}', [drift_of("JSON", "control characters")]),
        (b'{"sessionJwt": "s.e.s", "x": NaN}', [NAN, drift_of("JSON", "NaN")]),
        (b'{"sessionJwt": "s.e.s", "x": [[Infinity, Infinity]]}', [INFINITY, drift_of("JSON", "Infinity")]),
        (b'{"sessionJwt": "s.e.s", "x": -Infinity}', [INFINITY, drift_of("JSON", "-Infinity")]),
        (b'{"sessionJwt": "s.e.s", "x": NaN, "x": 1}', [drift_of("JSON", "NaN")]),
        (
            b'{"sessionJwt": "s.e.s", "cookieMaxAge": NaN, "x": %b}' % (b"9" * 5000),
            [Drift("cookieMaxAge", "integer", "number"), INFINITY, drift_of("JSON", "NaN")],
        ),
    ],
    ids=lambda value: repr(value[:60]),
)
async def test_no_session_is_lost_to_how_it_is_written(
    answering: Answering, body: bytes, drift: list[Drift]
) -> None:
    """Row 15: what JSON in UTF-8 does not have is listed; who wants to know gets an error."""
    async with answering(Answer(body=body)) as service:
        result = await service.finish()
    assert result.session_jwt == "s.e.s"
    assert result.drift == tuple(drift)
    async with answering(Answer(body=body), strict=True) as service:
        with pytest.raises(UnexpectedResponse, match="not as documented"):
            await service.finish()


async def test_text_in_other_bytes_is_kept_as_far_as_it_can_be_read(answering: Answering) -> None:
    """Each byte that is not UTF-8 becomes U+FFFD; half a surrogate pair beside it too."""
    body = b'{"sessionJwt": "s.e.s", "user": {"name": "Zo\xeb", "email": "a@b.c", "phone": "\\udead"}}'
    async with answering(Answer(body=body)) as service:
        result = await service.finish()
    assert (result.user.name, result.user.email, result.user.phone) == ("Zo\ufffd", "a@b.c", "\ufffd")
    assert result.drift == (OTHER_BYTES, Drift("user.phone", "text", "half a surrogate pair"))


@pytest.mark.parametrize("token", [b"s.\xe9.s", b"s.\x01.s", b"s.\\ud83d.s", b"\xef\xbb\xbf"], ids=repr)
async def test_a_token_is_never_mended(answering: Answering, token: bytes) -> None:
    """One with a replaced character would be refused wherever it is sent."""
    without = b'{"sessionJwt": "%b"}' % token
    beside = b'{"sessionJwt": "s.e.s", "refreshJwt": "%b"}' % token
    (error,) = await unexpected(answering, Answer(body=without))
    assert "no session in body or cookies" in error.problem
    async with answering(Answer(body=beside)) as service:
        result = await service.finish()
    assert result.refresh_jwt is None
    assert Drift("refreshJwt", "token", "string") in result.drift


HALF = "half a surrogate pair"


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"cookieDomain": "a\udfff"}, "cookieDomain"),
        ({"user": {"name": "\ud800"}}, "user.name"),
        ({"user": {"roleNames": ["r", "\udbff\udbff"]}}, "user.roleNames[1]"),
        ({"user": {"OAuth": {"\udc00": True}}}, "user.OAuth"),
        ({"user": {"userTenants": [{}, {"tenantName": "\ud83dx"}]}}, "user.userTenants[1].tenantName"),
        ({"user": {"userTenants": [{"\ud83d": 1}]}}, "user.userTenants[0].*"),
        ({"user": {"customAttributes": {"a": [[{"b": "\ud83d"}]]}}}, "user.customAttributes"),
        ({"idpResponse": {"idpOIDCClaims": {"a": {"\ud83d": None}}}}, "idpResponse.idpOIDCClaims"),
        ({"claims": {"\ud83d": "\ude00"}}, "claims"),
        ({"new": ["\ud83d", {"a": "\ud83d"}]}, "*"),
        ({"new\ud83d": 1}, "*"),
    ],
)
async def test_half_a_surrogate_pair_is_replaced(
    answering: Answering, more: dict[str, Any], path: str
) -> None:
    """At any depth, in keys too; the result can be encoded, and drift names the place without the text."""
    async with answering(session(more), strict=False) as service:
        result = await service.finish()
    assert result.session_jwt == "s.e.s"
    assert result.drift == (Drift(path, "text", HALF),)
    text = json.dumps(make_converter().unstructure(result), ensure_ascii=False)
    assert "\ufffd" in text
    text.encode()
    async with answering(session(more), strict=True) as service:
        with pytest.raises(UnexpectedResponse, match=HALF):
            await service.finish()


async def test_a_whole_surrogate_pair_is_a_character(answering: Answering) -> None:
    """However JSON spells it; also where an escape only looks like half of one."""
    async with answering(session({"new": "\U0001f600", "other": "\\ud83d"}), strict=True) as service:
        assert (await service.finish()).extra == {"new": "\U0001f600", "other": "\\ud83d"}


async def test_of_two_keys_that_become_one_the_last_counts(answering: Answering) -> None:
    """As of one key that stands twice."""
    claims = {text: number for number, text in enumerate(["\ud800", "\ufffd", "\udc00"], 1)}
    async with answering(session({"claims": claims})) as service:
        assert (await service.finish()).claims == {"\ufffd": 3}


async def test_half_pairs_without_end_are_listed_to_a_limit(answering: Answering) -> None:
    """All are replaced; what nests too deep is left out as ever."""
    roles = {"roleNames": ["\ud800"] * 101}
    async with answering(
        session({"user": roles}), session({"claims": nested(200), "x": "\ud800"})
    ) as service:
        result = await service.finish()
        assert result.user.role_names == ("\ufffd",) * 101
        assert len(result.drift) == 101
        assert result.drift[-1] == Drift("*", "100 oddities at most", "more")
        deep = await service.finish()
    assert (deep.claims, deep.extra) == ({}, {"x": "\ufffd"})
    assert Drift("claims", "nesting of 100 at most", "more") in deep.drift


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(SESSION, mtime=0)),
        ("x-gzip", gzip.compress(SESSION, mtime=0)),
        ("deflate", zlib.compress(SESSION)),
        ("br", b"\x0b\x02\x80{}\x03"),
        ("identity, gzip", gzip.compress(SESSION, mtime=0)),
    ],
)
async def test_a_body_that_a_content_coding_has_changed_is_unexpected(
    answering: Answering, coding: str, body: bytes
) -> None:
    """Nothing is decompressed, so nothing can grow."""
    (error,) = await unexpected(answering, Answer(200, [("Content-Encoding", coding)], body))
    assert error.problem == "the answer has a Content-Encoding that was not asked for"


@pytest.mark.parametrize(
    "codings", [["gzip"], ["made-up"], ["identity", "gzip"], ["gzip", "identity"], ["identity, gzip"]]
)
async def test_a_content_coding_that_changed_nothing_costs_no_session(
    answering: Answering, codings: list[str]
) -> None:
    """Some proxies decode and leave the line."""
    answer = Answer(200, [("Content-Encoding", coding) for coding in codings], SESSION)
    async with answering(answer) as service:
        result = await service.finish()
    assert result.session_jwt == "s.e.s"
    assert result.drift == (Drift("Content-Encoding", "identity", "another coding"),)
    async with answering(answer, strict=True) as service:
        with pytest.raises(UnexpectedResponse, match="Content-Encoding: expected identity"):
            await service.finish()


@pytest.mark.parametrize("coding", ["identity", "Identity", "", " identity ", "identity, identity"])
async def test_identity_is_no_coding(answering: Answering, coding: str) -> None:
    """Some servers say that they did nothing."""
    async with answering(Answer(200, [("Content-Encoding", coding)], SESSION), strict=True) as service:
        assert (await service.finish()).session_jwt == "s.e.s"


@pytest.mark.parametrize("kind", ["application/json; charset=latin-1", "text/html", "nonsense", ""])
async def test_the_content_type_is_not_asked(answering: Answering, kind: str) -> None:
    """What is JSON is JSON, and that in UTF-8, whatever a proxy calls it."""
    body = '{"sessionJwt": "s", "user": {"name": "Zoë"}}'.encode()
    async with answering(Answer(200, [("Content-Type", kind)], body), strict=True) as service:
        assert (await service.finish()).user.name == "Zoë"


def nested(depth: int) -> Any:
    value: Any = {}
    for level in range(depth - 1):
        value = [value] if (depth - level) % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    ("build", "path"),
    [
        (lambda value: {"claims": value}, "claims"),
        (lambda value: {"user": {"customAttributes": value}}, "user.customAttributes"),
        (lambda value: {"idpResponse": {"idpOIDCClaims": value}}, "idpResponse.idpOIDCClaims"),
        (lambda value: {"idpResponse": {"idpSAMLAttributes": value}}, "idpResponse.idpSAMLAttributes"),
    ],
    ids=["claims", "attributes", "OIDC", "SAML"],
)
async def test_free_form_json_nests_a_hundred_deep(answering: Answering, build: Any, path: str) -> None:
    """Deeper than that is drift, long before Python's stack is in danger; the session is kept."""
    fits, does_not = session(build(nested(100))), session(build(nested(101)))
    async with answering(fits, does_not) as service:
        assert not (await service.finish()).drift
        assert (await service.finish()).drift == (Drift(path, "nesting of 100 at most", "more"),)


async def test_an_unknown_key_may_be_too_deep_as_well(answering: Answering) -> None:
    """It is dropped, said so, and not named: its name may be data."""
    async with answering(session(new=nested(100)), session(new=nested(101))) as service:
        assert not (await service.finish()).drift
        result = await service.finish()
    assert result.drift == (Drift("*", "nesting of 100 at most", "more"),)
    assert result.extra == {}


async def test_a_number_beyond_all_bounds_does_no_harm(answering: Answering) -> None:
    """A time may be any integer that Python reads; one that it makes no number of is drift."""
    big = {"sessionJwt": "s", "cookieExpiration": 10**400}
    async with answering(Answer(body=json.dumps(big).encode())) as service:
        result = await service.finish()
    assert result.cookie_expiration == 10**400
    assert result.cookie_expires_at is None


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("x", Drift("*", "finite number", "infinity")),
        ("cookieExpiration", Drift("cookieExpiration", "integer", "number")),
        ("cookieDomain", Drift("cookieDomain", "string", "number")),
    ],
)
@pytest.mark.parametrize("digits", [b"9" * 5000, b"-" + b"9" * 5000])
async def test_no_session_is_lost_to_a_long_number(
    answering: Answering, key: str, expected: Drift, digits: bytes
) -> None:
    """Python refuses to make an integer of more than 4,300 digits, which JSON has no objection to."""
    body = b'{"sessionJwt": "s", "cookieMaxAge": 7, "%b": %b}' % (key.encode(), digits)
    async with answering(Answer(body=body)) as service:
        result = await service.finish()
    assert result.session_jwt == "s"
    assert result.cookie_max_age == 7
    assert result.drift == (expected,)
    await unexpected(answering, Answer(body=body + b"}"), Answer(body=body[:-1]))


async def test_an_empty_object_among_many_is_an_object(answering: Answering) -> None:
    """Empty objects at each level are objects, not none."""
    async with answering(session(user={}, idpResponse={}), strict=True) as service:
        result = await service.finish()
    assert result.user is not None
    assert result.idp_response is not None


TOO_DEEP = {
    "lists": b'{"sessionJwt":"s.e.s","x":' + b"[" * 4000 + b"]" * 4000 + b"}",
    "objects": b'{"sessionJwt":"s.e.s","x":' + b'{"a":' * 4000 + b"1" + b"}" * 4000 + b"}",
    "never closed": b'{"x":' * 200_000,
    "UTF-16": ('{"sessionJwt":"s.e.s","x":' + '["\\"",' * 5000 + "1" + "]" * 5000 + "}").encode("utf-16"),
    "brackets in strings": b'{"sessionJwt":"s.e.s","x":'
    + b'["]]]]\\\\","\\"]]",' * 4000
    + b"1"
    + b"]" * 4000
    + b"}",
}


@pytest.mark.parametrize("name", TOO_DEEP)
def test_an_answer_too_deep_for_a_small_stack_is_refused_in_a_thread(answering: Answering, name: str) -> None:
    """Row 14, before the parser goes down into it."""

    def call() -> list[UnexpectedResponse]:
        return asyncio.run(unexpected(answering, Answer(body=TOO_DEEP[name])))

    with ThreadPoolExecutor(1) as thread:
        (error,) = thread.submit(call).result()
    assert error.problem == "the answer nests too deep for Python's JSON parser"


def test_brackets_in_strings_and_side_by_side_are_not_deep(answering: Answering) -> None:
    """Only what stands within another counts."""
    text = "[{" * 5000 + '\\"' + "\\" * 3
    many = {"sessionJwt": "s.e.s", "a": text, "b": [[]] * 9000, "c": [{}] * 9000, text: 1}

    async def call() -> FinishResult:
        async with answering(Answer(body=json.dumps(many).encode())) as service:
            result: FinishResult = await service.finish()
            return result

    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(lambda: asyncio.run(call())).result()
    assert (result.session_jwt, result.drift) == ("s.e.s", ())
    assert result.extra["a"] == text


def test_no_answer_ends_a_process_whose_threads_have_small_stacks() -> None:
    """512 KiB, as in a container whose memory is counted."""
    program = f"""
import asyncio, threading
from descope_native import *
bodies = {list(TOO_DEEP.values())!r} + [b'{{"sessionJwt":"s.e.s","x":' + b"[" * 3990 + b"]" * 3990 + b"}}"]
async def call(body):
    finisher = NativeOAuthFinisher("P2", InMemoryTransport(lambda _: HttpResponse(200, (), body)))
    try:
        await finisher.finish(provider="apple", state_id="s", code="c")
    except UnexpectedResponse:
        pass
def run():
    for body in bodies:
        asyncio.run(call(body))
    print("alive")
threading.stack_size(512 * 1024)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""
    done = subprocess.run(
        [sys.executable, "-"], input=program, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@pytest.mark.parametrize("status", [204, 304])
async def test_where_there_is_no_body_there_is_no_session(answering: Answering, status: int) -> None:
    """Row 20: whatever comes behind such a head is none of its (RFC 9110 §6.4.1)."""
    async with answering(Answer(status, (), session().body)) as service:
        with pytest.raises(UnexpectedResponse):
            await service.finish()


async def test_a_body_is_taken_to_its_limit_and_no_further(answering: Answering) -> None:
    """Row 13: of 1 MiB, to the byte; where the status says enough, without it."""
    whole = session().body.ljust(1024 * 1024)
    async with answering(
        Answer(200, (), whole), Answer(200, (), whole + b" "), Answer(400, (), whole + b" ")
    ) as service:
        assert (await service.finish()).session_jwt
        with pytest.raises(UnexpectedResponse, match="larger than 1048576 bytes") as large:
            await service.finish()
        assert large.value.status == 200
        with pytest.raises(RejectedError) as refused:
            await service.finish()
        assert refused.value.status == 400


@pytest.mark.parametrize("text", [" {} ", "\t{}\r\n", "\n\n{}"])
async def test_blanks_of_json_around_an_answer_are_let_in(answering: Answering, text: str) -> None:
    """Those four that RFC 8259 §2 names."""
    body = text.replace("{}", SESSION.decode()).encode()
    async with answering(Answer(body=body), strict=True) as service:
        assert (await service.finish()).session_jwt == "s.e.s"


@pytest.mark.parametrize("text", ["\x0c{}", "{}\x0b", "\u00a0{}", "{}\u2028", "\x00{}", "{}\x1f"])
async def test_no_other_blanks_around_an_answer_are_let_in(answering: Answering, text: str) -> None:
    """What Python takes for a blank need not be one of JSON."""
    (error,) = await unexpected(answering, Answer(body=text.replace("{}", SESSION.decode()).encode()))
    assert error.problem == "the answer is not JSON"


@pytest.mark.parametrize(
    ("token", "cookie", "told"),
    [
        ("bad token", "", "sessionJwt: expected token, found string"),
        (5, "DS=bad token", "sessionJwt: expected string, found integer"),
        (None, "DS=bad token", "sessionJwt: expected token, found string"),
        ("", "DS=bad token", "sessionJwt: expected token, found string"),
    ],
)
async def test_what_stands_in_the_place_of_a_session_is_told(
    answering: Answering, token: object, cookie: str, told: str
) -> None:
    """By its type, whichever of body and cookie has it."""
    body = json.dumps({"sessionJwt": token}).encode()
    (error,) = await unexpected(answering, Answer(200, [("Set-Cookie", cookie)], body))
    assert error.problem.endswith(f"(not as documented: {told})")
