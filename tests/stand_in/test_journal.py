"""What the stand-in remembers of requests, and what it does not."""

import json
from typing import Final

import attrs
import pytest
from asking import FINISH, PROJECT, START, Asking, asking_directly, both_ways
from yarl import URL

from descope_native import HttpRequest
from descope_native.testing import FakeDescope, Fault


@both_ways
async def test_calls_are_recorded_with_secrets_masked(asking: Asking) -> None:
    """Method, path, status and harmless values stay; no state, proof, name or key is in the record."""
    fake = FakeDescope(auth_management_key="K2canary")
    proof = fake.sign_in("apple", name="Canary Bird")
    body = proof.as_json()
    async with asking(fake) as client:
        await client.post(FINISH, body, f"Bearer {PROJECT}:K2canary")
        await client.post(FINISH, b"K2canary")
    first, second = fake.calls
    assert (first.method, first.path, first.status, first.error) == ("POST", FINISH, 200, None)
    masked = dict.fromkeys(("stateId", "code", "user"), "[masked]")
    assert first.body == {"provider": "apple", **masked}
    assert dict(first.headers)["Authorization"] == "[masked]"
    assert (second.body, second.status) == (None, 401)
    assert second.error == "E111119 the project id or key is wrong"
    text = f"{fake!r} {fake.calls!r} {[attrs.asdict(call) for call in fake.calls]} {proof!r}"
    for secret in ("K2canary", "Canary", proof.state_id, proof.code, proof.nonce):
        assert str(secret) not in text
    assert repr(fake) == f"<FakeDescope {PROJECT}, 2 calls>"


READABLE: Final = (
    "accept accept-encoding connection content-length content-type host transfer-encoding user-agent "
    "x-descope-project-id x-descope-sdk-name x-descope-sdk-python-version x-descope-sdk-version"
)


async def asked(fake: FakeDescope, path: str, headers: dict[str, str], body: object) -> None:
    url = URL("http://localhost" + path)
    content = json.dumps(body).encode()
    await fake(HttpRequest(method="POST", url=url, headers=headers, body=content, timeout=5))


async def test_harmless_headers_stay_readable_and_others_do_not() -> None:
    """A test may look at what the client says of itself, and see that it sent a cookie, not which."""
    fake = FakeDescope()
    headers = dict.fromkeys([*READABLE.split(), *READABLE.upper().split(), "Cookie", "X-Other"], "v")
    await asked(fake, FINISH, headers, {})
    (call,) = fake.calls
    assert dict(call.headers) == {
        name: "v" if name.lower() in READABLE.split() else "[masked]" for name in headers
    }


SECRET: Final = "eyJhbGciOiJub25lIn0" * 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/{SECRET}?token={SECRET}", {}),
        (START, {SECRET: 1}),
        (START, {"provider": SECRET, "implicit": SECRET}),
        (START, {"provider": {"name": SECRET}}),
        ("/stand-in/fail-next", {SECRET: 1}),
        (START, {"unknown": SECRET, "loginOptions": {"customClaims": SECRET}}),
    ],
)
async def test_a_secret_in_a_wrong_place_is_masked_as_well(path: str, body: dict[str, object]) -> None:
    """A client with a mistake may put a token into a path, a key or a provider."""
    fake = FakeDescope()
    await asked(fake, path, {"x-" + SECRET: SECRET, "Cookie": SECRET}, body)
    shown = repr([attrs.asdict(call) for call in fake.calls])
    assert SECRET not in shown
    assert "[masked]" in shown


async def test_what_is_as_long_as_a_state_is_masked_wherever_it_stands() -> None:
    """In a path, a name or a value that is shown otherwise; one character less is shown."""
    fake = FakeDescope()
    for length, shown in ((31, "x" * 31), (32, "[masked]")):
        await asked(fake, f"/{'x' * length}", {}, {"provider": "x" * length, "x" * length: 1})
        call = fake.calls[-1]
        assert (call.path, dict(call.body or {})) == (f"/{shown}", {"provider": shown, shown: "[masked]"})


async def test_long_words_are_masked_in_what_a_client_says_of_itself() -> None:
    """Its version is no secret, and what is as long as a state may be one; a project id never is."""
    fake = FakeDescope()
    headers = {"User-Agent": f"app/1.0 {SECRET} Python/3.13", "x-descope-project-id": "Puse1" + "2" * 27}
    url = URL("http://localhost" + START)
    await fake(HttpRequest(method=SECRET, url=url, headers=headers, body=b"", timeout=5))
    (call,) = fake.calls
    assert dict(call.headers) == {**headers, "User-Agent": "app/1.0 [masked] Python/3.13"}
    assert call.method == "[masked]"


async def test_odd_text_is_shown_in_one_line_of_a_bounded_length() -> None:
    """Neither a terminal nor a log is steered by what somebody sends."""
    fake = FakeDescope()
    await asked(fake, "/a%1B%0Ab", {"User-Agent": "x\n " * 1000}, {"provider": "\x1b[2J"})
    (call,) = fake.calls
    assert call.path == "/a��b"
    assert call.body == {"provider": "�[2J"}
    assert len(dict(call.headers)["User-Agent"]) == 200
    assert dict(call.headers)["User-Agent"].isprintable()


async def test_of_many_headers_and_keys_the_first_hundred_are_kept() -> None:
    """And the error of a refusal with the lowest status that is one."""
    fake = FakeDescope()
    many = {f"x-{number}": "x" for number in range(150)}
    await asked(fake, FINISH, {"Authorization": f"Bearer {fake.project_id}", **many}, many)
    (call,) = fake.calls
    assert (len(call.headers), len(call.body or {})) == (100, 100)
    assert (call.status, call.error) == (400, "E011002 provider is missing")


async def test_the_last_thousand_calls_and_starts_are_kept() -> None:
    """A stand-in that runs for weeks does not grow."""
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        for number in range(1002):
            await client.post(START, {"provider": f"provider-{number}"})
    assert len(fake.calls) == len(fake.starts) == 1000
    assert fake.starts[0].provider == "provider-2"
    assert fake.calls[-1].body == {"provider": "provider-1001"}


async def test_an_answer_that_was_made_up_is_recorded_by_its_status() -> None:
    """And an error in it by its words, where it has the service's shape."""
    fake = FakeDescope()
    error = {"errorCode": "E130429", "errorMessage": 5}
    fake.fail_next(
        Fault(status=429, body=json.dumps(error).encode()),
        Fault(status=502, body=b"<html>"),
        Fault(drop="after"),
    )
    async with asking_directly(fake) as client:
        await client.finish(fake.sign_in())
        await client.finish(fake.sign_in())
        with pytest.raises(ConnectionResetError):
            await client.finish(fake.sign_in())
    assert [(call.status, call.error) for call in fake.calls] == [(429, "E130429"), (502, None), (None, None)]
