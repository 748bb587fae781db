"""What strangers post to the applications: a 400 that says what to do, no call, and no code in an error."""

import asyncio
import gzip
import json
import traceback
import types
from collections.abc import Iterator
from typing import Any

import aiohttp
import attrs
import pytest
from test_apps import (
    APPS,
    FAULTS,
    SERVERS,
    InProcess,
    Server,
    as_body,
    check_problem,
    check_session_cookies,
    every_framework,
    fastapi,
    imported,
    posting_with_aiohttp,
    running,
    swapped,
)
from yarl import URL

from descope_native import DescopeNativeError
from descope_native.testing import FakeDescope, Fault

PROOF: dict[str, Any] = {"provider": "google", "state_id": "state", "id_token": "a.b.c"}


def proof_with(**changed: Any) -> bytes:
    return json.dumps({**PROOF, **changed}).encode()


TEXT = proof_with().decode()
DIGITS = b"9" * 5000  # more than Python turns into a number

NO_SIGN_IN = {
    "nothing": b"",
    "white space": b" \r\n\t",
    "a form": b"provider=google&state_id=state&id_token=a.b.c",
    "cut": b'{"provider"',
    "two documents": proof_with() + proof_with(),
    "text behind it": proof_with() + b"x",
    "an empty object": b"{}",
    "an array": b"[]",
    "an array of pairs": b'[["provider", "google"]]',
    "null": b"null",
    "a string": b'"provider"',
    "a number": b"1",
    "true": b"true",
    "no UTF-8": b"\xff",
    "Latin-1": '{"provider": "\xe9"}'.encode("latin-1"),
    "UTF-16, cut": TEXT.encode("utf-16")[:-1],
    "UTF-7": TEXT.encode("utf-7").replace(b"{", b"+AHs-"),
    "half a surrogate pair in the provider": proof_with(provider="\udc00"),
    "half a surrogate pair in a wrong type": proof_with(provider=["\ud800"]),
    "half a surrogate pair and nothing else": b'{"\\ud800": "\\ud800"}',
    "half a surrogate pair as bytes": b'{"provider": "\xed\xa0\x80", "state_id": "s", "id_token": "t"}',
    "too many digits": b'{"provider": ' + DIGITS + b"}",
    "too many digits for a code": b'{"provider": "google", "state_id": "s", "id_token": ' + DIGITS + b"}",
    "-Infinity": b'{"provider": -Infinity, "state_id": "s", "id_token": "t"}',
    "arrays without end": b"[" * 100_000,
    "objects without end": b'{"a":' * 100_000,
    "a deep value": b'{"provider": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a value that is just not too deep": b'{"provider": ' + b"[" * 900 + b"]" * 900 + b"}",
    "null for all": json.dumps(dict.fromkeys(PROOF)).encode(),
    "null for the provider": proof_with(provider=None),
    "an empty provider": proof_with(provider=""),
    "the last of two keys is wrong": b'{"provider": "google", "provider": 1, "state_id": "s", "code": "c"}',
    "many keys": json.dumps({str(number): number for number in range(50_000)}).encode(),
    "NUL in a string": b'{"provider": "\x00"}',
}
ODD_PROOFS = {
    "no proof": proof_with(id_token=None),
    "two proofs": proof_with(code="c"),
    "half a surrogate pair in the code": proof_with(id_token="\ud800"),
    "half a surrogate pair in the state": proof_with(state_id="a\udfffb"),
    "half a surrogate pair in the name": proof_with(user="\ud800"),
    "a number beyond a float": b'{"provider": "google", "state_id": "s", "id_token": 1e999}',
    "NaN": b'{"provider": "google", "state_id": NaN, "id_token": "t"}',
    "a number for a code": proof_with(id_token=1),
    "true for a code": proof_with(id_token=True),
    "an array for a state": proof_with(state_id=["state"]),
    "an object for a code": proof_with(id_token={"a": 1}),
    "an object for a name": proof_with(user={"name": {}}),
    "a name that is no JSON": proof_with(user="not JSON"),
    "a long code": proof_with(id_token="a" * 900_000),
}
ENCODED = {
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16 without its mark": TEXT.encode("utf-16-le"),
    "UTF-32": TEXT.encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "odd characters": proof_with(provider="a\x00b\r\nc", state_id="\ufffe\u202e"),
    "keys that nobody asked for": proof_with(**{"\ud800": None, "self": 1, "timeout": 0, "user ": []}),
}
OTHER_TYPES = (
    "",
    "nonsense",
    "text/plain",
    "text/plain; charset=application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "application/octet-stream",
    "application/xml",
    "application/msgpack",
    "application/jsonx",
    "application/json\xe9",
    "application/",
    ";",
    "application/json, text/plain",
)
CHARSETS = (
    "utf-8",
    "\xe9",
    "utf-8; charset=utf-16",
    "UTF-16",
    "latin-1",
    "bogus",
    "base64",
    "idna",
    "unicode_escape",
    "undefined",
    '"',
    "",
)


@every_framework
async def test_what_is_no_sign_in_is_answered_with_400(app: InProcess) -> None:
    """Each of them with the same problem document, whoever read the body; nobody is called."""
    fake = FakeDescope()
    async with swapped(app, fake) as post:
        for label, body in NO_SIGN_IN.items():
            answer = await post(body)
            print(label, answer.status, answer.body[:80])
            check_problem(answer, 400, "give_up")
    assert fake.calls == []


@every_framework
async def test_an_odd_proof_is_answered_with_400(app: InProcess) -> None:
    """By the library, which names the part and asks for a new sign-in; or by the framework's model."""
    fake = FakeDescope()
    async with swapped(app, fake) as post:
        for label, body in ODD_PROOFS.items():
            answer = await post(body)
            print(label, answer.status, answer.body[:80])
            check_problem(answer, 400, "start_over", *(["give_up"] if app is fastapi else []))
    assert fake.calls == []


@every_framework
async def test_json_in_any_encoding_and_with_any_text_is_a_sign_in_that_is_refused(app: InProcess) -> None:
    """What is odd and well formed goes to the service, once, which knows no such state."""
    for label, body in ENCODED.items():
        fake = FakeDescope()
        async with swapped(app, fake) as post:
            answer = await post(body)
        print(label, answer.status, answer.body[:80])
        check_problem(answer, 401, "start_over")
        assert len(fake.calls) == 1


@every_framework
async def test_only_json_is_read(app: InProcess) -> None:
    """A form of another site, which can post all other types, signs nobody in; the proof stays good."""
    fake = FakeDescope()
    proof = fake.sign_in("google")
    async with swapped(app, fake) as post:
        for content_type in OTHER_TYPES:
            for body in (as_body(proof), b"\xff", b"a=b", b""):
                check_problem(await post(body, content_type), 400, "give_up")
        assert fake.calls == []
        check_session_cookies(await post(as_body(proof), "Application/JSON"))


@every_framework
async def test_a_charset_is_ignored(app: InProcess) -> None:
    """Also one that Python does not know, or knows and cannot read JSON with."""
    fake = FakeDescope()
    async with swapped(app, fake) as post:
        for number, charset in enumerate(CHARSETS):
            proof = fake.sign_in("google", email=f"user{number}@example.com")
            content_type = f"application/json; charset={charset}"
            check_session_cookies(await post(as_body(proof), content_type))
            check_problem(await post(b"\xff", content_type), 400, "give_up")


@every_framework
async def test_a_body_that_is_too_long_is_refused(app: InProcess) -> None:
    """By the framework, where it has a limit, else as a sign-in that is not one."""
    fake = FakeDescope()
    async with swapped(app, fake) as post:
        answer = await post(proof_with(id_token="a" * 3_000_000))
    assert (answer.status in {400, 413}, answer.cookies, fake.calls) == (True, [], [])


@every_framework
async def test_a_hostile_token_sets_no_cookie(app: InProcess) -> None:
    """What cannot stand in a header is no session: line breaks, semicolons, what is not ASCII."""
    for token in (
        "a\r\nSet-Cookie: DS=evil",
        "a; Domain=evil.example",
        "a\x00b",
        "\ud800",
        "t\xf6ken",
        " ",
        "a" * 20_000,
    ):
        fake = FakeDescope()
        fake.fail_next(Fault(fields={"sessionJwt": token}))
        async with swapped(app, fake) as post:
            check_problem(await post(as_body(fake.sign_in("google"))), 502, "start_over")


# --- under real servers, whose output must have no traceback

HEAD = b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CUT = {
    "a length": b"Content-Length: 500\r\n\r\n" + proof_with()[:-1],
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n50\r\n" + proof_with()[:-1],
}
COMPRESSED = {
    "gzip": ("gzip", gzip.compress(proof_with())),
    "gzip, cut": ("gzip", gzip.compress(proof_with())[:-12]),
    "no gzip": ("gzip", b"junk"),
    "no deflate": ("deflate", b"junk"),
    "no Brotli": ("br", b"junk"),
}


@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
async def test_a_body_that_cannot_be_read_leaves_no_traceback(server: Server) -> None:
    """Cut off, or compressed: the server goes on, and a compressed body is no sign-in."""
    for needed in server.needs.split():
        pytest.importorskip(needed)
    # One process, and none that starts others: Sanic's does not end where it is asked to while it does that.
    alone = "--single-process" if server.needs == "sanic" else ""
    server = attrs.evolve(server, command=server.command.replace("--workers 2", alone))
    fake = FakeDescope()
    async with fake.serve() as base_url:
        environment = {"DESCOPE_PROJECT_ID": fake.project_id, "DESCOPE_BASE_URI": base_url}
        async with (
            running(server, environment) as url,
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        ):
            for rest in CUT.values():
                await send_and_end(URL(url).port or 0, HEAD + rest)
            for label, (coding, body) in COMPRESSED.items():
                answer = await posting_with_aiohttp(session, f"{url}/sign-in", coding)(body)
                print(label, answer.status, answer.body[:80])
                check_problem(answer, 400, "give_up")
            assert fake.calls == []
            post = posting_with_aiohttp(session, f"{url}/sign-in")
            check_session_cookies(await post(as_body(fake.sign_in("google"))))


async def send_and_end(port: int, request: bytes) -> None:
    """Send no more than this, and wait until the server has ended the connection as well."""
    reader, writer = await asyncio.open_connection("localhost", port)
    writer.write(request)
    writer.write_eof()
    async with asyncio.timeout(10):
        await reader.read()
    writer.close()
    await writer.wait_closed()


# --- what a collector of errors would see


def frames_of(error: BaseException) -> Iterator[types.FrameType]:
    """The applications' own frames in an error and all that hangs on it."""
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None:
            pending += [each.__cause__, each.__context__]
            for frame, _ in traceback.walk_tb(each.__traceback__):
                if frame.f_code.co_filename.startswith(str(APPS)):
                    yield frame


MODULES = {"aiohttp_web": "aiohttp"}


@every_framework
@pytest.mark.parametrize("fault", [*FAULTS, "cut", "no JSON type"])
async def test_no_frame_of_an_application_keeps_a_code_in_an_error(
    app: InProcess, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its variables are what a collector of errors records, with every error that is answered."""
    name = MODULES.get(app.__name__, app.__name__)
    fake = FakeDescope()
    proof = fake.sign_in("apple", name="Ada Lovelace")
    body, content_type = as_body(proof), "application/json"
    if fault == "cut":
        body = body[:-1]
    elif fault == "no JSON type":
        content_type = "text/plain"
    else:
        fake.fail_next(FAULTS[fault][0])
    shown: list[str] = []
    async with swapped(app, fake) as post:
        module = imported(f"{name}_app", name)
        answer_for = module.answer_for

        def looking(error: DescopeNativeError) -> Any:
            shown.append(repr(error))
            shown.extend(repr(value) for frame in frames_of(error) for value in frame.f_locals.values())
            return answer_for(error)

        monkeypatch.setattr(module, "answer_for", looking)
        await post(body, content_type)
    assert len(shown) > 1 or (name == "fastapi" and fault not in FAULTS)  # which reads the body itself
    for secret in (proof.state_id, proof.code, proof.user, "Lovelace"):
        assert secret
        assert not [text for text in shown if secret in text]
