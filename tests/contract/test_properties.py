"""Properties: for any answer at all, a result or a documented error, and nothing else."""

import asyncio
import json
from typing import Any

import attrs
from hypothesis import example, given
from hypothesis import strategies as st
from kit.support import GOOGLE, PROJECT, STATE, assert_deeply_frozen, session
from kit.tables import IDP, TENANT, TOP, USER

from descope_native import (
    FinishResult,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    Outcome,
    RateLimitedError,
    ResponseError,
    UnexpectedResponse,
)
from descope_native.converters import make_converter

converter = make_converter()

# --- what to try


texts = st.text(st.characters(codec="utf-8"), max_size=20)
octets = st.sampled_from([chr(octet) for octet in range(0x21, 0x7F) if chr(octet) not in '",;\\'])
tokens = st.text(octets, min_size=1, max_size=40)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, json_values, max_size=3)

KINDS: dict[str, st.SearchStrategy[Any]] = {
    "session": tokens,
    "token": tokens | st.just("") | st.none(),
    "string": texts | st.none(),
    "integer": st.integers(),
    "boolean": st.booleans(),
    "boolean or unknown": st.booleans(),
    "strings": st.lists(texts, max_size=3),
    "flags": st.dictionaries(texts, st.booleans(), max_size=3) | st.none(),
    "object": objects | st.none(),
    "object or false": objects | st.none() | st.just(False),
}


def shaped(table: dict[str, tuple[str, str]], **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Any object that a table of the contract allows, with any unknown keys beside it."""
    fields = {key: KINDS[kind] for key, (_, kind) in table.items() if kind in KINDS} | more
    required = {key: fields.pop(key) for key, (_, kind) in table.items() if kind == "session"}
    known = st.fixed_dictionaries(required, optional=fields)
    unknown = st.dictionaries(texts.filter(lambda key: key not in table), json_values, max_size=2)
    return st.builds(lambda known, unknown: {**unknown, **known}, known, unknown)


tenants = shaped(TENANT)
users = shaped(USER, userTenants=st.lists(tenants, max_size=2))
answers = shaped(TOP, user=users | st.none(), idpResponse=shaped(IDP) | st.none())

# Anything at all under the keys of the contract: right, wrong, missing, unknown.
anything_under = {
    level: st.dictionaries(st.sampled_from([*table, "unknown", ""]) | texts, json_values, max_size=6)
    for level, table in {"top": TOP, "user": USER, "tenant": TENANT, "idp": IDP}.items()
}
odd_tenants = st.lists(anything_under["tenant"] | json_values, max_size=2)
odd_users = st.builds(
    lambda user, tenants: {**user, "userTenants": tenants}, anything_under["user"], odd_tenants
)
odd_answers = st.builds(
    lambda top, token, user, idp: {**top, "sessionJwt": token, "user": user, "idpResponse": idp},
    anything_under["top"],
    tokens,
    odd_users | json_values,
    anything_under["idp"] | json_values,
)

# Bytes that are no UTF-8 come out of aiohttp as lone surrogates.
surrogates = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"])
header_texts = (
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF) | surrogates, max_size=60) | texts
)
header_pairs = st.tuples(
    st.sampled_from(["Set-Cookie", "Content-Encoding", "cf-ray", "Retry-After", "Location", "Content-Type"]),
    header_texts,
)


# --- how to try it


def finish(answer: HttpResponse, **options: Any) -> FinishResult:
    async def call() -> FinishResult:
        transport = InMemoryTransport(lambda _: answer)
        return await NativeOAuthFinisher(PROJECT, transport, **options).finish(**GOOGLE)

    return asyncio.run(call())


def result_or_error(answer: HttpResponse, **options: Any) -> FinishResult | ResponseError:
    """What a finisher makes of it. Anything but the two fails the test by being raised."""
    try:
        result = finish(answer, **options)
    except ResponseError as error:
        check_error(error, answer.status)
        return error
    assert_deeply_frozen(result)
    assert hash(result) == hash(converter.structure(converter.unstructure(result), FinishResult))
    return result


def check_error(error: ResponseError, status: int) -> None:
    assert error.status == status
    rejected = 400 <= status < 500 and status not in {408, 499}
    assert error.outcome is (Outcome.REJECTED if rejected else Outcome.UNKNOWN)
    assert STATE not in f"{error} {error!r} {vars(error)}"


def as_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


# --- what holds


@given(answers)
def test_any_answer_of_the_contracts_shape_survives_a_round_trip(answer: dict[str, Any]) -> None:
    """Answer to result to JSON to result: nothing lost, nothing to remark, nothing that is no JSON."""
    result = finish(HttpResponse(200, (), as_bytes(answer)), strict=True)
    wire = json.loads(json.dumps(converter.unstructure(result)))
    assert converter.structure(wire, FinishResult) == result
    assert_deeply_frozen(result)
    for key, value in answer.items():
        if key not in TOP or TOP[key][1] in {"session", "integer", "boolean", "boolean or unknown"}:
            assert wire[key] == value


@given(odd_answers)
def test_any_answer_with_a_session_is_a_result(answer: dict[str, Any]) -> None:
    """Whatever else is in it; what was kept is of the contract's types, and strict decoding agrees."""
    result = result_or_error(HttpResponse(200, (), as_bytes(answer)))
    assert isinstance(result, FinishResult)
    assert result.session_jwt == answer["sessionJwt"]
    again = finish(HttpResponse(200, (), as_bytes(converter.unstructure(result))), strict=True)
    assert again == result
    assert {type(drift.path) for drift in result.drift} <= {str}
    strictly = result_or_error(HttpResponse(200, (), as_bytes(answer)), strict=True)
    assert isinstance(strictly, UnexpectedResponse if result.drift else FinishResult)


@given(st.binary(max_size=200) | json_values.map(as_bytes) | odd_answers.map(as_bytes))
@example(b"")
@example(b"[" * 100_000)
@example(b'{"sessionJwt": "s", "x": ' + b"9" * 5000 + b"}")
@example(b'{"sessionJwt": "\\ud800"}')
@example(b'{"sessionJwt": "s", "user": {"name": "\\ud800"}}')
def test_any_bytes_as_a_200_end_in_a_result_or_a_documented_error(body: bytes) -> None:
    """Nothing else comes out."""
    made = result_or_error(HttpResponse(200, (), body))
    assert isinstance(made, FinishResult | UnexpectedResponse)


@given(answers.map(as_bytes), st.data())
def test_any_damage_to_an_answer_does_no_more(body: bytes, data: st.DataObject) -> None:
    """Cut, spliced or with a byte changed, it is a result or a documented error."""
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 5)))
    damaged = body[:start] + data.draw(st.binary(max_size=5)) + body[end:]
    assert isinstance(result_or_error(HttpResponse(200, (), damaged)), FinishResult | UnexpectedResponse)


@given(
    st.integers(100, 999),
    st.lists(header_pairs, max_size=4),
    st.binary(max_size=50) | json_values.map(as_bytes),
)
def test_any_status_with_any_headers_and_body_is_a_result_or_an_error(
    status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    """And only a 2xx is ever a result."""
    made = result_or_error(HttpResponse(status, headers, body))
    assert isinstance(made, ResponseError) or 200 <= status < 300


ATTRIBUTES = ["Max-Age", "Expires", "Domain", "Path", "HttpOnly", "", "max-age ", "EXPIRES"]
DATES = [
    "Wed, 01 Jan 2110 00:00:00 GMT",
    "Thu, 01-Jan-1970 00:00:01 GMT",
    "Wed, 01 Jan 2110 00:00:00 +9999",
    "0 Jan 0 0:0:0 0",
    "Mon, 99 Xxx 99999 99:99 Q",
]
attributes = st.builds(
    lambda name, equals, value: name + equals + value,
    st.sampled_from(ATTRIBUTES),
    st.sampled_from(["=", "", " = ", "=="]),
    header_texts | st.sampled_from(DATES) | st.integers().map(str),
)
cookie_lines = header_texts | st.builds(
    lambda name, value, attributes: ";".join([f"{name}={value}", *attributes]),
    st.sampled_from(["DS", "DSR", " DS", "ds"]),
    tokens | header_texts,
    st.lists(attributes, max_size=4),
)


@given(st.lists(cookie_lines, max_size=4))
def test_any_set_cookie_lines_do_no_harm(lines: list[str]) -> None:
    """What comes out of them is a token that may stand in a header, or nothing."""
    answer = HttpResponse(200, [("Set-Cookie", line) for line in lines], b"{}")
    made = result_or_error(answer)
    if isinstance(made, FinishResult):
        for token in filter(None, (made.session_jwt, made.refresh_jwt)):
            assert any(token in line for line in lines)
            assert not set(token) & set('",;\\ \t\r\n\x00\x7f')
            assert token.isascii()


dates = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Mon", "Sun", "Xxx", "Sunday"]),
    st.sampled_from(["01", "31", "00", "1", "99"]),
    st.sampled_from(["Jan", "Feb", "Dec", "jan", "13"]),
    st.integers(0, 99999).map(lambda year: f"{year:04}"),
    *[st.sampled_from(["00", "23", "24", "59", "60", "99"])] * 3,
    st.sampled_from(["GMT", "UTC", "+0000", "-9999", ""]),
)


@given(st.lists(header_texts | dates | st.integers().map(str), max_size=2))
@example(["9" * 5000])
@example([" \t" * 100])
def test_any_retry_after_is_seconds_or_nothing(values: list[str]) -> None:
    """Between 0 and an hour, and never an exception."""
    error = result_or_error(HttpResponse(429, [("Retry-After", value) for value in values]))
    assert isinstance(error, RateLimitedError)
    assert error.retry_after is None or 0 <= error.retry_after <= 3600


said = st.dictionaries(
    st.sampled_from(["errorCode", "errorDescription", "errorMessage"]),
    json_values
    | texts
    | st.text(max_size=400)
    | st.just(STATE)
    | texts.map(lambda text: text + STATE + text),
)


@given(st.integers(300, 599), said)
def test_any_error_body_is_quoted_safely(status: int, body: dict[str, Any]) -> None:
    """One printable line of bounded length, and without what we had to keep secret."""
    error = result_or_error(HttpResponse(status, (), as_bytes(body)))
    assert isinstance(error, ResponseError)
    for text in (error.code, error.description, error.message):
        assert text is None or (text.isprintable() and 0 < len(text) <= 300)
    assert str(error).isprintable()
    assert "\n" not in str(error)


def sent_or_refused(project_id: str, **options: Any) -> HttpRequest | None:
    """What a call hands to its transport, or None where no finisher can be made of this."""

    async def call() -> HttpRequest | None:
        transport = InMemoryTransport(lambda _: HttpResponse(200, (), session().body))
        try:
            finisher = NativeOAuthFinisher(project_id, transport, **options)
        except InvalidRequestError:
            assert transport.requests == []
            return None
        await finisher.finish(**GOOGLE)
        (request,) = transport.requests
        return request

    return asyncio.run(call())


hosts = st.sampled_from(
    ["api.descope.com", "localhost", "127.0.0.1", "[::1]", "evil.example", "xn--nxasmq6b", ""]
)
urls = texts | st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from(["https://", "http://", "HTTP:", "//", "javascript:", ""]),
    st.sampled_from(["", "user@", "a:b@", "@", ":@"]),
    hosts,
    st.sampled_from(["", ":", ":8080", ":0", ":99999", ":x"]),
    texts.map(lambda text: "/" + text) | st.sampled_from(["", "/", "/a/", "?", "#", "/%zz", "/..", "\\x"]),
)


@given(urls)
def test_any_base_url_is_refused_or_safe(base_url: str) -> None:
    """Where it is taken, the request goes to that very host, over TLS or within this machine."""
    request = sent_or_refused(PROJECT, base_url=base_url)
    if request is not None and base_url:  # what is empty was not given
        url = request.url
        assert url.path.endswith("/v1/auth/oauth/native/finish")
        assert (url.user, url.password, url.query_string, url.fragment) == (None, None, "", "")
        assert url.host is not None
        assert str(url.raw_host).lower() in base_url.lower()
        assert url.scheme == "https" or url.host in {"localhost", "127.0.0.1", "::1"}


project_ids = texts | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7F), max_size=50)


@given(project_ids)
def test_any_project_id_is_refused_or_safe(project_id: str) -> None:
    """Where it is taken, the host is the vendor's and the headers are one line each."""
    request = sent_or_refused(project_id)
    if request is not None:
        assert str(request.url.host).endswith("descope.com")
        assert len(str(request.url.host).split(".")) in {3, 4}
        for value in request.headers.values():
            assert value.isascii()
            assert value.isprintable()


arguments = st.fixed_dictionaries(
    {
        "provider": st.text() | json_values,
        "state_id": st.text() | json_values,
    },
    optional={
        "code": st.text() | json_values,
        "id_token": st.text() | json_values,
        "user": st.text() | json_values | json_values.map(json.dumps),
        "timeout": json_values,
    },
)


@given(arguments)
def test_any_arguments_are_refused_or_sent_as_they_are(arguments: dict[str, Any]) -> None:
    """What is sent is valid JSON in UTF-8 that says what was given; what is refused is not."""

    async def call() -> tuple[list[HttpRequest], bool]:
        transport = InMemoryTransport(lambda _: HttpResponse(200, (), session().body))
        try:
            await NativeOAuthFinisher(PROJECT, transport).finish(**arguments)
        except InvalidRequestError:
            return transport.requests, False
        return transport.requests, True

    requests, taken = asyncio.run(call())
    if not taken:
        assert requests == []
        return
    (request,) = requests
    wire = {"state_id": "stateId", "id_token": "idToken"}
    said = {wire.get(name, name): value for name, value in arguments.items() if value not in (None, "")}
    said.pop("timeout", None)
    if said.get("user") in {"null", "{}"}:  # nor was a user without a name
        del said["user"]
    assert json.loads(request.body.decode()) == said


def test_the_strategies_know_every_kind() -> None:
    """No field of the contract is left out of the answers that are tried."""
    kinds = {kind for table in (TOP, USER, TENANT, IDP) for _, kind in table.values()}
    assert kinds - {"class", "classes"} == KINDS.keys()
    assert attrs.fields_dict(FinishResult).keys() - {"extra", "drift"} == {name for name, _ in TOP.values()}
