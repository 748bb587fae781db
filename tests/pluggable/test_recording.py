"""A recording: what is shown in it, what is not, and what is played from it."""

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit.tables import IDP, TENANT, TOP, USER
from yarl import URL

from descope_native import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    NativeOAuthStarter,
    RateLimitedError,
    RequestTimeout,
    TLSError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)
from descope_native.testing import FakeDescope
from descope_native.transports.recording import RecordingTransport, ReplayTransport

GOOGLE: dict[str, Any] = {"provider": "google", "state_id": "state-1234567", "id_token": "id.to.ken"}
APPLE: dict[str, Any] = {"provider": "apple", "state_id": "state-1234567", "code": "code-1234567"}


def jwt(claims: dict[str, Any], signature: str = "c2lnbmF0dXJl") -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'RS256', 'kid': 'K1', 'typ': 'JWT'})}.{part(claims)}.{signature}"


def parts_of(token: str) -> list[dict[str, Any]]:
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def requested(
    body: bytes = b"{}",
    path: str = "/v1/auth/oauth/native/finish",
    headers: dict[str, str] | None = None,
) -> HttpRequest:
    url = URL(f"http://localhost{path}")
    return HttpRequest(method="POST", url=url, headers=headers or {}, body=body, timeout=5)


def text_of(file: Path) -> str:
    return file.read_text()


async def recorded(
    file: Path, answer: bytes | HttpResponse | Exception, request: HttpRequest | None = None, **options: Any
) -> dict[str, Any]:
    """The line that stands for a call with this end."""

    def end(_: HttpRequest) -> HttpResponse:
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, HttpResponse) else HttpResponse(200, (), answer)

    transport = RecordingTransport(InMemoryTransport(end), file, **options)
    try:
        await transport.send(request or requested())
    except DescopeNativeError:
        assert isinstance(answer, Exception)
    entry: dict[str, Any] = json.loads(text_of(file).splitlines()[-1])
    return entry


async def shown(file: Path, body: Any, **options: Any) -> Any:
    entry = await recorded(file, json.dumps(body).encode(), **options)
    return entry["answer"]["body"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sign-in.jsonl"


# --- what is shown


SHOWN: dict[str, tuple[Any, ...]] = {
    "boolean": (True, False),
    "boolean or unknown": (True, False),
    "integer": (0, 1700000000),
}
WORDS = {
    "cookieName": "DSR",
    "sessionCookieName": "DS",
    "cookiePath": "/",
    "status": "enabled",
}
HIDDEN: dict[str, tuple[Any, Any]] = {
    "string": ("Ada Lovelace", "[redacted]"),
    "strings": (["Ada", ""], ["[redacted]", ""]),
    "flags": ({"google": True}, {"key1": False}),
    "object": ({"a": 1, "b": [1.5, None]}, {"key1": 0, "key2": [0.0, None]}),
}
HIDDEN["object or false"] = HIDDEN["object"]

LEVELS: list[tuple[Callable[[Any], Any], Callable[[Any], Any], dict[str, tuple[str, str]]]] = [
    (lambda value: value, lambda body: body, TOP),
    (lambda value: {"user": value}, lambda body: body["user"], USER),
    (lambda value: {"user": {"userTenants": [value]}}, lambda body: body["user"]["userTenants"][0], TENANT),
    (lambda value: {"idpResponse": value}, lambda body: body["idpResponse"], IDP),
]


@pytest.mark.parametrize("level", range(4), ids=["answer", "user", "tenant", "identity provider"])
async def test_each_key_of_the_contract_is_shown_or_hidden(file: Path, level: int) -> None:
    """Flags, times and four kinds of words are shown; tokens are other tokens; texts and lists are hidden."""
    put, get, table = LEVELS[level]
    for key, (_, kind) in table.items():
        if kind in {"class", "classes"}:
            continue
        if key in WORDS:
            assert get(await shown(file, put({key: WORDS[key]}))) == {key: WORDS[key]}
            assert get(await shown(file, put({key: "ada@example.com"}))) == {key: "[redacted]"}
        elif kind in SHOWN:
            for value in SHOWN[kind]:
                assert get(await shown(file, put({key: value}))) == {key: value}
            assert get(await shown(file, put({key: "Ada"}))) == {key: "[redacted]"}
        elif kind in {"session", "token"} or key == "externalToken":
            assert get(await shown(file, put({key: "a.b.c"}))) == {key: "e30.e30.c"}
        else:
            value, hidden = HIDDEN[kind]
            assert get(await shown(file, put({key: value}))) == {key: hidden}


async def test_an_unknown_key_is_hidden_unless_it_is_named(file: Path) -> None:
    """Neither its name, which may be a person's or a customer's, nor its value."""
    body = {"newFlag": True, "newText": "Ada", "x1": {"y": 1}, "claims": {"newFlag": True, "newText": "Ada"}}
    assert await shown(file, body) == {
        "key1": False,
        "key2": "[redacted]",
        "key3": {"key1": 0},
        "claims": {"key1": False, "key2": "[redacted]"},
    }
    assert await shown(file, body, show=["newFlag", "x1"]) == {
        "newFlag": True,
        "key2": "[redacted]",
        "x1": {"y": 1},
        "claims": {"newFlag": True, "key2": "[redacted]"},
    }


@pytest.mark.parametrize(
    "path",
    [
        ("createdTime",),
        ("claims", "createdTime"),
        ("user", "customAttributes", "createdTime"),
        ("user", "user", "createdTime"),
        ("idpResponse", "idpOIDCClaims", "exp"),
        ("idpResponse", "createdTime"),
    ],
    ids=".".join,
)
async def test_a_key_is_one_of_the_contract_only_in_its_object(file: Path, path: tuple[str, ...]) -> None:
    """What customers put under such a key of their own is nobody's to show."""
    body: Any = 1700000000
    for key in reversed(path):
        body = {key: body}
    assert "1700000000" not in json.dumps(await shown(file, body))


async def test_a_provider_is_shown_only_where_it_was_asked_for(file: Path) -> None:
    """In an answer the key is nobody's, whatever word stands under it."""
    answer = {"sessionJwt": "s.e.s", "provider": "canary", "user": {"provider": "canary"}}
    assert "canary" not in json.dumps(await recorded(file, json.dumps(answer).encode()))


async def test_a_key_or_word_that_was_sent_is_hidden(file: Path) -> None:
    """A service may quote what it was sent, where a name of a key or of a cookie is expected."""
    user = json.dumps({"name": {"firstName": "Ada"}})
    request = requested(
        json.dumps({"code": "E061301", "user": user, "stateId": "lovelace", "more": [1, True]}).encode()
    )
    body = {"Ada": 1, "xlovelacex": 2, "errorCode": "E061301", "cookieName": "velace"}
    entry = await recorded(file, json.dumps(body).encode(), request)
    assert entry["answer"]["body"] == {
        "key1": 0,
        "key2": 0,
        "errorCode": "[redacted]",
        "cookieName": "[redacted]",
    }


SENT: dict[str, HttpRequest] = {
    "a code": requested(b'{"code": "SecretLetters"}'),
    "a state in other letters": requested(b'{"stateId": "sEcReTlEtTeRs"}'),
    "a custom provider": requested(b'{"provider": "SecretLetters"}'),
    "a key": requested(headers={"Authorization": "Bearer P2:SecretLetters"}),
    "a refresh token": requested(headers={"Authorization": "Bearer P2:key:SecretLetters"}),
    "a device token": requested(headers={"x-descope-known-device-token": "SecretLetters"}),
}


@pytest.mark.parametrize("sent", SENT)
async def test_nothing_that_was_sent_is_shown_wherever_it_comes_back(file: Path, sent: str) -> None:
    """As a key, a word, the name of a header or of a cookie, in upper and in lower case."""
    name = "secretletters"
    token = jwt({name: 1, "drn": name})
    body = {name: 1, "cookieName": name, "user": {name: True, "status": name}, "sessionJwt": token}
    headers = ((name, "5"), (f"X-{name}", "5"), ("Set-Cookie", f"{name}=a.b.c"))
    entry = await recorded(file, HttpResponse(200, headers, json.dumps(body).encode()), SENT[sent])
    assert name not in text_of(file).lower()
    assert name not in str(parts_of(entry["answer"]["body"]["sessionJwt"]))


@pytest.mark.parametrize("code", ['"0481516234"', "481516234", '"x481516234x"'])
async def test_a_number_that_was_sent_is_not_shown(file: Path, code: str) -> None:
    """Be it spelled as a text or as a number, here or there."""
    body = {"cookieMaxAge": 481516234, "sessionJwt": jwt({"exp": 481516234, "iat": 5})}
    headers = (("Set-Cookie", "DS=a.b.c; Path=/; Max-Age=481516234"), ("Retry-After", "481516"))
    answer = HttpResponse(200, headers, json.dumps(body).encode())
    entry = await recorded(file, answer, requested(b'{"code": %s}' % code.encode()))
    assert "481516" not in text_of(file)
    assert entry["answer"]["headers"][0] == ["Set-Cookie", "DS=e30.e30.c; Path=/"]
    assert parts_of(entry["answer"]["body"]["sessionJwt"])[1] == {"exp": 0, "iat": 5}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("firstSeen", 1, 0),
        ("cookieMaxAge", True, False),
        ("cookieMaxAge", 2**53, 0),
        ("cookieMaxAge", 1.5, 0.0),
        ("cookieName", 1, 0),
        ("sessionJwt", ["a.b.c"], ["[redacted]"]),
        ("sessionJwt", "", ""),
        ("sessionJwt", None, None),
        ("sessionJwt", "string", "redacted"),
        ("sessionJwt", "a b.c.d", "[redacted], which is no token"),
        ("sessionJwt", "x" * 16385, "[redacted], which is no token"),
        ("user", [{"test": True}, 5], [{"test": True}, 0]),
    ],
)
async def test_what_is_odd_stays_as_odd(file: Path, key: str, value: Any, expected: Any) -> None:
    """The JSON type is kept, and what is no token does not become one, so that it is read as it was."""
    assert await shown(file, {key: value}) == {key: expected}


async def test_a_token_keeps_its_form_and_the_claims_that_name_nobody(file: Path) -> None:
    """As many parts, the same times, names of claims that are everybody's, and another signature as long."""
    claims = {"exp": 1700000600, "iat": 1700000000, "drn": "DS", "sub": "U1", "email": "ada@example.com"}
    token = jwt({**claims, "AdaLovelace": "U1", "createdTime": 1700000000})
    other = (await shown(file, {"sessionJwt": token}))["sessionJwt"]
    head, claims = parts_of(other)
    assert head == {"alg": "RS256", "kid": "[redacted]", "typ": "JWT"}
    assert claims == {
        "exp": 1700000600,
        "iat": 1700000000,
        "drn": "DS",
        "sub": "[redacted]",
        "email": "[redacted]",
        "key6": "[redacted]",
        "key7": 0,
    }
    assert other.split(".")[2] == "cmVkYWN0ZWQc"[:11] + "c"
    assert len(other.split(".")[2]) == len(token.split(".")[2])


async def test_headers_show_what_names_nobody(file: Path) -> None:
    """Type, dates and waits of the usual form; a cookie's name and attributes, not its value nor domain."""
    date = "Wed, 21 Oct 2026 07:28:00 GMT"
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Date": date,
        "Retry-After": "10",
        "cf-ray": "8a1b2c3d4e5f-FRA",
        "Location": "https://ada.example/?code=1",
        "X-1": "Ada",
    }
    lasting = f"Expires={date}; Max-Age=60; HttpOnly; Secure; SameSite=None"
    cookies = [
        f'DS="a.b.c"; Path=/; Domain=ada.example; {lasting}',
        "x1=string; Path=/ada; Max-Age=ada; Ada",
    ]
    answer = HttpResponse(200, (*headers.items(), *(("Set-Cookie", cookie) for cookie in cookies)))
    entry = await recorded(file, answer)
    assert entry["answer"]["headers"] == [
        ["Content-Type", "application/json; charset=utf-8"],
        ["Date", date],
        ["Retry-After", "10"],
        ["cf-ray", "redacted"],
        ["Location", "https://redacted.example/"],
        ["x-redacted", "redacted"],
        ["Set-Cookie", f"DS=e30.e30.c; Path=/; {lasting}"],
        ["Set-Cookie", "redacted=redacted"],
    ]
    entry = await recorded(file, HttpResponse(429, (("Retry-After", "ada"), ("Content-Type", "ada"))))
    assert entry["answer"]["headers"] == [["Retry-After", "redacted"], ["Content-Type", "redacted"]]


@pytest.mark.parametrize("body", [b"<html>Ada</html>", b"\xff\xfe\xfd", b"[" * 100_000, b'{"a":'])
async def test_a_body_that_is_not_json_is_its_length(file: Path, body: bytes) -> None:
    """And is played as so many question marks."""
    entry = await recorded(file, body)
    assert (entry["answer"]["bytes"], "body" in entry["answer"]) == (len(body), False)
    assert (await ReplayTransport(file).send(requested())).body == b"?" * len(body)


async def test_a_request_is_recorded_in_words(file: Path) -> None:
    """Operation, provider and kind of proof; its body is redacted, its URL and headers are not there."""
    body = {
        "provider": "apple",
        "stateId": "state-1234567",
        "code": "code-1234567",
        "user": '{"name": {"firstName": "Ada"}}',
    }
    entry = await recorded(
        file, b"{}", requested(json.dumps(body).encode(), "/ada/v1/auth/oauth/native/finish")
    )
    assert entry == {
        "version": 1,
        "operation": "/v1/auth/oauth/native/finish",
        "provider": "apple",
        "proof": "code",
        "request": {
            "body": {"provider": "apple", "stateId": "[redacted]", "code": "[redacted]", "user": "[redacted]"}
        },
        "answer": {"status": 200, "headers": [], "body": {}},
    }
    entry = await recorded(file, b"", requested(b"[]", "/elsewhere"))
    assert (entry["operation"], entry["provider"], entry["proof"]) == ("other", None, None)


async def test_providers_are_told_apart_and_custom_ones_not_told(file: Path) -> None:
    """A recording with one is not played to another, and no other value hides a well-known name."""
    session = InMemoryTransport(lambda _: HttpResponse(200, (), b'{"sessionJwt": "a.b.c"}'))
    for provider in ("Ada Lovelace", "google"):
        asked: dict[str, Any] = {"provider": provider, "state_id": "login-google-123", "code": "c"}
        await NativeOAuthFinisher("P2", RecordingTransport(session, file)).finish(**asked)
    first, second = (json.loads(line) for line in text_of(file).splitlines())
    assert first["provider"] == first["request"]["body"]["provider"] == "custom-7674"
    assert second["provider"] == second["request"]["body"]["provider"] == "google"
    finisher = NativeOAuthFinisher("P2", ReplayTransport(file))
    with pytest.raises(InvalidRequestError, match=r"provider custom-011e .* provider custom-7674"):
        await finisher.finish(provider="Charles Babbage", state_id="s", code="c")
    for provider in ("google", "Ada Lovelace"):
        await finisher.finish(provider=provider, state_id="s", code="c")


def test_only_its_owner_can_read_it(file: Path) -> None:
    """Whatever the process's umask says."""
    RecordingTransport(InMemoryTransport(lambda _: HttpResponse(200)), file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    """Before a code is sent."""
    for file, why in {
        tmp_path: "Is a directory",
        Path("/dev/full"): "No space left on device",
        tmp_path / "a\0b": "no name of a file",
    }.items():
        with pytest.raises(InvalidRequestError, match=rf"cannot be written \({why}\)"):
            RecordingTransport(InMemoryTransport(lambda _: HttpResponse(200)), file)


def put_a_folder_there(file: Path) -> None:
    file.unlink()
    file.mkdir()


async def test_a_session_is_not_lost_for_a_recording(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the disk is full, say: it is logged and counted, and the answer handed over."""
    transport = RecordingTransport(InMemoryTransport(lambda _: HttpResponse(200, (), b"{}")), file)
    put_a_folder_there(file)
    assert (await transport.send(requested())).body == b"{}"
    assert "a call could not be recorded (IsADirectoryError)" in caplog.text
    assert transport.lost == 1


async def test_what_could_not_be_played_is_not_recorded(file: Path) -> None:
    """One line of it, and no line of the file would be."""
    await recorded(file, b"{}")
    transport = RecordingTransport(InMemoryTransport(lambda _: HttpResponse(99)), file)
    await transport.send(requested())
    assert transport.lost == 1
    assert (await ReplayTransport(file).send(requested())).body == b"{}"


# --- what is played


async def test_a_sign_in_is_played_as_it_was(file: Path) -> None:
    """Start and finish over the stand-in, and once more from the file: the same facts, without the person."""
    fake = FakeDescope()
    proof = fake.sign_in("google", email="ada@example.com", name="Ada Lovelace")

    async def both(transport: Any) -> Any:
        starter = NativeOAuthStarter(fake.project_id, transport)
        finisher = NativeOAuthFinisher(fake.project_id, transport)
        started = await starter.start(provider="google", login_options={"locale": "en"})
        return started, await finisher.finish(**proof.as_arguments())

    started, real = await both(RecordingTransport(InMemoryTransport(fake), file))
    played_start, played = await both(ReplayTransport(file))
    assert played_start.state_id == "[redacted]"
    assert started.state_id not in text_of(file)
    for fact in ("first_seen", "cookie_max_age", "session_expiration", "cookie_name", "drift"):
        assert getattr(played, fact) == getattr(real, fact)
    assert played.user.verified_email == real.user.verified_email
    assert played.session_jwt != real.session_jwt
    assert parts_of(played.session_jwt)[1]["exp"] == parts_of(real.session_jwt)[1]["exp"]
    assert "ada" not in text_of(file).lower()


FAILURES: list[DescopeNativeError] = [
    ConnectError("dns", "ada"),
    ConnectError("proxy", "ada", safe_to_retry=False),
    TLSError("ada"),
    RequestTimeout("connect", 5.0),
    RequestTimeout("wait", 0.25),
    ConnectionLost("read", "ada"),
    TransportClosed("pool", "ada"),
    TransportError("wait", "ada"),
    UnexpectedResponse(0, "ada"),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: f"{type(error).__name__} {error.args[0]}")
async def test_a_failure_is_played_as_it_was(file: Path, error: DescopeNativeError) -> None:
    """The same kind with the same facts, but for its text, which is the transport's own."""
    await recorded(file, error)
    assert "ada" not in text_of(file)
    request = requested()
    with pytest.raises(type(error)) as raised:
        await ReplayTransport(file).send(request)
    for fact in ("outcome", "safe_to_retry", "phase", "reason", "seconds", "status"):
        assert getattr(raised.value, fact, None) == getattr(error, fact, None)
    assert type(raised.value) is type(error)
    assert request.progress.phase == getattr(error, "phase", "wait")


async def test_an_error_of_another_kind_is_played_as_what_is_proved(file: Path) -> None:
    """A transport may have kinds of its own."""

    class OwnError(TransportError):
        pass

    await recorded(file, OwnError("pool", "ada"))
    with pytest.raises(TransportError, match="phase pool, outcome not_sent"):
        await ReplayTransport(file).send(requested())


async def test_a_reason_of_somebody_elses_is_not_shown(file: Path) -> None:
    """It may be anything; nor is what a transport's own kinds carry."""

    class OwnError(TransportError):
        reason = "ada"

    reason: Any = "ada"
    await recorded(file, ConnectError(reason, "ada"))
    await recorded(file, OwnError("wait", "ada"))
    assert "ada" not in text_of(file)
    replay = ReplayTransport(file)
    with pytest.raises(ConnectError) as raised:
        await replay.send(requested())
    assert raised.value.reason == "other"


async def test_a_refusal_is_played_with_its_wait(file: Path) -> None:
    """What an app does about a rate limit can be tested."""
    body = b'{"errorCode": "E130429", "errorDescription": "https://docs.example"}'
    transport = InMemoryTransport(lambda _: HttpResponse(429, (("Retry-After", "10"),), body))
    opened: tuple[Callable[[], Any], ...] = (
        lambda: RecordingTransport(transport, file),
        lambda: ReplayTransport(file),
    )
    for open_transport in opened:
        with pytest.raises(RateLimitedError) as raised:
            await NativeOAuthFinisher("P2", open_transport()).finish(**APPLE)
        assert (raised.value.code, raised.value.retry_after) == ("E130429", 10)


async def test_a_request_that_was_not_recorded_is_an_error_that_says_what_differs(file: Path) -> None:
    """By operation, provider and proof; nothing of the request itself is told."""
    session = InMemoryTransport(lambda _: HttpResponse(200, (), b'{"sessionJwt": "a.b.c"}'))
    await NativeOAuthFinisher("P2", RecordingTransport(session, file)).finish(**APPLE)
    replay = ReplayTransport(file)
    finisher = NativeOAuthFinisher("P2", replay)
    with pytest.raises(InvalidRequestError) as raised:
        await finisher.finish(**GOOGLE)
    assert str(raised.value) == (
        "this was not recorded: operation /v1/auth/oauth/native/finish provider google proof idToken. "
        "What is left is: operation /v1/auth/oauth/native/finish provider apple proof code"
    )
    await finisher.finish(**APPLE)
    with pytest.raises(InvalidRequestError, match="What is left is: nothing"):
        await finisher.finish(**APPLE)
    await replay.close()
    with pytest.raises(TransportClosed):
        await finisher.finish(**APPLE)


async def test_calls_of_one_kind_are_played_in_order(file: Path) -> None:
    """Each once."""
    for status in (500, 200, 400):
        await recorded(file, HttpResponse(status))
    replay = ReplayTransport(file)
    assert [(await replay.send(requested())).status for _ in range(3)] == [500, 200, 400]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ada",
        "[]",
        "{}",
        '{"version": 2, "operation": "", "provider": null, "proof": null, "answer": {}}',
        '{"version": 1, "operation": "", "provider": null, "proof": null}',
        '{"version": 1, "operation": "", "provider": null, "proof": null, "failure": {"error": "Ada"}}',
        '{"version": 1, "answer": {"status": 200, "headers": []}}',
        *(
            f'{{"version": 1, "operation": "", "provider": null, "proof": null, "answer": {answer}}}'
            for answer in (
                "[1]",
                '{"status": "200", "headers": []}',
                '{"status": 99, "headers": []}',
                '{"status": 200.0, "headers": []}',
                '{"status": 200, "headers": [["Date", 5]]}',
                '{"status": 200, "headers": [["Date"]]}',
                '{"status": 200, "headers": [], "bytes": 3000000000}',
                '{"status": 200, "headers": [], "bytes": "9"}',
            )
        ),
        *(
            f'{{"version": 1, "operation": "", "provider": null, "proof": null, "failure": {failure}}}'
            for failure in (
                '{"error": "TLSError"}',
                '{"error": "ConnectionLost", "phase": "bogus"}',
                '{"error": "ConnectionLost", "phase": ["wait"]}',
                '{"error": ["ConnectionLost"], "phase": "wait"}',
                '{"error": "ConnectError", "phase": "connect", "reason": "ada", "safe_to_retry": true}',
                '{"error": "ConnectError", "phase": "connect", "reason": "dns", "safe_to_retry": "ada"}',
                '{"error": "RequestTimeout", "phase": "wait", "seconds": "NaN"}',
                '{"error": "RequestTimeout", "phase": "wait", "seconds": 1%s}' % ("0" * 400),
                '{"error": "UnexpectedResponse", "phase": "read", "status": "x"}',
                '{"error": "UnexpectedResponse", "phase": "read", "status": 99}',
            )
        ),
        "[" * 100_000,
    ],
    ids=lambda line: line[-60:],
)
def test_a_file_that_is_no_recording_is_refused_at_once(file: Path, line: str) -> None:
    """With the number of its line and without its text."""
    asked = '{"version": 1, "operation": "", "provider": null, "proof": null'
    good = asked + ', "answer": {"status": 200, "headers": []}}'
    file.write_text(f"{good}\n{line}\n")
    with pytest.raises(InvalidRequestError, match=r"^line 2 of the recording is none of version 1$"):
        ReplayTransport(file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Not there, or not text."""
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        ReplayTransport(tmp_path / "nothing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("binary", "a\0b"):
        with pytest.raises(InvalidRequestError, match="cannot be read"):
            ReplayTransport(tmp_path / name)


async def test_a_file_without_a_call_is_a_recording_of_nothing(file: Path) -> None:
    """As a recorder leaves it that was opened and not used."""
    await recorded(file, b"{}")
    RecordingTransport(InMemoryTransport(lambda _: HttpResponse(200)), file)
    replay = ReplayTransport(file)
    assert (await replay.send(requested())).body == b"{}"
