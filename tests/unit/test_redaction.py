"""What an error shows of the service's own words: nothing of the request, however it is written."""

import asyncio
import html
import json
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, quote_plus

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kit.support import Answer, answering_in_memory

from descope_native import (
    AppleUser,
    FinishRequest,
    FrozenDict,
    RejectedError,
    ResponseError,
    UnexpectedResponse,
)
from descope_native._service.redaction import Redactor

GONE: Final = "withheld: it quotes the request"
KEY: Final = "K2aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789"


def to_json(value: object) -> bytes:
    return json.dumps(value).encode()


async def refused(answer: Answer, **call: Any) -> ResponseError:
    arguments = {"provider": "apple", "state_id": "state-of-this-test", **call}
    if "id_token" not in call:
        arguments.setdefault("code", "code-of-this-test")
    async with answering_in_memory(answer, auth_management_key=KEY) as service:
        with pytest.raises(ResponseError) as caught:
            await service.finish(**arguments)
    return caught.value


async def shown(said: str, **call: Any) -> str | None:
    """What an error shows of what the service said."""
    error = await refused(Answer(400, body=to_json({"errorCode": "E061301", "errorMessage": said})), **call)
    assert (type(error), error.status) == (RejectedError, 400)
    assert error.code == "E061301"  # whatever becomes of the text
    return error.message


# --- spellings


def go_json(text: str) -> str:
    """As Go's encoder writes it, which keeps JSON from being taken for HTML."""
    written = json.dumps(text, ensure_ascii=False)[1:-1]
    for char in "<>&\u2028\u2029":
        written = written.replace(char, f"\\u{ord(char):04x}")
    return written


def go_ascii(char: str) -> str:
    if char.isascii():
        return char.replace("\\", "\\\\")
    return f"\\u{ord(char):04x}" if char < "\U00010000" else f"\\U{ord(char):08x}"


def quoted_in_lower_case(text: str) -> str:
    return "".join(f"%{octet:02x}" for octet in text.encode())


def as_utf16_escapes(text: str) -> str:
    octets = text.encode("utf-16-be")
    return "".join(f"\\u{octets[at : at + 2].hex().upper()}" for at in range(0, len(octets), 2))


SPELLINGS: Final[dict[str, Any]] = {
    "as it is": lambda text: text,
    "in capitals": lambda text: text.upper(),
    "quoted": quote,
    "quoted wholly": lambda text: quote(text, safe=""),
    "quoted in lower case": quoted_in_lower_case,
    "quoted as a form": quote_plus,
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in UTF-8 JSON": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "in Go's JSON": go_json,
    "in JSON with escaped slashes": lambda text: json.dumps(text)[1:-1].replace("/", r"\/"),
    "in upper-case hex": as_utf16_escapes,
    "in Go's ASCII": lambda text: "".join(map(go_ascii, text)),
    "in hex": lambda text: "".join(
        f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{{{ord(c):x}}}" for c in text
    ),
    "in HTML": html.escape,
    "in HTML by number": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "in HTML by hex": lambda text: "".join(f"&#x{ord(char):x};" for char in text),
    "in HTML by upper-case hex": lambda text: "".join(f"&#X{ord(char):04X};" for char in text),
    "in HTML by name": lambda text: html.escape(text).replace("ë", "&euml;").replace("/", "&sol;"),
}

GOOGLE_CODE: Final = "4/0AX4XfWh-q_Z9+Kd7=b8c%2Fd1e2f3a4b5c6d7e8f9"
APPLE_CODE: Final = "c8f3a1b2d4e5f60718293a4b5c6d7e8f9.0.mrqs.XyZ-abc_DEF"
SPACED_CODE: Final = "a b c d e f g h i j k l m n o p"
STATE: Final = "state/with+odd=chars&more;to:come"
JWT: Final = "eyJhbGciOiJSUzI1NiJ9.eyJlbWFpbCI6ImFkYUBleGFtcGxlLmNvbSJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
NAMES: Final = AppleUser(given_name="Zoë Anne-Marie", middle_name="O'Łuk", family_name='Quote" Back\\slash')
USER_TEXT: Final = json.dumps(
    {
        "name": {"firstName": "Grace Brewster", "lastName": "Höpper"},
        "more": [["Vassar College"], 49151, None, True, '{"inner": ["Univac & Co"]}'],
    }
)
CALLS: Final[dict[str, tuple[dict[str, Any], list[str]]]] = {
    "a Google code": ({"code": GOOGLE_CODE}, [GOOGLE_CODE]),
    "an Apple code": ({"code": APPLE_CODE}, [APPLE_CODE]),
    "a code with spaces": ({"code": SPACED_CODE}, [SPACED_CODE]),
    "a code of escapes": ({"code": r"%41&lt;\u0041+%2B\\&amp;amp;"}, [r"%41&lt;\u0041+%2B\\&amp;amp;"]),
    "an id token": ({"id_token": JWT}, [JWT]),
    "a state": ({"state_id": STATE}, [STATE]),
    "a device": ({"known_device_jwt": "known/1", "trusted_device_jwt": "tru$t:ed"}, ["known/1", "tru$t:ed"]),
    "the key": ({}, [KEY]),
    "names": ({"user": NAMES}, ["Zoë Anne-Marie", "O'Łuk", 'Quote" Back\\slash']),
    "a user's text": (
        {"user": USER_TEXT},
        [USER_TEXT, "Grace Brewster", "Höpper", "Vassar College", "49151", "Univac & Co"],
    ),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("outer", ["as it is", "quoted wholly", "in JSON", "in Go's JSON", "in HTML"])
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_text_that_quotes_the_request_is_withheld(spelling: str, outer: str, call: str) -> None:
    """As a whole, in each spelling and in each of those within another."""
    arguments, secrets = CALLS[call]
    for secret in secrets:
        written = SPELLINGS[outer](SPELLINGS[spelling](secret))
        assert await shown(f"bad: {written} !", **arguments) == GONE, written
        assert await shown(written, **arguments) == GONE, written


# HTML has no numbers for control characters.
secrets = st.text(
    st.sampled_from("aZ09é%&\\;#+/\"'<> u2F\u4e2d\U0001f600")
    | st.characters(exclude_categories=["Cc", "Cn", "Cs"]),
    min_size=4,
    max_size=12,
).filter(lambda text: len(text.strip()) >= 4)
around = st.text("abc XYZ.,:()[]{}'\"!?", max_size=40)


@given(
    secrets, st.lists(st.sampled_from(sorted(SPELLINGS.keys() - {"in capitals"})), max_size=3), around, around
)
def test_no_composition_of_spellings_shows_a_secret(
    secret: str, layers: list[str], before: str, after: str
) -> None:
    """Up to three layers of any kinds, whatever the secret has of escapes itself, anywhere in a text."""
    written = secret
    for layer in layers:
        written = SPELLINGS[layer](written)
    written = f"{before}{written}{after}"
    assume(len(written) <= 600)
    for call in ({"code": secret}, {"user": json.dumps({"name": {"firstName": ["x", {"y": secret}]}})}):
        assert asyncio.run(shown(written, **call)) in {GONE, None}


plain = st.text(st.sampled_from("ghijklmnop GHIJ.,;:&%\\#+<>\"'!?\u4e2d") | st.characters(codec="latin-1"))


@given(plain, st.integers(0, 2**200))
def test_a_text_that_quotes_nothing_is_shown_as_it_is(said: str, number: int) -> None:
    """Whatever it has of escapes, of which none are undone in what is shown."""
    code = f"{number:060}"
    call = {"state_id": code[::-1], "code": code}
    assume(not any(digit in said for digit in "0123456789") and said.count("%") + said.count("&") < 3)
    printable = "".join(char if char.isprintable() else " " for char in said[:300]).strip()
    assert asyncio.run(shown(said, **call)) == (printable or None)


# --- parts

LONG: Final = "kN3vQ8xT1zR5wY7bC2mJ6hL0pD4sF9gAeUiOqWtXyVnBrKzMjHlPdSfGuEaIo"


async def test_twelve_characters_of_a_secret_are_one() -> None:
    """From anywhere in it, whatever stands beside them."""
    for start in range(len(LONG) - 11):
        part = LONG[start : start + 12]
        assert await shown(part, code=LONG) == GONE, start
        assert await shown(f"?{part}?", code=LONG) == GONE, start
        assert await shown(f"A{quote(part.lower())}A", code=LONG) == GONE, start


async def test_eight_characters_may_be_chance() -> None:
    """Wherever they stand in the secret; between eight and twelve it depends."""
    for start in range(len(LONG) - 7):
        said = f"it was {LONG[start : start + 8]}"
        assert await shown(said, code=LONG) == said, start


@pytest.mark.parametrize(
    ("secret", "spelled"),
    [
        ("abcdef+ghi/jkl+mnop", "abcdef+ghi%252Fjk"),
        ("abcdef ghi/jkl mnop", "abcdef%2Bghi%252Fjk"),
        ("abcdef<ghi>jkl&mnop", r"bcdef\u003cghi\u003ejk"),
        ("abcdef<ghi>jkl&mnop", "bcdef&amp;#60;ghi&amp;#x3E;jk"),
    ],
)
async def test_a_secret_cut_short_is_known_in_each_spelling(secret: str, spelled: str) -> None:
    """By twelve characters of it."""
    assert await shown(f"A: {spelled} (B)", code=secret) == GONE


@pytest.mark.parametrize(
    ("secret", "said", "is_shown"),
    [
        ("Li", "Dear Li, no", False),
        ("Li", "LI", False),
        ("Li", "Dear&nbsp;%4Ci!", False),
        ("Li", "A Livid lion, ali", True),
        ("Li", "Li1 1Li _Li", True),
        ("c", "no code", True),
        ("c", "(c)", False),
        ("abc", "abcd xabc 1abc abc1", True),
        ("abc", "abc-d", False),
        ("a-b", "it is a-b", False),
        ("a-b", "it is xa-b", True),
        ("abcd", "xabcdx", False),
        ("é", "née", False),
        ("王", "用户王小明不存在", False),
        ("--", "it is --", True),
        (" Ada ", "Dear Ada", False),
        (" Ada ", "Adam", True),
        ("Jo-Ann Zoé", "no user: Jo-Ann\nZoé", False),
        ("Jo-Ann  Zoé", "no user: Jo-Ann&nbsp;Zoé", False),
        ("I\u015f\u0131k", "I\u015eIK", False),
        ("İbrahim", "ibrahim", False),
        ("Zoë", "Zoe\u0308", False),
        ("𠮷野", "%u5409\\u{20bb7}野", False),
        ("-", "it  is - there", True),
        ("\ud83d\ude00?", "it was \U0001f600?", False),
    ],
)
async def test_a_short_secret_is_a_word(secret: str, said: str, is_shown: bool) -> None:
    """Up to three characters of ASCII stand in many words; four, and other scripts, never by chance."""
    user = json.dumps({"name": {"firstName": secret}})
    assert await shown(said, user=user) == (said if is_shown else GONE)


async def test_what_says_nothing_is_no_secret() -> None:
    """Neither white space nor flags, keys, nulls, fractions, small numbers, nor the provider."""
    user = '{"firstName": [" ", "", null, true, false, 12.75, 400], "a": {}}'
    for said in ("a b", "true false null", "firstName", "12.75", "apple", "E 0 1", "status 400"):
        assert await shown(said, user=user) == said


async def test_half_a_surrogate_pair_in_a_name_is_no_reason_to_fail() -> None:
    """JSON can spell what UTF-8 cannot, and a phone may send it."""
    user = '{"name": {"firstName": "\\ud800 & co", "lastName": "{\\ud800}"}}'
    assert await shown("no such person: x & co", user=user) == "no such person: x & co"
    assert await shown("no such person: \ud800 & co", user=user) == GONE


# --- tokens


@pytest.mark.parametrize(
    "token",
    [
        JWT,
        JWT[:30],
        JWT[:11],
        f"{'A' * 16}.{'B' * 16}.CC",
        f"{'A' * 16}.{'B' * 16}.",
        quote_plus(JWT[:11] + "/"),
        "x" + JWT,
    ],
)
async def test_a_token_that_was_never_ours_is_not_shown_either(token: str) -> None:
    """A service that quotes somebody's JWT in an error must not bring it into our logs."""
    assert await shown(f"it was {token} then") == GONE


@pytest.mark.parametrize(
    "said",
    [
        "eyJabcdefg",
        f"{'A' * 15}.{'B' * 16}.CC",
        f"{'A' * 16}.{'B' * 15}.CC",
        "docs.descope.com/a.b",
        "lookup auth-service.descope-prod.svc.cluster.local: no such host",
        "request.loginOptions.customClaims.x",
    ],
)
async def test_what_has_less_of_a_tokens_form_is_shown(said: str) -> None:
    """Host names and abbreviations are what support needs."""
    assert await shown(f"it was {said} then") == f"it was {said} then"


# --- what is shown


@pytest.mark.parametrize("length", [1, 299, 300, 301, 600, 601, 100_000])
async def test_a_text_is_cut_at_300_characters(length: int) -> None:
    """However long it is."""
    text = ("äöü" * length)[:length]
    assert await shown(text) == text[:300]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("  a  ", "a"),
        (" " * 299 + "ab", "a"),
        (" " * 300 + "a", None),
        ("", None),
        ("\x00", None),
        ("aaa\tb\u2028c\x00d", "aaa b c d"),
    ],
    ids=range(6),
)
async def test_what_cannot_be_printed_is_a_space(said: str, kept: str | None) -> None:
    """A log line stays one line."""
    assert await shown(said) == kept


@pytest.mark.parametrize("before", range(270, 302))
async def test_a_secret_on_the_edge_of_what_is_shown_is_not_shown_in_part(before: int) -> None:
    """What comes behind the edge is read as well."""
    said = "k" * before + " u: " + as_utf16_escapes("Zaphod Beeblebrox")
    user = json.dumps({"name": {"lastName": "Zaphod Beeblebrox"}})
    assert await shown(said, user=user) == GONE


async def test_what_is_far_behind_the_edge_is_not_read() -> None:
    """No text makes us read without an end."""
    assert await shown("k" * 588 + LONG, code=LONG) == GONE
    assert await shown("k" * 592 + LONG, code=LONG) == "k" * 300


# --- error codes, trace ids and hosts


@pytest.mark.parametrize(
    ("secret", "code", "ray"),
    [
        ("13", "E061301", "8f1e2d13-FRA"),
        ("FRA", "E061301", "8f1e2d13-FRA"),
        ("06130", "E061301", "8f106130-FRA"),
        ("061301", None, "8f1e2d13-FRA"),
        ("E061301", None, "8f1e2d13-FRA"),
        ("e061301", None, "8f1e2d13-FRA"),
        ("8f1e2", "E061301", "8f1e2d13-FRA"),
        ("8f1e2d", "E061301", None),
        ("12:8f1e2d13-FRA:x", "E061301", None),
        ("9e1c2d3c4b5a-6978-8f1e2d13-fra", "E061301", None),
    ],
)
async def test_it_takes_six_characters_to_drop_an_error_code_or_a_trace_id(
    secret: str, code: str | None, ray: str | None
) -> None:
    """All of a secret of six characters, or twelve of a longer one: fewer are chance."""
    said = {"errorCode": "E061301" if code is None else code}
    error = await refused(Answer(400, [("cf-ray", ray or "8f1e2d13-FRA")], to_json(said)), state_id=secret)
    assert (error.code, error.trace_id) == (code, ray)


@pytest.mark.parametrize(
    ("location", "code", "named"),
    [
        ("https://c0de-1.example/", "c0de-1", f"an address ({GONE})"),
        (
            "https://me@AuthCode-XyZ0123456789.example:8443/x",
            "AuthCode-XyZ0123456789",
            f"an address ({GONE})",
        ),
        ("https://xn--zo-ija.example/", "Zoë", f"an address ({GONE})"),
        ("https://other.example:8443/c0de-1?c0de-1", "c0de-1", "https://other.example:8443"),
        ("https://xn--bcher-kva.example/", "c0de-1", "https://xn--bcher-kva.example"),
        ("https://" + "u" * 2038 + "@bc.example/", "c0de-1", "https://b"),
    ],
    ids=["as it is", "in capitals", "in Punycode", "in the path", "without it", "of 2,048 characters"],
)
async def test_a_host_that_a_redirect_makes_of_the_code_is_not_shown(
    location: str, code: str, named: str
) -> None:
    """It is the one part of an address that an error names."""
    error = await refused(Answer(302, [("Location", location)]), code=code)
    assert isinstance(error, UnexpectedResponse)
    assert error.problem == f"the service redirected to {named}; not followed"


# --- any request, and any amount of it


@attrs.frozen
class Options:
    comment: str
    more: tuple[object, ...] = ()


@attrs.frozen
class Request:
    """Not one of ours."""

    shown: str
    hidden: object = attrs.field(default=None, repr=False)
    shortened: object = attrs.field(default=None, repr=lambda value: "…")


@pytest.mark.parametrize(
    "hidden",
    [
        "secret-1",
        ["secret-1"],
        ("x", ("secret-1",)),
        {"a": {"b": "secret-1"}},
        FrozenDict({"a": ("secret-1",)}),
        Options("secret-1"),
        Options("x", ({"a": Options("secret-1")},)),
        ' {"a": ["secret-1"]}',
        '["[\\"secret-1\\"]"]',
    ],
    ids=range(9),
)
@pytest.mark.parametrize("name", ["hidden", "shortened"])
def test_what_a_request_hides_from_its_repr_is_secret(name: str, hidden: object) -> None:
    """Of any request: what is nested in it, and what JSON text in it has, too."""
    redactor = Redactor(Request("not secret-2", **{name: hidden}), None)
    assert redactor.show("it was secret-1") == GONE
    assert redactor.show("it was secret-2") == "it was secret-2"
    assert redactor.finds_secret_in("a-secret-1")
    assert not redactor.finds_secret_in("a-secret-2")


@pytest.mark.parametrize(
    ("fits", "too_much"),
    [
        (["x" * 9216], ["x" * 9217]),
        (["x" * 9000, {"a": "y" * 216}], ["x" * 9000, {"a": "y" * 217}]),
        ([None] * 196, [None] * 197),
    ],
    ids=["one string", "two strings", "values"],
)
def test_more_than_can_be_compared_has_any_text_withheld(fits: object, too_much: object) -> None:
    """9 KiB of secrets, or 200 values: a phone sends a fraction of that, and the loop must not wait."""
    said = "none of these"
    assert Redactor(Request("", fits), None).show(said) == said
    redactor = Redactor(Request("", too_much, "E061301"), "secret-1")
    assert redactor.show(said) == GONE
    assert not redactor.show("")
    # Codes are compared all the same. Nobody can say what twelve characters are.
    assert [
        redactor.finds_secret_in(name) for name in ("E061300", "E061301", "8f1e2d13FRA", "8f1e2d13-FRA")
    ] == [
        False,
        True,
        False,
        True,
    ]


def test_a_text_that_is_escaped_too_often_is_withheld() -> None:
    """Three layers are read, and more where they are of one kind."""
    redactor = Redactor(Request(""), None)
    for layers, is_shown in ((9, True), (10, False)):
        said = "50%" + "25" * layers
        assert redactor.show(said) == (said if is_shown else GONE)


FACES: Final = "\U0001f600"
WORST: Final[dict[str, dict[str, Any]]] = {
    "one string many times": {"user": '{"a":[' + ",".join(['"\\"0/"'] * 580) + "]}"},
    "many strings": {"user": json.dumps({"a": [f'"{n:x}' for n in range(440)]}, separators=(",", ":"))},
    "as many strings as fit": {"user": json.dumps({"a": [f"{n:x}/{n:x}" for n in range(190)]})},
    "a long code": {"code": FACES * 65_536},
    "a code that fits": {"code": "".join(chr(97 + n * n % 26) for n in range(9000))},
    "numbers": {"code": "[" + "0," * 4000 + "0]", "state_id": "[" + "0," * 2000 + "0]"},
    "brackets": {"code": "[" * 65_536},
    "escapes": {"code": "%25\\u003c&lt;" * 900},
    "all at once": {"code": FACES * 600, "state_id": FACES * 599 + "/", "user": f'{{"a": "{FACES * 4000}"}}'},
    "names": {"user": AppleUser(given_name="/" * 4096, family_name=FACES * 600)},
}


def least_time(work: Callable[[], object]) -> float:
    taken: list[float] = []
    for _ in range(5):
        started = time.thread_time()
        work()
        taken.append(time.thread_time() - started)
    return min(taken)


@pytest.mark.parametrize("name", WORST)
def test_no_phone_can_hold_up_the_loop(name: str) -> None:
    """Two texts and two names cost less than cutting 32 KiB into pieces, whatever the request is."""

    request = FinishRequest(**{"provider": "apple", "state_id": "state", "code": "code", **WORST[name]})
    text = "x" * 32_768

    def redact() -> None:
        redactor = Redactor(request, KEY)
        for _ in ("errorDescription", "errorMessage"):
            redactor.show(("authorization%2Fcode+x " * 30)[:600])
        redactor.finds_secret_in("E061301")
        redactor.finds_secret_in("8f1e2d13-FRA")

    assert least_time(redact) < least_time(lambda: {text[at : at + 12] for at in range(len(text))})
