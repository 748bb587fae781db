"""The error tree: what each error proves, that it travels, and that it gives nothing away."""

import copy
import json
import pickle
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from kit.errors import NAMES_OF_PROOFS, NOT_SENT, PROOFS, SAID, UNKNOWN
from kit.support import Answer, Answering, as_json

from descope_native import (
    AppleUser,
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    Outcome,
    ProjectRejectedError,
    RateLimitedError,
    RejectedError,
    RequestTimeout,
    ResponseError,
    ServerError,
    TLSError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
    errors,
)

TREE = {
    DescopeNativeError: (Exception,),
    InvalidRequestError: (DescopeNativeError, ValueError),
    TransportError: (DescopeNativeError,),
    ConnectError: (TransportError,),
    TLSError: (ConnectError,),
    RequestTimeout: (TransportError, TimeoutError),
    ConnectionLost: (TransportError,),
    TransportClosed: (TransportError,),
    ResponseError: (DescopeNativeError,),
    RejectedError: (ResponseError,),
    ProjectRejectedError: (RejectedError,),
    RateLimitedError: (RejectedError,),
    ServerError: (ResponseError,),
    UnexpectedResponse: (ResponseError,),
}

each_error = pytest.mark.parametrize("make", [make for make, *_ in PROOFS], ids=NAMES_OF_PROOFS)


def test_the_tree_is_this() -> None:
    """Each class has exactly these bases, and no error was forgotten here or in the docstring."""
    public = [getattr(errors, name) for name in errors.__all__]
    assert {
        cls: cls.__bases__ for cls in public if isinstance(cls, type) and issubclass(cls, Exception)
    } == TREE
    assert errors.__doc__ is not None
    drawn = [line.strip(" │├└─").split()[0] for line in errors.__doc__.splitlines() if line[:4] == "    "]
    assert drawn == [cls.__name__ for cls in TREE]
    assert {type(make()) for make, *_ in PROOFS} == set(TREE)


@pytest.mark.parametrize(
    ("make", "outcome", "safe_to_retry"),
    PROOFS,
    ids=NAMES_OF_PROOFS,
)
def test_each_error_proves_this(
    make: Callable[[], DescopeNativeError], outcome: Outcome, safe_to_retry: bool
) -> None:
    """The outcome is read off what is known, and nothing is safe to retry that might be spent."""
    error = make()
    assert error.outcome is outcome
    assert error.safe_to_retry is safe_to_retry
    assert not (error.safe_to_retry and error.outcome is UNKNOWN)


@each_error
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_each_error_survives_pickling(make: Callable[[], DescopeNativeError], protocol: int) -> None:
    """A process pool or a task queue hands on all of it: type, facts, text, outcome."""
    error = make()
    assert_same(pickle.loads(pickle.dumps(error, protocol)), error)


@each_error
def test_each_error_can_be_copied(make: Callable[[], DescopeNativeError]) -> None:
    """By whoever wants to raise it elsewhere."""
    error = make()
    assert_same(copy.copy(error), error)
    assert_same(copy.deepcopy(error), error)


def assert_same(twin: DescopeNativeError, error: DescopeNativeError) -> None:
    assert type(twin) is type(error)
    assert twin is not error
    assert vars(twin) == vars(error)
    assert twin.args == error.args
    assert str(twin) == str(error)
    assert repr(twin) == repr(error)
    assert (twin.outcome, twin.safe_to_retry) == (error.outcome, error.safe_to_retry)


def test_the_text_says_what_to_know() -> None:
    """One line: what happened, how far it got, and what it proves."""
    texts = {
        InvalidRequestError("provider is empty"): "provider is empty",
        ConnectError("dns", "no such host"): "no such host [phase connect, outcome not_sent]",
        TLSError("expired"): "expired [phase connect, outcome not_sent]",
        RequestTimeout("wait", 15.0): "no answer within 15 s [phase wait, outcome unknown]",
        RequestTimeout("pool", 0.0501): "no free connection within 0.0501 s [phase pool, outcome not_sent]",
        RequestTimeout("connect", 5): "no connection within 5 s [phase connect, outcome not_sent]",
        RequestTimeout("send", 5): "the request was not sent within 5 s [phase send, outcome unknown]",
        RequestTimeout("read", 5): "no whole answer within 5 s [phase read, outcome unknown]",
        ConnectionLost("read", "cut"): "cut [phase read, outcome unknown]",
        RejectedError(400, *SAID): (
            "the service answered 400: E061301; A description; A message [outcome rejected, cf-ray ray-1]"
        ),
        RejectedError(404): "the service answered 404 [outcome rejected]",
        ServerError(503, message="soon"): "the service answered 503: soon [outcome unknown]",
        UnexpectedResponse(200, "not JSON", "ray-1"): "not JSON [status 200, outcome unknown, cf-ray ray-1]",
        UnexpectedResponse(0, "not HTTP"): "not HTTP [status 0, outcome unknown]",
    }
    assert {error: str(error) for error in texts} == texts


async def test_a_call_that_got_no_answer_names_whom_it_called() -> None:
    """Host and port, whatever the transport knows of them; also after pickling."""

    def refuse(_: HttpRequest) -> HttpResponse:
        raise ConnectionRefusedError

    finisher = NativeOAuthFinisher("P2", InMemoryTransport(refuse), base_url="https://a.example:8443/x")
    with pytest.raises(ConnectError) as caught:
        await finisher.finish(provider="google", state_id="s", id_token="t")
    for error in caught.value, pickle.loads(pickle.dumps(caught.value)):
        assert error.address == "a.example:8443"
        assert str(error).endswith("[a.example:8443, phase connect, outcome not_sent]")


def test_each_error_keeps_its_facts() -> None:
    """Under the names that the documentation gives, and in `args`, as any exception."""
    assert InvalidRequestError("x").args == ("x",)
    assert ConnectionLost("read", "x").args == ("read", "x")
    assert ServerError(500, *SAID).args == (500, *SAID)
    assert (
        vars(ConnectError("dns", "x")).items()
        >= {"reason": "dns", "phase": "connect", "problem": "x"}.items()
    )
    assert vars(TLSError("x")).items() >= {"reason": "tls", "phase": "connect", "problem": "x"}.items()
    assert not TLSError("x").safe_to_retry
    assert vars(RequestTimeout("pool", 1.5)).items() >= {"phase": "pool", "seconds": 1.5}.items()
    said = {"trace_id": "ray-1", "code": "E061301", "description": "A description", "message": "A message"}
    assert vars(ServerError(500, *SAID)) == {"status": 500, **said}
    limited = RateLimitedError(429, *SAID, retry_after=10.0)
    assert vars(limited) == {"status": 429, **said, "retry_after": 10.0}
    nothing_said = dict.fromkeys(("code", "description", "message"))
    odd = UnexpectedResponse(302, "x", "ray-1")
    facts = {"status": 302, "problem": "x", "trace_id": "ray-1", "is_damaged": False}
    assert vars(odd) == {**facts, **nothing_said}


@pytest.mark.parametrize("travel", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_timeout_has_no_number_of_the_system(travel: Callable[[RequestTimeout], RequestTimeout]) -> None:
    """It is a TimeoutError, and so an OSError, whose first two arguments would be `errno` and `strerror`."""
    for error in (RequestTimeout("wait", 1.5), travel(RequestTimeout("wait", 1.5))):
        assert isinstance(error, OSError)
        assert (error.errno, error.strerror, error.filename) == (None, None, None)
        assert error.args == ("wait", 1.5)


def test_an_outcome_cannot_be_argued_with() -> None:
    """It is derived from facts, and nobody can set it."""
    with pytest.raises(AttributeError):
        ConnectionLost("wait", "x").outcome = NOT_SENT  # type: ignore[misc]


# --- what the service quotes

GOOGLE_CODE = "4/0AX4XfWh-q_Z9+Kd7=b8c%2Fd1e2f3a4b5c6d7e8f9"
APPLE_CODE = "c8f3a1b2d4e5f60718293a4b5c6d7e8f9.0.mrqs.XyZ-abc_DEF"
SPACED_CODE = "a b c d e f g h i j k l m n o p"
KEY = "K2aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789"
STATE = "state/with+odd=chars&more;to:come"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJlbWFpbCI6ImFkYUBleGFtcGxlLmNvbSJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
NAMES = AppleUser(given_name="Zoë Anne-Marie", middle_name="O'Łuk", family_name='Quote" Back\\slash')
USER_TEXT = json.dumps(
    {"name": {"firstName": "Grace Brewster", "lastName": "Höpper"}, "more": [["Vassar College"], 5, None]}
)

SPELLINGS: dict[str, Any] = {
    "as it is": lambda text: text,
    "within a word": lambda text: f"code={text};",
    "quoted": quote,
    "quoted wholly": lambda text: quote(text, safe=""),
    "quoted in lower case": lambda text: "".join(
        part.lower() if part.startswith("%") else part for part in _quoted_parts(text)
    ),
    "quoted as a form": quote_plus,
    "quoted twice": lambda text: quote(quote(text, safe=""), safe=""),
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in UTF-8 JSON": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "in JSON twice": lambda text: json.dumps(json.dumps(text))[3:-3],
}
CUTS: dict[str, Any] = {
    "its head": lambda text: text[: len(text) * 2 // 3],
    "its tail": lambda text: text[len(text) // 3 :],
    "its middle": lambda text: text[len(text) // 6 : -len(text) // 6],
    "with an ellipsis": lambda text: f"{text[:14]}...",
    "twelve characters": lambda text: text[13:25],
}


def _quoted_parts(text: str) -> list[str]:
    quoted = quote(text, safe="")
    parts = []
    while quoted:
        length = 3 if quoted[0] == "%" else 1
        parts.append(quoted[:length])
        quoted = quoted[length:]
    return parts


CALLS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a Google code": ({"code": GOOGLE_CODE}, [GOOGLE_CODE]),
    "an Apple code": ({"code": APPLE_CODE}, [APPLE_CODE]),
    "a code with spaces": ({"code": SPACED_CODE}, [SPACED_CODE]),
    "an id token": ({"id_token": JWT}, [JWT]),
    "a state": ({"code": "c", "state_id": STATE}, [STATE]),
    "the key": ({"code": "c"}, [KEY]),
    "names": (
        {"code": "c", "user": NAMES},
        ["Zoë Anne-Marie", "O'Łuk", 'Quote" Back\\slash'],
    ),
    "a user's text": (
        {"code": "c", "user": USER_TEXT},
        [USER_TEXT, "Grace Brewster", "Höpper", "Vassar College"],
    ),
}


async def assert_redacted(answering: Answering, arguments: dict[str, Any], echoes: list[str]) -> None:
    call = {"provider": "apple", "state_id": "state-of-this-test", **arguments}
    said = [{"errorDescription": f"bad: {echo} !", "errorMessage": echo} for echo in echoes]
    answers = [Answer(400, body=as_json(each)) for each in said]
    async with answering(*answers, auth_management_key=KEY) as service:
        for echo in echoes:
            with pytest.raises(RejectedError) as caught:
                await service.finish(**call)
            assert echo not in str(caught.value)
            assert echo not in repr(caught.value)
            assert echo not in str(vars(caught.value))
            assert "[redacted]" in str(caught.value.description)
            assert str(caught.value.description).startswith("bad: ")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_what_the_service_quotes_is_blacked_out(answering: Answering, call: str, spelling: str) -> None:
    """However a service escapes what it was sent, no error's text, repr or attribute has it."""
    arguments, secrets = CALLS[call]
    await assert_redacted(answering, arguments, [SPELLINGS[spelling](secret) for secret in secrets])


@pytest.mark.parametrize("call", ["a Google code", "an Apple code", "an id token", "a state", "the key"])
@pytest.mark.parametrize("cut", CUTS)
async def test_what_the_service_cuts_short_is_blacked_out(answering: Answering, call: str, cut: str) -> None:
    """Twelve characters in a row of a secret are enough to recognise it."""
    arguments, secrets = CALLS[call]
    await assert_redacted(answering, arguments, [CUTS[cut](secret) for secret in secrets])


async def test_a_token_that_was_never_ours_is_blacked_out_too(answering: Answering) -> None:
    """A service that quotes somebody's JWT in an error must not bring it into our logs."""
    await assert_redacted(answering, {"code": "c"}, [JWT])


async def test_each_of_many_occurrences_is_blacked_out(answering: Answering) -> None:
    """A service that repeats itself is blacked out as often, and what stands between stays."""
    said = {"errorMessage": f"1 {SPACED_CODE} 2 {SPACED_CODE}{SPACED_CODE} 3 {SPACED_CODE}. {JWT} {JWT}"}
    async with answering(Answer(400, body=as_json(said))) as service:
        with pytest.raises(RejectedError) as caught:
            await service.finish(provider="apple", state_id="state-of-this-test", code=SPACED_CODE)
    assert str(caught.value.message).replace("[redacted]", "#") in {"1 # 2 ## 3 #. # #", "1 # 2 # 3 #. # #"}


@pytest.mark.parametrize(
    ("length", "shown"), [(299, 299), (300, 300), (301, 300), (600, 300), (601, 300), (100_000, 300)]
)
async def test_a_text_is_cut_where_no_secret_can_be(answering: Answering, length: int, shown: int) -> None:
    """At 300 characters, after four times as many have been looked at."""
    text = "äöü" * (length // 3) + "x" * (length % 3)
    async with answering(Answer(400, body=as_json({"errorMessage": text}))) as service:
        with pytest.raises(RejectedError) as caught:
            await service.finish(provider="apple", state_id="state-of-this-test", code="a-code")
    assert caught.value.message == text[:shown]


async def test_the_rest_of_the_text_stays(answering: Answering) -> None:
    """Blacking out is for what is secret only: the person who debugs needs the words around it."""
    said = {
        "errorCode": "E061301",
        "errorDescription": f"The code {APPLE_CODE} was redeemed at https://docs.descope.com/errors-and-more",
    }
    async with answering(Answer(400, body=as_json(said))) as service:
        with pytest.raises(RejectedError) as caught:
            await service.finish(provider="apple", state_id="state-of-this-test", code=APPLE_CODE)
    assert caught.value.code == "E061301"
    assert caught.value.description == (
        "The code [redacted] was redeemed at https://docs.descope.com/errors-and-more"
    )


@pytest.mark.parametrize("code", ["E061301", "state-1"])
async def test_a_secret_in_the_code_or_the_trace_id_drops_them(answering: Answering, code: str) -> None:
    """There is no half of an error code or of a trace id."""
    answer = Answer(400, [("cf-ray", code)], as_json({"errorCode": code}))
    async with answering(answer) as service:
        with pytest.raises(RejectedError) as caught:
            await service.finish(provider="apple", state_id=code, code="a-code")
    assert caught.value.code is None
    assert caught.value.trace_id is None
    assert code not in repr(caught.value)


async def test_a_secret_in_a_redirects_host_is_blacked_out(answering: Answering) -> None:
    """The one part of an address that we do name."""
    async with answering(Answer(302, [("Location", f"https://{KEY.lower()}.example/")])) as service:
        with pytest.raises(UnexpectedResponse, match="redirected") as caught:
            await service.finish(provider="apple", state_id="s", code=KEY.lower())
    assert KEY.lower() not in str(caught.value)
    assert "[redacted]" in str(caught.value)


@pytest.mark.parametrize(
    ("secret", "said", "shown"),
    [
        ("c", "c: a code (c) can be cut, c", "[redacted]: a code ([redacted]) can be cut, [redacted]"),
        ("abc", "abc abcd xabc 1abc abc1 abc.", "[redacted] abcd xabc 1abc abc1 [redacted]."),
        ("é", "é née", "[redacted] née"),
        ("abcd", "abcd xabcdx", "[redacted] x[redacted]x"),
        ("a&b;c:d,e f|g", "it was b;c:d,e f|g!", "it was b;c:d,e f|g!"),
        ("a&b;c:d,e f|g", "it was &b;c:d,e f|g!", "it was [redacted]!"),
        ("0123456789ab/cd", "x123456789ab%2Fcd x", "[redacted] x"),
        ("0123456789ab/cd", "x456789ab%252Fcd%252F x", "x456789ab%252Fcd%252F x"),
        ("0123456789 bcd", "x123456789+bcd. x", "[redacted] x"),
    ],
)
async def test_a_short_secret_costs_no_other_words(
    answering: Answering, secret: str, said: str, shown: str
) -> None:
    """Up to three characters are a word or chance; of a longer one, twelve in a row are told."""
    async with answering(Answer(400, body=as_json({"errorDescription": said}))) as service:
        with pytest.raises(RejectedError) as caught:
            await service.finish(provider="apple", state_id="state-of-this-test", code=secret)
    assert caught.value.description == shown


@pytest.mark.parametrize(
    ("secret", "code", "ray"),
    [
        ("13", "E061301", "8f1e2d13-FRA"),
        ("06130", "E061301", "8f106130-FRA"),
        ("061301", None, "8f1e2d13-FRA"),
        ("8f1e2d", "E061301", None),
        ("12:8f1e2d13-FRA:x", "E061301", None),
        ("12:8f1e2d13-FR", "E061301", "8f1e2d13-FRA"),
    ],
)
async def test_what_support_asks_for_is_no_secret_by_chance(
    answering: Answering, secret: str, code: str | None, ray: str | None
) -> None:
    """It takes a secret of six characters, or twelve characters of one, to drop a code or a trace id."""
    answer = Answer(400, [("cf-ray", ray or "8f1e2d13-FRA")], as_json({"errorCode": code or "E061301"}))
    async with answering(answer) as service:
        with pytest.raises(RejectedError) as caught:
            await service.finish(provider="apple", state_id="state-of-this-test", code=secret)
    assert (caught.value.code, caught.value.trace_id) == (code, ray)


FACES = "\U0001f600"
MANY_STRINGS = json.dumps({"a": [f'"{number:x}' for number in range(440)]}, separators=(",", ":"))


@pytest.mark.parametrize(
    "arguments",
    [
        {"code": "a-code", "user": '{"a":[' + ",".join(['"\\"0/"'] * 580) + "]}"},
        {"code": "a-code", "user": MANY_STRINGS},
        {"code": FACES * 65_536},
        {"code": FACES * 600, "state_id": FACES * 599 + "/", "user": f'{{"a": "{FACES * 4000}"}}'},
        {"code": "c", "user": AppleUser(given_name="/" * 4096, family_name=FACES * 600)},
    ],
    ids=["one string many times", "many strings", "a long code", "all at once", "names"],
)
async def test_no_phone_can_hold_up_the_loop(
    answering: Answering, caplog: pytest.LogCaptureFixture, arguments: dict[str, Any]
) -> None:
    """Looking for what a request had takes milliseconds, however its secrets are made."""
    said = ("authorization%2Fcode+x " * 30)[:599]
    refusal = Answer(400, [("cf-ray", "8f1e2d13-FRA")], as_json(dict.fromkeys(TEXTS, said)))
    call = {"provider": "apple", "state_id": "state-of-this-test", **arguments}
    caplog.set_level("INFO")
    async with answering(refusal) as service:
        started = time.thread_time()
        with pytest.raises(RejectedError) as caught:
            await service.finish(**call)
        assert time.thread_time() - started < 0.3  # a tenth of that here, and seconds without our care
    assert caught.value.trace_id == "8f1e2d13-FRA"
    assert caught.value.description
    assert "authorization" in caught.value.description


TEXTS = ("errorDescription", "errorMessage")


def test_an_outcome_is_the_string_of_its_value() -> None:
    """A log, JSON and a comparison take it as it is."""
    assert [str(outcome) for outcome in Outcome] == ["not_sent", "rejected", "unknown"]
    assert json.dumps({"outcome": Outcome.NOT_SENT}) == '{"outcome": "not_sent"}'
    assert Outcome("rejected") is Outcome.REJECTED
