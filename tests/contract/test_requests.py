"""What goes over the wire, and what does not, over both transports."""

import json
import platform
import string
from typing import Any

import pytest
from kit.support import APPLE, CODE, DATA, GOOGLE, ID_TOKEN, PROJECT, STATE, Answer, Answering, only, session

from descope_native import (
    AppleUser,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    Outcome,
    RejectedError,
    __version__,
)

ADA = AppleUser(given_name="Ada", middle_name="King", family_name="Lovelace")
LONG_STRING = "x" * 65_536
NOT_TEXT: list[Any] = [
    None,
    "",
    " ",
    "\t\r\n",
    0,
    1,
    True,
    b"bytes",
    ["list"],
    {"a": 1},
    "lone \ud800 surrogate",
]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            {"provider": "google", "state_id": STATE, "id_token": ID_TOKEN},
            {"provider": "google", "stateId": STATE, "idToken": ID_TOKEN},
        ),
        (
            {"provider": "apple", "state_id": STATE, "code": CODE},
            {"provider": "apple", "stateId": STATE, "code": CODE},
        ),
        (
            {"provider": "My-Custom Provider/ü", "state_id": " odd but kept ", "code": "日本 \"'\\\n\x00"},
            {"provider": "My-Custom Provider/ü", "stateId": " odd but kept ", "code": "日本 \"'\\\n\x00"},
        ),
        (
            {"provider": "p", "state_id": "s", "code": LONG_STRING},
            {"provider": "p", "stateId": "s", "code": LONG_STRING},
        ),
        (
            {"provider": "apple", "state_id": STATE, "code": CODE, "user": '{"name": {"firstName":"Ada"}}'},
            {"provider": "apple", "stateId": STATE, "code": CODE, "user": '{"name": {"firstName":"Ada"}}'},
        ),
    ],
    ids=["id token", "code", "odd text", "long", "user text"],
)
async def test_the_body_is_exactly_what_was_given(
    answering: Answering, arguments: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Wire names, values untouched, absent keys left out and never null, a user's JSON text as it was."""
    async with answering(session()) as service:
        await service.finish(**arguments)
    request = only(service.received)
    assert request.method == "POST"
    assert json.loads(request.body.decode()) == expected
    assert json.loads(request.body).keys() <= json.loads((DATA / "finish-request.json").read_bytes()).keys()


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (ADA, {"name": {"firstName": "Ada", "middleName": "King", "lastName": "Lovelace"}}),
        (AppleUser(given_name="Ada"), {"name": {"firstName": "Ada"}}),
        (AppleUser(family_name="李"), {"name": {"lastName": "李"}}),
        (AppleUser(middle_name='"\\'), {"name": {"middleName": '"\\'}}),
        (AppleUser(given_name="Ada", middle_name="", family_name=" "), {"name": {"firstName": "Ada"}}),
    ],
)
async def test_an_apple_user_is_json_text_inside_the_json(
    answering: Answering, user: AppleUser, expected: object
) -> None:
    """The wire wants a string that holds JSON, with the parts that Apple did not give left out."""
    async with answering(session()) as service:
        await service.finish(**APPLE, user=user)
    sent = json.loads(only(service.received).body)["user"]
    assert isinstance(sent, str)
    assert json.loads(sent) == expected


def proof(**changes: object) -> dict[str, object]:
    return {"provider": "apple", "stateId": STATE, "code": CODE, **changes}


ABSENT: list[tuple[dict[str, Any], dict[str, object]]] = [
    ({"id_token": ""}, proof()),
    ({"user": ""}, proof()),
    ({"known_device_jwt": "", "trusted_device_jwt": "", "timeout": ""}, proof()),
    *(
        ({"user": user}, proof())
        for user in (
            AppleUser(),
            AppleUser(given_name="", family_name=""),
            AppleUser(middle_name=" \t"),
            " ",
            "[]",
            '""',
            "false",
            '{"firstName":null,"lastName":""}',
            '{"fullName":{"givenName":null}}',
            '{"name":{"firstName":[""]}}',
            '{"name":[""]}',
            '{"name":false,"email":"ada@example.com"}',
            "null",
            " {} ",
            '{"name": null}',
            '{"name": {}}',
            '{"name": ""}',
            '{"name": {"firstName": null, "middleName": "", "lastName": " "}}',
            '{"name": {"firstName": ""}, "email": "ada@example.com"}',
        )
    ),
    *(
        ({"user": user}, proof(user=sent))
        for user, sent in (
            ('{"email": "a@b.c"}', '{"email": "a@b.c"}'),
            ('{ "name":{"firstName":"Ada"} }', '{ "name":{"firstName":"Ada"} }'),
            (
                '{"name": {"firstName": "Ada", "lastName": null, "nickName": ""}, "email": "", "x": null}',
                '{"name": {"firstName": "Ada"}, "email": "", "x": null}',
            ),
            ('{"name": {"nickName": "Ada", "lastName": ""}}', '{"name": {"nickName": "Ada"}}'),
            ('{"name": "Ada"}', '{"name": "Ada"}'),
        )
    ),
]


@pytest.mark.parametrize(("given", "sent"), ABSENT)
async def test_what_is_empty_was_not_given(
    answering: Answering, given: dict[str, Any], sent: dict[str, object]
) -> None:
    """By whoever: an app that fills in every key, a form, a later sign-in, of which Apple gives no name."""
    async with answering(session(), auth_management_key="") as service:
        await service.finish(**APPLE | given)
    assert json.loads(only(service.received).body) == sent


@pytest.mark.parametrize("options", [{}, {"base_url": "", "auth_management_key": "", "retry": ""}])
async def test_an_empty_setting_was_not_given(options: dict[str, Any]) -> None:
    """As docker compose hands on a variable that is not set."""
    transport = InMemoryTransport(lambda _: HttpResponse(200, (), session().body))
    await NativeOAuthFinisher(PROJECT, transport, **options).finish(**GOOGLE)
    request = only(transport.requests)
    assert request.url.host == "api.descope.com"
    assert request.headers["Authorization"] == f"Bearer {PROJECT}"


def test_a_project_that_is_empty_is_called_empty() -> None:
    """It has no default, so somebody has to set it."""
    with pytest.raises(InvalidRequestError, match="project_id is empty"):
        NativeOAuthFinisher("", InMemoryTransport(lambda _: HttpResponse(200)))


async def test_the_headers_are_these_and_no_others(answering: Answering) -> None:
    """Bearer with the project id, the SDK's identification, no cookie, nothing that asks for compression."""
    async with answering(session()) as service:
        await service.finish()
    request = only(service.received)
    by_transport = {"host", "content-length"}
    assert {name.lower(): value for name, value in request.headers if name.lower() not in by_transport} == {
        "authorization": f"Bearer {PROJECT}",
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"descope_native/{__version__}",
        "x-descope-sdk-name": "descope_native",
        "x-descope-sdk-version": __version__,
        "x-descope-sdk-python-version": platform.python_version(),
        "x-descope-project-id": PROJECT,
    }
    names = [name.lower() for name, _ in request.headers]
    assert len(names) == len(set(names))


async def test_the_management_key_goes_behind_the_project_id(answering: Answering) -> None:
    """As a project that closes its public auth API wants it."""
    async with answering(session(), auth_management_key="K2:abc") as service:
        await service.finish()
    assert only(service.received).header("Authorization") == [f"Bearer {PROJECT}:K2:abc"]


@pytest.mark.parametrize(
    ("prefix", "path"),
    [
        ("", "/v1/auth/oauth/native/finish"),
        ("/", "/v1/auth/oauth/native/finish"),
        ("//", "/v1/auth/oauth/native/finish"),
        ("/auth", "/auth/v1/auth/oauth/native/finish"),
        ("/auth/", "/auth/v1/auth/oauth/native/finish"),
        ("/a%2Fb/c%20d/", "/a%2Fb/c%20d/v1/auth/oauth/native/finish"),
    ],
)
async def test_a_path_prefix_is_kept_and_slashes_do_not_double(
    answering: Answering, prefix: str, path: str
) -> None:
    """A gateway's prefix stands before the path, in its own escapes."""
    async with answering(session(), prefix=prefix) as service:
        await service.finish()
    assert only(service.received).path == path


async def test_each_call_sends_one_request_and_no_cookie(answering: Answering) -> None:
    """Whatever cookies came with one user's answer, nothing of them goes out with the next one's request."""
    cookie = ("Set-Cookie", "DSR=alice; Path=/; Max-Age=2419199; HttpOnly")
    async with answering(Answer(headers=[cookie], body=session().body)) as service:
        for number in range(3):
            await service.finish(provider="google", state_id=f"state-{number}", id_token=f"token-{number}")
    assert [json.loads(request.body)["stateId"] for request in service.received] == [
        "state-0",
        "state-1",
        "state-2",
    ]
    assert not any(request.header("Cookie") for request in service.received)
    assert not any(b"alice" in request.body for request in service.received)


def user_of(length: int) -> str:
    return '{"a":"' + "x" * (length - 8) + '"}'


@pytest.mark.parametrize(
    "user", [user_of(4096), '{"a":' * 64 + '"Ada"' + "}" * 64, '{"a":' + "[" * 63 + "]" * 63 + "}"]
)
@pytest.mark.parametrize("logging_at", ["INFO", "WARNING"])
async def test_the_longest_and_deepest_user_does_no_harm(
    answering: Answering, caplog: pytest.LogCaptureFixture, user: str, logging_at: str
) -> None:
    """Neither a session nor a refusal is lost to it, whatever an answer makes us look for."""
    ray = [("cf-ray", "8f1e-FRA")]
    refusal = Answer(400, ray, b'{"errorDescription": "Dear Ada, that was no code"}')
    caplog.set_level(logging_at)
    async with answering(Answer(200, ray, session().body), refusal) as service:
        assert (await service.finish(**APPLE, user=user)).session_jwt == "s.e.s"
        with pytest.raises(RejectedError) as caught:
            await service.finish(**APPLE, user=user)
    assert caught.value.trace_id == "8f1e-FRA"
    assert caught.value.description == (
        "withheld: it quotes the request" if "Ada" in user else "Dear Ada, that was no code"
    )


REFUSED: list[tuple[str, dict[str, Any]]] = [
    *(("provider", {**GOOGLE, "provider": value}) for value in NOT_TEXT),
    *(("state_id", {**GOOGLE, "state_id": value}) for value in NOT_TEXT),
    *(("id_token", {**GOOGLE, "id_token": value}) for value in NOT_TEXT if value not in (None, "")),
    *(("code", {**APPLE, "code": value}) for value in NOT_TEXT if value not in (None, "")),
    *((name, {**APPLE, name: "x" * 65_537}) for name in ("provider", "state_id", "code")),
    *((f"{name} is empty", {**APPLE, name: ""}) for name in ("provider", "state_id")),
    *(
        (name, {**APPLE, name: value})
        for name in ("known_device_jwt", "trusted_device_jwt")
        for value in ("two words", "a;b", "l\r\nx: y", "d\u00e9j\u00e0", "x" * 16_385, 5, b"a.b.c")
    ),
    ("user", {**APPLE, "user": user_of(4097)}),
    ("exactly one", {"provider": "apple", "state_id": STATE}),
    ("exactly one", {**APPLE, "id_token": ID_TOKEN}),
    *(
        ("user", {**APPLE, "user": value})
        for value in [
            "Ada",
            "[1]",
            '"{}"',
            "{",
            "{'a': 1}",
            '{"a": NaN}',
            "\ufeff{}",
            '{"a":' * 100_000,
            '{"a":' * 65 + "0" + "}" * 65,
            '{"a":' + "[" * 64 + "]" * 64 + "}",
            "{}".ljust(4097),
            '{"a": "\ud800"}',
            b"{}",
            {"name": {}},
            5,
            False,
        ]
    ),
    *(
        ("timeout", {**GOOGLE, "timeout": value})
        for value in [0, -1, 0.0, float("nan"), float("inf"), float("-inf"), 10**400, True, False, "5", [5]]
    ),
]


@pytest.mark.parametrize(
    ("named", "arguments"), REFUSED, ids=[f"{named}-{number}" for number, (named, _) in enumerate(REFUSED)]
)
async def test_what_cannot_be_right_is_refused_before_any_io(
    answering: Answering, named: str, arguments: dict[str, Any]
) -> None:
    """The error names the argument and no value; the service has seen nothing, and the code is still good."""
    async with answering(session()) as service:
        with pytest.raises(InvalidRequestError, match=named) as caught:
            await service.finish(**arguments)
        assert service.received == []
        assert caught.value.outcome is Outcome.NOT_SENT
        assert not caught.value.safe_to_retry
        assert isinstance(caught.value, ValueError)
        for secret in (STATE, CODE, ID_TOKEN):
            assert secret not in str(caught.value)
        await service.finish()
    assert len(service.received) == 1


@pytest.mark.parametrize("timeout", [1, 0.5, 10**6, None])
async def test_a_timeout_is_any_number_of_seconds(answering: Answering, timeout: float | None) -> None:
    """Whole or not; None is the finisher's own."""
    async with answering(session()) as service:
        assert await service.finish(**GOOGLE, timeout=timeout)


@pytest.mark.parametrize("part", ["given_name", "middle_name", "family_name"])
@pytest.mark.parametrize("value", [5, b"Ada", "x" * 4097, "\ud800"])
def test_a_name_that_cannot_be_one_is_refused(part: str, value: Any) -> None:
    """Neither what is no string, nor what UTF-8 cannot carry, nor what no name is as long as."""
    with pytest.raises(InvalidRequestError, match=part):
        AppleUser(**{part: value})


CHARACTERS = [chr(number) for number in range(0x180)]
LETTERS_AND_DIGITS = {*string.ascii_letters, *string.digits}


def refuses(project_id: str = PROJECT, **options: Any) -> bool:
    """Whether a finisher cannot be made of this."""
    try:
        NativeOAuthFinisher(project_id, InMemoryTransport(lambda _: HttpResponse(200)), **options)
    except InvalidRequestError:
        return True
    return False


def test_a_project_id_is_made_of_these_characters() -> None:
    """Those of a token (RFC 9110 §5.6.2)."""
    token = LETTERS_AND_DIGITS | set("!#$%&'*+-.^_`|~")
    assert {char for char in CHARACTERS if not refuses("P" + char)} == token


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_a_region_is_four_letters_or_digits(place: int) -> None:
    """It becomes a part of a host's name; no shorter project id names one."""

    def project(char: str, length: int) -> str:
        return ("P" + "use1"[: place - 1] + char + "use1"[place:]).ljust(length, "x")

    assert {char for char in CHARACTERS if not refuses(project(char, 32))} == LETTERS_AND_DIGITS
    assert not refuses(project("-", 31))


def test_a_key_is_made_of_these_characters() -> None:
    """All that ASCII can print but the blank."""
    keys = [char for char in CHARACTERS if not refuses(auth_management_key="K" + char)]
    assert keys == [chr(octet) for octet in range(0x21, 0x7F)]


def test_a_base_url_is_made_of_these_characters() -> None:
    """Those of RFC 3986 §2, but for those that begin a query or a fragment."""
    urls = {char for char in CHARACTERS if not refuses(base_url=f"https://a.example/b{char}c")}
    assert urls == LETTERS_AND_DIGITS | set("-._~:/[]@!$&'()*+,;=%")
