"""The phone, for a sign-in that somebody else has started: a backend of ours or of others."""

import hashlib
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any, Final

import pytest
from asking import FINISH, START, Asking, asking_directly, both_ways, claims_of

from descope_native import (
    AiohttpTransport,
    InMemoryTransport,
    LoginOptions,
    NativeOAuthFinisher,
    NativeOAuthStarter,
)
from descope_native.testing import FakeDescope, Start

PHONE: Final = "/stand-in/phone"


@both_ways
@pytest.mark.parametrize(
    ("provider", "implicit", "kind"),
    [
        ("apple", False, "code"),
        ("apple", True, "idToken"),
        ("apple", None, "code"),
        ("google", False, "idToken"),
        ("google", True, "idToken"),
        ("our-own", False, "code"),
        ("our-own", True, "idToken"),
    ],
)
async def test_start_decides_between_code_and_id_token(
    asking: Asking, provider: str, implicit: bool | None, kind: str
) -> None:
    """The proof is of the kind that ``implicit`` says, of Google always an id token; and finish takes it."""
    body = {"provider": provider} | ({} if implicit is None else {"implicit": implicit})
    async with asking(FakeDescope()) as client:
        started = (await client.post(START, body)).json
        assert started["implicit"] is (kind == "idToken")
        proof = (await client.post(PHONE, started, None)).json
        assert proof.keys() & {"code", "idToken"} == {kind}
        if kind == "idToken":
            claims = claims_of(proof["idToken"])
            assert (claims["nonce"], claims["aud"]) == (started["nonce"], started["clientId"])
        assert (await client.post(FINISH, proof)).status == 200


@pytest.mark.parametrize("made", [dict, lambda names: SimpleNamespace(**names)], ids=["mapping", "object"])
async def test_the_phone_takes_what_start_gave_under_pythons_names(made: Any) -> None:
    """A ``StartResult``, whatever else it has, or a mapping that a backend made of one."""
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        started = (await client.post(START, {"provider": "google"})).json
        names = {"client_id": started["clientId"], "nonce": started["nonce"], "state_id": started["stateId"]}
        proof = fake.phone(made({**names, "implicit": True, "drift": ()}), email="grace@example.com")
        assert (proof.state_id, proof.nonce) == (started["stateId"], started["nonce"])
        assert (await client.finish(proof)).json["user"]["email"] == "grace@example.com"


@pytest.mark.parametrize("over_http", [False, True], ids=["direct", "http"])
@pytest.mark.parametrize("provider", ["google", "apple"])
async def test_a_backend_of_ours_starts_and_finishes(over_http: bool, provider: str) -> None:
    """Both calls, strict, on one transport, with the phone between them."""
    fake = FakeDescope(device_tokens=True)
    async with AsyncExitStack() as stack:
        base_url = await stack.enter_async_context(fake.serve()) if over_http else None
        network = await stack.enter_async_context(AiohttpTransport.open())
        transport = network if over_http else InMemoryTransport(fake)
        starter = NativeOAuthStarter(fake.project_id, transport, base_url=base_url, strict=True)
        finisher = NativeOAuthFinisher(fake.project_id, transport, base_url=base_url, strict=True)
        started = await starter.start(provider=provider, login_options=LoginOptions(locale="de"))
        proof = fake.phone(started)
        result = await finisher.finish(**proof.as_arguments(), nonce=started.nonce)
        again = await starter.start(
            provider=provider, refresh_jwt=result.refresh_jwt, known_device_jwt=result.known_device_jwt
        )
    assert again.state_id != started.state_id
    assert result.user is not None
    assert fake.starts == [
        Start(provider=provider, login_options={"locale": "de"}),
        Start(provider=provider, user_id=result.user.user_id, known_device=True),
    ]


async def test_the_phone_need_not_know_the_state() -> None:
    """A backend may keep it; the proof is for whoever started with this nonce."""
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        started = (await client.post(START, {"provider": "apple"})).json
        state_id = started.pop("stateId")
        proof = fake.phone(started)
        assert proof.state_id is None
        assert set(proof.as_arguments()) == {"provider", "code", "user"}
        assert (await client.finish(proof)).json["errorCode"] == "E011002"
        assert (await client.finish(proof, stateId=state_id)).status == 200


@both_ways
@pytest.mark.parametrize("provider", ["google", "apple"])
@pytest.mark.parametrize(
    ("phone", "claim", "problem"),
    [
        ({"hashNonce": True}, "hash", "SHA-256"),
        ({"sendNonce": False}, None, "has no nonce"),
        ({"nonce": "another"}, "another", "is not the one that start gave"),
    ],
    ids=["hashed", "none", "another"],
)
async def test_a_nonce_that_did_not_come_through_is_refused(
    asking: Asking, provider: str, phone: dict[str, Any], claim: str | None, problem: str
) -> None:
    """Of an id token and behind a code; the refusal says what the phone's library made of the nonce."""
    async with asking(FakeDescope()) as client:
        started = (await client.post(START, {"provider": provider})).json
        proof = (await client.post(PHONE, {**started, **phone}, None)).json
        if provider == "google":
            expected = hashlib.sha256(started["nonce"].encode()).hexdigest() if claim == "hash" else claim
            assert claims_of(proof["idToken"]).get("nonce") == expected
        refused = await client.post(FINISH, proof)
        assert (refused.status, refused.json["errorCode"]) == (400, "E061301")
        assert problem in refused.json["errorMessage"]
        good = (await client.post(PHONE, started, None)).json
        assert "the state is unknown, or spent" in (await client.post(FINISH, good)).json["errorMessage"]


async def test_somebody_elses_id_token_does_not_finish_a_strangers_sign_in() -> None:
    """Each of the two is good, and they do not belong together."""
    fake = FakeDescope()
    victim, stranger = fake.sign_in(email="victim@example.com"), fake.sign_in(email="stranger@example.com")
    async with asking_directly(fake) as client:
        mixed = await client.finish(victim, stateId=stranger.state_id)
        assert mixed.json["errorMessage"].startswith("the id token's nonce is not the one")
        assert (await client.finish(victim)).status == 200


@both_ways
@pytest.mark.parametrize(
    ("change", "status", "problem"),
    [
        ({"clientId": None}, 400, "client_id is missing"),
        ({"clientId": 1}, 400, "client_id has the wrong type"),
        ({"nonce": ""}, 400, "nonce is missing"),
        ({"nonce": "\ud800"}, 400, "what start gave holds text that cannot be encoded"),
        ({"implicit": "yes"}, 400, "implicit has the wrong type"),
        ({"stateId": 1}, 400, "state_id has the wrong type"),
        ({"clientId": "com.example."}, 409, "no provider knows this client id"),
        ({"clientId": "com.example.a\nb"}, 409, "no provider knows this client id"),
        ({"clientId": "com.example." + "x" * 101}, 409, "no provider knows this client id"),
        ({"clientId": "1234.apps.example.net"}, 409, "no provider knows this client id"),
        ({"hashNonce": 1}, 400, "hashNonce has the wrong type"),
        ({"user": {"email": ""}}, 400, "user.email is empty"),
    ],
    ids=str,
)
async def test_the_phone_needs_what_start_gave(
    asking: Asking, change: dict[str, Any], status: int, problem: str
) -> None:
    """Anything else is refused with what is wrong."""
    async with asking(FakeDescope()) as client:
        started = (await client.post(START, {"provider": "google"})).json
        reply = await client.post(PHONE, {**started, **change}, None)
    assert reply.status == status
    assert reply.json["errorMessage"].startswith(problem)


def test_something_that_start_never_gave_is_refused_in_python_too() -> None:
    """With the name of what is missing."""
    with pytest.raises(ValueError, match=r"^client_id is missing"):
        FakeDescope().phone(object())


@both_ways
async def test_what_a_start_asked_for_is_kept(asking: Asking) -> None:
    """Login options and all, in order; of the starts that were accepted."""
    fake = FakeDescope()
    options = {"stepup": True, "customClaims": {"plan": ["gold"]}, "locale": "de"}
    async with asking(fake) as client:
        await client.post(START, {"provider": "apple", "implicit": False, "loginOptions": options})
        await client.post(START, {"provider": "google"})
        await client.post(START, {"provider": "google", "loginOptions": []})
        calls = (await client.get("/stand-in/calls")).json["calls"]
    assert fake.starts == [
        Start(provider="apple", implicit=False, login_options=options),
        Start(provider="google"),
    ]
    assert calls[0]["body"] == {"provider": "apple", "implicit": False, "loginOptions": "[masked]"}
    assert "gold" not in repr(fake.starts)


@both_ways
async def test_a_refresh_token_in_the_bearer_of_start_says_who_is_signed_in(asking: Asking) -> None:
    """For step-up; a token that is nobody's is refused, and finish takes none."""
    fake = FakeDescope()
    async with asking(fake) as client:
        session = (await client.finish(fake.sign_in())).json
        bearer = f"Bearer {fake.project_id}:{session['refreshJwt']}"
        assert (await client.post(START, {"provider": "google"}, bearer)).status == 200
        assert (await client.post(START, {"provider": "google"}, f"{bearer}x")).status == 401
        assert (await client.post(FINISH, fake.sign_in().as_json(), bearer)).status == 401
    (start,) = fake.starts
    assert start.user_id == session["user"]["userId"]


async def test_a_refresh_token_comes_before_the_projects_key() -> None:
    """As the official SDKs for servers send it."""
    fake = FakeDescope(auth_management_key="K2")
    async with asking_directly(fake) as client:
        project = f"Bearer {fake.project_id}"
        session = (await client.post(FINISH, fake.sign_in().as_json(), f"{project}:K2")).json
        token = session["refreshJwt"]
        for bearer, status in (
            (f"{project}:{token}:K2", 200),
            (f"{project}:{token}", 401),
            (f"{project}:K2:{token}", 401),
        ):
            assert (await client.post(START, {"provider": "google"}, bearer)).status == status
