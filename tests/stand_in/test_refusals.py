"""What the stand-in refuses, and what that costs the sign-in."""

from typing import Any, Final

import pytest
from asking import FINISH, KEYS, PROJECT, START, Asking, Clock, asking_directly, both_ways

from descope_native.testing import FakeDescope


@both_ways
async def test_a_proof_is_good_once(asking: Asking) -> None:
    """The second finish with the same state is refused as the contract says."""
    fake = FakeDescope()
    proof = fake.sign_in("apple")
    async with asking(fake) as client:
        assert (await client.finish(proof)).status == 200
        again = await client.finish(proof)
    assert (again.status, again.json["errorCode"]) == (400, "E061301")
    assert set(again.json) == {"errorCode", "errorDescription", "errorMessage"}


@both_ways
@pytest.mark.parametrize(
    "change",
    [{"code": "guessed"}, {"provider": "google"}, {"idToken": "a.b.c", "code": ""}, {"stateId": "guessed"}],
    ids="-".join,
)
async def test_a_wrong_finish_is_refused_and_spends_the_state_it_names(
    asking: Asking, change: dict[str, str]
) -> None:
    """Whoever gets one thing wrong has no session, and no second try with that state."""
    fake = FakeDescope()
    proof = fake.sign_in("apple")
    async with asking(fake) as client:
        wrong = await client.finish(proof, **change)
        assert (wrong.status, wrong.json["errorCode"]) == (400, "E061301")
        assert (await client.finish(proof)).status == (200 if "stateId" in change else 400)


async def test_a_sign_in_that_no_phone_has_finished_has_no_proof() -> None:
    """A state alone buys nothing."""
    async with asking_directly(FakeDescope()) as client:
        started = (await client.post(START, {"provider": "apple"})).json
        body = {"provider": "apple", "stateId": started["stateId"], "code": "None"}
        assert (await client.post(FINISH, body)).json["errorCode"] == "E061301"


@both_ways
@pytest.mark.parametrize(("options", "lifetime"), [({}, 600.0), ({"state_lifetime": 60}, 60.0)])
async def test_a_sign_in_expires(asking: Asking, options: dict[str, Any], lifetime: float) -> None:
    """A state is good for its lifetime, ten minutes unless given, and not a moment longer."""
    clock = Clock()
    fake = FakeDescope(clock=clock, **options)
    early, late = fake.sign_in(), fake.sign_in()
    async with asking(fake) as client:
        clock.now += lifetime - 0.1
        assert (await client.finish(early)).status == 200
        clock.now += 0.1
        expired = await client.finish(late)
    assert (expired.status, expired.json["errorCode"]) == (400, "E061301")
    assert "expired" in expired.json["errorMessage"]


BAD_BODIES: Final = [
    (b"", "E011001"),
    (b"{", "E011001"),
    (b"\xff", "E011001"),
    (b"[]", "E011001"),
    (b"null", "E011001"),
    (b'{"provider": NaN}', "E011001"),
    (b"[" * 100_000, "E011001"),
    (b'{"stateId": "s", "code": "c"}', "E011002"),
    (b'{"provider": "", "stateId": "s", "code": "c"}', "E011002"),
    (b'{"provider": "apple", "code": "c"}', "E011002"),
    (b'{"provider": "apple", "stateId": "s"}', "E011002"),
    (b'{"provider": "apple", "stateId": "s", "code": "c", "idToken": "t"}', "E011002"),
    (b'{"provider": 1, "stateId": "s", "code": "c"}', "E011001"),
    (b'{"provider": "apple", "stateId": "s", "code": null}', "E011001"),
    (b'{"provider": "apple", "stateId": "s", "code": "c", "user": {}}', "E011001"),
    (b'{"provider": "apple", "stateId": "s", "code": "c", "user": "Ada"}', "E011004"),
    (b'{"provider": "apple", "stateId": "s", "code": "c", "user": "[]"}', "E011004"),
    (b'{"provider": "apple", "stateId": "s", "code": "c", "user": "{\\"name\\": []}"}', "E011004"),
    (b'{"provider": "apple", "stateId": "s", "code": "c", "user": "{\\"name\\": false}"}', "E011004"),
    (
        b'{"provider": "apple", "stateId": "s", "code": "c", "user": "{\\"name\\": {\\"firstName\\": 1}}"}',
        "E011004",
    ),
    (b'{"provider": "\\ud800", "stateId": "s", "code": "c"}', "E011004"),
    (b'{"provider": "apple", "stateId": "\\ud800", "code": "c"}', "E011004"),
    (b'{"provider": "apple", "stateId": "s", "code": "\\ud800"}', "E011004"),
    (
        b'{"provider":"a","stateId":"s","code":"c","user":"{\\"name\\":{\\"lastName\\":\\"\\\\udfff\\"}}"}',
        "E011004",
    ),
]


@both_ways
@pytest.mark.parametrize(
    ("body", "code"), BAD_BODIES, ids=[body[:70].decode("latin-1") for body, _ in BAD_BODIES]
)
async def test_a_request_that_cannot_be_right_gets_the_error_json(
    asking: Asking, body: bytes, code: str
) -> None:
    """Malformed, missing and ill-typed arguments have a code each, and spend nothing."""
    async with asking(FakeDescope()) as client:
        reply = await client.post(FINISH, body)
    assert (reply.status, reply.json["errorCode"]) == (400, code)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], "E011001"),
        ({}, "E011002"),
        ({"provider": "apple", "implicit": 1}, "E011001"),
        ({"provider": "apple", "loginOptions": 1}, "E011001"),
        ({"provider": "apple", "loginOptions": {"locale": "\ud800"}}, "E011004"),
        ({"provider": "acme\ud800"}, "E011004"),
        ({"provider": "a\r\nb"}, "E011004"),
        ({"provider": "a" * 101}, "E011004"),
    ],
    ids=lambda value: ascii(value)[:60],
)
async def test_a_start_that_cannot_be_right_gets_the_error_json(body: object, code: str) -> None:
    """Start is as strict as finish."""
    async with asking_directly(FakeDescope()) as client:
        reply = await client.post(START, body)
    assert (reply.status, reply.json["errorCode"]) == (400, code)


@both_ways
@pytest.mark.parametrize("path", [START, FINISH])
@pytest.mark.parametrize(
    "authorization", [None, "", PROJECT, "Bearer P2somebodyElse", f"Bearer {PROJECT}:key", f"Basic {PROJECT}"]
)
async def test_another_project_is_unauthorized(asking: Asking, path: str, authorization: str | None) -> None:
    """Whatever is wrong with the bearer, the answer is 401, before anything is looked at."""
    async with asking(FakeDescope()) as client:
        reply = await client.post(path, b"not JSON", authorization)
    assert (reply.status, reply.json["errorCode"]) == (401, "E111119")


@both_ways
async def test_a_closed_project_wants_its_key(asking: Asking) -> None:
    """With an auth management key set, the project id alone is not enough."""
    fake = FakeDescope(auth_management_key="K2secret")
    body = fake.sign_in().as_json()
    async with asking(fake) as client:
        assert (await client.post(FINISH, body)).status == 401
        assert (await client.post(FINISH, body, f"Bearer {PROJECT}:K2wrong")).status == 401
        assert (await client.post(FINISH, body, f"Bearer {PROJECT}:K2secret")).status == 200


@both_ways
@pytest.mark.parametrize("path", ["/", f"/{FINISH}", f"{FINISH}/", "/v2/keys/P2somebodyElse"])
async def test_an_unknown_path_is_not_found(asking: Asking, path: str) -> None:
    """404 with the error JSON; another project's keys are no path either."""
    async with asking(FakeDescope()) as client:
        reply = await client.post(path)
    assert (reply.status, reply.json["errorCode"]) == (404, "E011003")


@both_ways
@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("GET", FINISH, "POST"), ("PUT", START, "POST"), ("POST", KEYS, "GET")]
)
async def test_a_wrong_method_is_told_the_right_one(
    asking: Asking, method: str, path: str, allowed: str
) -> None:
    """405 with Allow (RFC 9110 §15.5.6) and the error JSON."""
    async with asking(FakeDescope()) as client:
        reply = await client.request(method, path, b"{}")
    assert (reply.status, reply.json["errorCode"]) == (405, "E011003")
    assert reply.header("Allow") == [allowed]


@both_ways
async def test_every_answer_has_a_trace_id_of_its_own(asking: Asking) -> None:
    """cf-ray is there on success and on each refusal, and never twice the same."""
    fake = FakeDescope()
    async with asking(fake) as client:
        replies = [
            await client.finish(fake.sign_in()),
            await client.post(FINISH, b""),
            await client.get(FINISH),
            await client.get("/"),
            await client.get(KEYS),
        ]
    assert [reply.status for reply in replies] == [200, 400, 405, 404, 200]
    ids = [value for reply in replies for value in reply.header("cf-ray")]
    assert len(set(ids)) == len(replies)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stateId": "guessed"}, "the state is unknown, or spent"),
        ({"provider": "google"}, "the sign-in is with another provider"),
        ({"code": "", "idToken": "a.b.c"}, "start asked for a code"),
        ({"code": "guessed"}, "the provider did not issue this proof"),
        ({"code": ""}, "exactly one of code and idToken is needed"),
    ],
    ids=str,
)
async def test_a_refusal_says_what_is_wrong(change: dict[str, str], message: str) -> None:
    """All of these have the service's one code for it; the message is for whoever debugs."""
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        reply = await client.finish(fake.sign_in("apple"), **change)
    assert reply.header("Content-Type") == ["application/json"]
    assert reply.json["errorMessage"] == message
    assert reply.json["errorDescription"] in {
        "Failed to exchange code",
        "Request is missing required arguments",
    }


async def test_a_proof_of_another_provider_is_refused() -> None:
    """Also where the state's provider was named."""
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        reply = await client.finish(fake.sign_in("apple"), code=fake.sign_in("our-own").code)
    assert reply.json["errorMessage"] == "the provider did not issue this proof"
