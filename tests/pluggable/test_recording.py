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


def requested(body: bytes = b"{}", path: str = "/v1/auth/oauth/native/finish") -> HttpRequest:
    return HttpRequest(method="POST", url=URL(f"http://localhost{path}"), headers={}, body=body, timeout=5)


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
    """Its name is shown where it is a word, since that is how one learns of it; its value is not."""
    body = {"newFlag": True, "newText": "Ada", "x1": {"y": 1}, "claims": {"newFlag": True, "newText": "Ada"}}
    assert await shown(file, body) == {
        "newFlag": False,
        "newText": "[redacted]",
        "key3": {"key1": 0},
        "claims": {"key1": False, "key2": "[redacted]"},
    }
    assert await shown(file, body, show=["newFlag", "x1"]) == {
        "newFlag": True,
        "newText": "[redacted]",
        "x1": {"y": 1},
        "claims": {"newFlag": True, "key2": "[redacted]"},
    }


async def test_a_provider_is_shown_only_where_it_was_asked_for(file: Path) -> None:
    """In an answer the key is nobody's, whatever word stands under it."""
    answer = {"sessionJwt": "s.e.s", "provider": "canary", "user": {"provider": "canary"}}
    assert "canary" not in json.dumps(await recorded(file, json.dumps(answer).encode()))


async def test_a_key_or_word_that_was_sent_is_hidden(file: Path) -> None:
    """A service may quote what it was sent, where a name of a key or of a cookie is expected."""
    user = json.dumps({"name": {"firstName": "Ada"}})
    request = requested(
        json.dumps({"code": "E061301", "user": user, "stateId": "lovelace", "more": [1]}).encode()
    )
    body = {"Ada": 1, "xlovelacex": 2, "errorCode": "E061301", "cookieName": "velace"}
    entry = await recorded(file, json.dumps(body).encode(), request)
    assert entry["answer"]["body"] == {
        "key1": 0,
        "key2": 0,
        "errorCode": "[redacted]",
        "cookieName": "[redacted]",
    }


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("firstSeen", 1, 0),
        ("createdTime", True, False),
        ("createdTime", 2**53, 0),
        ("createdTime", 1.5, 0.0),
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
    """As many parts, the same times and names of claims, a signature of the same length, which is another."""
    token = jwt({"exp": 1700000600, "iat": 1700000000, "drn": "DS", "sub": "U1", "email": "ada@example.com"})
    other = (await shown(file, {"sessionJwt": token}))["sessionJwt"]
    head, claims = parts_of(other)
    assert head == {"alg": "RS256", "kid": "[redacted]", "typ": "JWT"}
    assert claims == {
        "exp": 1700000600,
        "iat": 1700000000,
        "drn": "DS",
        "sub": "[redacted]",
        "email": "[redacted]",
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
    entry = await recorded(file, b"", requested(b'{"provider": "Ada Lovelace", "idToken": "a.b.c"}'))
    assert (entry["provider"], entry["proof"]) == ("[redacted]", "idToken")


def test_only_its_owner_can_read_it(file: Path) -> None:
    """Whatever the process's umask says."""
    RecordingTransport(InMemoryTransport(lambda _: HttpResponse(200)), file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    """Before a code is sent."""
    with pytest.raises(InvalidRequestError, match=r"cannot be written \(Is a directory\)"):
        RecordingTransport(InMemoryTransport(lambda _: HttpResponse(200)), tmp_path)


def put_a_folder_there(file: Path) -> None:
    file.unlink()
    file.mkdir()


async def test_a_session_is_not_lost_for_a_recording(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the disk is full, say: it is logged, and the answer handed over."""
    transport = RecordingTransport(InMemoryTransport(lambda _: HttpResponse(200, (), b"{}")), file)
    put_a_folder_there(file)
    assert (await transport.send(requested())).body == b"{}"
    assert "a call could not be recorded (IsADirectoryError)" in caplog.text


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
                '{"status": 200, "headers": [["Date", 5]]}',
                '{"status": 200, "headers": [["Date"]]}',
                '{"status": 200, "headers": [], "bytes": 3000000000}',
                '{"status": 200, "headers": [], "bytes": "9"}',
            )
        ),
    ],
)
def test_a_file_that_is_no_recording_is_refused_at_once(file: Path, line: str) -> None:
    """With the number of its line and without its text."""
    asked = '{"version": 1, "operation": "", "provider": null, "proof": null'
    good = asked + ', "answer": {"status": 1, "headers": []}}'
    file.write_text(f"{good}\n{line}\n")
    with pytest.raises(InvalidRequestError, match=r"^line 2 of the recording is none of version 1$"):
        ReplayTransport(file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Not there, or not text."""
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        ReplayTransport(tmp_path / "nothing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        ReplayTransport(tmp_path / "binary")
