"""The stand-in service, asked in literal JSON: directly, and over HTTP by a client that is not ours."""

import asyncio
import base64
import errno
import json
import re
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
import attrs
import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet
from kit.support import DOCUMENTED_ANSWER
from yarl import URL

from descope_native import (
    ConnectionLost,
    HttpRequest,
    InMemoryTransport,
    NativeOAuthFinisher,
    Outcome,
    RateLimitedError,
    RequestTimeout,
)
from descope_native.testing import FakeDescope, Fault, Proof, openapi

PROJECT: Final = "P2fakeProject0000000000000000"
START: Final = "/v1/auth/oauth/native/start"
FINISH: Final = "/v1/auth/oauth/native/finish"
KEYS: Final = f"/v2/keys/{PROJECT}"

# The contract's tables, by hand.
ANSWER_KEYS: Final = (
    "sessionJwt refreshJwt cookieDomain cookiePath cookieMaxAge cookieExpiration user firstSeen idpResponse "
    "sessionExpiration nextRefreshSeconds cookieName sessionCookieName sessionCookieDomain externalToken "
    "trustedDeviceJwt tenantSSOID claims unsavedSSO"
)
USER_KEYS: Final = (
    "loginIds roleNames externalIds ssoAppIds permissions userId name email phone status picture givenName "
    "middleName familyName recoveryEmail recoveryPhone verifiedEmail verifiedPhone test TOTP SAML webauthn "
    "password editable SCIM OIDC push verifiedRecoveryEmail verifiedRecoveryPhone createdTime modifiedTime "
    "consentExpiration userTenants OAuth customAttributes"
)
IDP_KEYS: Final = (
    "samlResponse samlGeneratedUser samlGeneratedRoles oidcResponse oidcGeneratedUser oidcGeneratedRoles "
    "idpGroups idpSAMLAttributes idpOIDCClaims"
)

TENANTS: Final = [
    {"tenantId": "T2acme", "tenantName": "Acme", "roleNames": ["admin"], "permissions": ["pay", "read"]},
    {"tenantId": "T2blue", "tenantName": "Blue", "roleNames": ["user"], "permissions": []},
]


@attrs.frozen
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


@attrs.frozen
class Client:
    """Asks a stand-in something: as project ``P2fake…`` unless told otherwise."""

    ask: Callable[..., Any]

    async def get(self, path: str) -> Reply:
        return await self.request("GET", path, b"")

    async def post(
        self, path: str, body: object = None, authorization: str | None = f"Bearer {PROJECT}"
    ) -> Reply:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("POST", path, content, authorization)

    async def finish(self, proof: Proof, **changes: object) -> Reply:
        return await self.post(FINISH, {**proof.as_json(), **changes})

    async def request(self, method: str, path: str, body: bytes, authorization: str | None = None) -> Reply:
        headers = {"Authorization": authorization} if authorization else {}
        reply: Reply = await self.ask(method, path, body, headers)
        return reply


Asking = Callable[[FakeDescope], AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def asking_directly(fake: FakeDescope) -> AsyncGenerator[Client, None]:
    async def ask(method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        url = URL("https://api.descope.com" + path)
        answer = await fake(HttpRequest(method=method, url=url, headers=headers, body=body, timeout=5))
        return Reply(answer.status, list(answer.headers), answer.body)

    yield Client(ask)


@asynccontextmanager
async def asking_over_http(fake: FakeDescope) -> AsyncGenerator[Client, None]:
    async with fake.serve() as base_url, aiohttp.ClientSession() as session:

        async def ask(method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
            async with session.request(method, base_url + path, data=body, headers=headers) as answer:
                return Reply(answer.status, list(answer.headers.items()), await answer.read())

        yield Client(ask)


@pytest.fixture(params=[asking_directly, asking_over_http], ids=["direct", "http"])
def asking(request: pytest.FixtureRequest) -> Asking:
    ask: Asking = request.param
    return ask


class Clock:
    now = 1_800_000_063.0

    def __call__(self) -> float:
        return self.now


def claims_of(token: str) -> Any:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


# --- a sign-in


async def test_a_sign_in_runs_from_start_over_the_phone_to_a_session(asking: Asking) -> None:
    """Start mints a state, the phone turns it into a proof, and finish turns that into a session."""
    fake = FakeDescope()
    async with asking(fake) as client:
        started = await client.post(START, {"provider": "apple", "implicit": True, "loginOptions": {}})
        assert started.status == 200
        assert set(started.json) == {"clientId", "stateId", "nonce", "implicit"}
        assert started.json["implicit"] is True
        signed_in = await client.post("/stand-in/sign-in", {"stateId": started.json["stateId"]}, None)
        proof = signed_in.json
        assert set(proof) == {"provider", "stateId", "idToken", "nonce", "user"}
        assert claims_of(proof["idToken"])["nonce"] == proof.pop("nonce") == started.json["nonce"]
        finished = await client.post(FINISH, proof)
    assert finished.status == 200
    assert finished.header("Content-Type") == ["application/json"]
    assert finished.json["user"]["email"] == "ada@example.com"


async def test_the_answer_has_every_documented_key(asking: Asking) -> None:
    """What is documented is there, with the JSON type of the documented sample."""
    fake = FakeDescope()
    async with asking(fake) as client:
        answer = (await client.finish(fake.sign_in(user={"userTenants": TENANTS}))).json
    assert set(answer) == set(ANSWER_KEYS.split())
    assert set(answer["user"]) == set(USER_KEYS.split())
    assert set(answer["idpResponse"]) == set(IDP_KEYS.split())
    for tenant in answer["user"]["userTenants"]:
        assert set(tenant) == {"tenantId", "tenantName", "roleNames", "permissions"}
    assert_same_types(json.loads(DOCUMENTED_ANSWER), answer)


def assert_same_types(documented: Any, real: Any) -> None:
    assert type(documented) is type(real)
    if isinstance(documented, dict):
        for key in documented.keys() & real.keys():
            assert_same_types(documented[key], real[key])


async def test_of_a_new_user_only_what_is_known_is_set(asking: Asking) -> None:
    """Everything else is off or empty, and the times follow from the clock."""
    clock = Clock()
    fake = FakeDescope(clock=clock)
    async with asking(fake) as client:
        answer = (await client.finish(fake.sign_in())).json
    user = answer.pop("user")
    assert answer.pop("sessionJwt") != answer.pop("refreshJwt")
    assert re.fullmatch(r"U2[0-9A-Za-z]{25}", user.pop("userId"))
    assert not any(answer.pop("idpResponse").values())
    assert {key: value for key, value in answer.items() if value} == {
        "cookiePath": "/",
        "cookieMaxAge": 2_419_200,
        "cookieExpiration": clock.now + 2_419_200,
        "firstSeen": True,
        "sessionExpiration": clock.now + 600,
        "nextRefreshSeconds": 580,
    }
    assert {key: value for key, value in user.items() if value} == {
        "loginIds": ["ada@example.com"],
        "externalIds": ["ada@example.com"],
        "email": "ada@example.com",
        "verifiedEmail": True,
        "name": "Ada Lovelace",
        "givenName": "Ada",
        "familyName": "Lovelace",
        "status": "enabled",
        "editable": True,
        "OAuth": {"google": True},
        "createdTime": clock.now,
        "modifiedTime": clock.now,
    }


def test_an_id_token_says_what_a_provider_would() -> None:
    """Who, for which app, in answer to which nonce, and for an hour."""
    clock = Clock()
    proof = FakeDescope(clock=clock).sign_in()
    assert claims_of(str(proof.id_token)) == {
        "iss": "https://google.example.com",
        "aud": "com.example.google",
        "sub": "ada@example.com",
        "email": "ada@example.com",
        "nonce": proof.nonce,
        "iat": clock.now,
        "exp": clock.now + 3600,
    }


async def test_an_answer_can_be_as_large_as_a_real_one() -> None:
    """Two tenants and signed tokens make about 2.7 kB."""
    fake = FakeDescope(tokens="body")
    person = {"userTenants": TENANTS, "phone": "+15550100", "picture": "https://example.com/ada.png"}
    async with asking_directly(fake) as client:
        reply = await client.finish(fake.sign_in(user=person))
    assert 2_500 < len(reply.body) < 3_500


@pytest.mark.parametrize("tokens", ["body", "cookies"])
@pytest.mark.parametrize("provider", ["google", "apple", "our-own"])
async def test_a_strict_finisher_takes_the_answer(tokens: Any, provider: str) -> None:
    """Nothing that the stand-in says is other than the client has it documented."""
    fake = FakeDescope(tokens=tokens, session_cookie_name="here", refresh_cookie_name="there")
    finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake), strict=True)
    proof = fake.sign_in(
        provider, user={"userTenants": TENANTS, "customAttributes": {"plan": ["a", 1, None]}}
    )
    result = await finisher.finish(**proof.as_arguments())
    assert result.user is not None
    assert (result.user.email, result.user.name) == ("ada@example.com", "Ada Lovelace")
    assert claims_of(str(result.session_jwt))["drn"] == "DS"
    assert claims_of(str(result.refresh_jwt))["drn"] == "DSR"


async def test_google_gives_an_id_token_and_others_a_code_unless_implicit() -> None:
    """A phone ends up with exactly one of the two."""
    fake = FakeDescope()
    proofs = [
        fake.sign_in(),
        fake.sign_in("google", implicit=False),
        fake.sign_in("apple"),
        fake.sign_in("apple", implicit=True),
        fake.sign_in("our-own"),
    ]
    assert [proof.id_token is not None for proof in proofs] == [True, True, False, True, False]
    assert [proof.code is not None for proof in proofs] == [False, False, True, False, True]
    assert proofs[0].provider == "google"


async def test_the_same_email_is_the_same_user(asking: Asking) -> None:
    """A user is first seen once, keeps the id, and collects providers."""
    clock = Clock()
    fake = FakeDescope(clock=clock)
    async with asking(fake) as client:
        first = (await client.finish(fake.sign_in("google", user={"phone": "+15550100"}))).json
        clock.now += 100
        second = (await client.finish(fake.sign_in("our-own"))).json
        other = (await client.finish(fake.sign_in(email="grace@example.com", name="Grace"))).json
    assert [answer["firstSeen"] for answer in (first, second, other)] == [True, False, True]
    assert first["user"]["userId"] == second["user"]["userId"] != other["user"]["userId"]
    assert second["user"]["OAuth"] == {"google": True, "our-own": True}
    assert second["user"]["phone"] == "+15550100"
    assert second["user"]["modifiedTime"] - second["user"]["createdTime"] == 100
    assert (other["user"]["givenName"], other["user"]["familyName"]) == ("Grace", "")


async def test_apple_tells_the_name_once_and_only_the_app(asking: Asking) -> None:
    """The name of an Apple user is what the app passes on, and kept from then on."""
    fake = FakeDescope()
    async with asking(fake) as client:
        told = fake.sign_in("apple", name="Ada King Lovelace", user={"middleName": "Augusta"})
        again = fake.sign_in("apple", name="Ada King Lovelace")
        forgetful = (await client.finish(again)).json["user"]
        attentive = (await client.finish(told)).json["user"]
        later = (await client.finish(fake.sign_in("apple"))).json["user"]
    assert json.loads(told.user or "") == {
        "name": {"firstName": "Ada King", "middleName": "Augusta", "lastName": "Lovelace"}
    }
    assert again.user is None
    assert not any(
        fake.sign_in(other, email="grace@example.com").user for other in ("acme", "google", "Apple")
    )
    assert forgetful["name"] == ""
    assert attentive["name"] == later["name"] == "Ada King Augusta Lovelace"
    assert (later["givenName"], later["middleName"], later["familyName"]) == (
        "Ada King",
        "Augusta",
        "Lovelace",
    )


NO_NAME: Final = [
    None,
    "",
    " ",
    "null",
    " null\n",
    "{}",
    '{"email": "ada@example.com"}',
    '{"name": null}',
    '{"name": ""}',
    '{"name": {}}',
    '{"name": {"firstName": ""}}',
    '{"name": {"firstName": null, "middleName": "", "lastName": ""}}',
    '{"name": {"nickname": "Ada"}}',
]


@pytest.mark.parametrize("user", NO_NAME, ids=map(repr, NO_NAME))
async def test_a_name_that_is_not_sent_again_stays(asking: Asking, user: str | None) -> None:
    """However an app spells that Apple gave no name, nobody's name is wiped by it."""
    fake = FakeDescope()
    async with asking(fake) as client:
        nameless = (await client.finish(fake.sign_in("apple", email="g@example.com"), user=user)).json["user"]
        first = (await client.finish(fake.sign_in("apple", name="Ada Lovelace"))).json["user"]
        later = (await client.finish(fake.sign_in("apple"), user=user)).json["user"]
    names = ("name", "givenName", "middleName", "familyName")
    assert [nameless[key] for key in names] == ["", "", "", ""]
    assert [later[key] for key in names] == ["Ada Lovelace", "Ada", "", "Lovelace"]
    assert later["userId"] == first["userId"]


async def test_a_part_of_a_name_that_is_not_sent_again_stays(asking: Asking) -> None:
    """What is sent replaces that part, and the whole name is made of all the parts."""
    fake = FakeDescope()
    changed = '{"name": {"firstName": "", "middleName": "King", "lastName": null}}'
    async with asking(fake) as client:
        await client.finish(fake.sign_in("apple", name="Ada Lovelace"))
        later = (await client.finish(fake.sign_in("apple"), user=changed)).json["user"]
    assert [later[key] for key in ("name", "givenName", "middleName", "familyName")] == [
        "Ada King Lovelace",
        "Ada",
        "King",
        "Lovelace",
    ]


def test_apple_hands_out_no_text_without_a_name() -> None:
    """Where nothing is known, the app gets nothing, as at a later sign-in."""
    assert FakeDescope().sign_in("apple", name="").user is None


async def test_a_sign_in_that_was_started_is_finished_by_the_phone() -> None:
    """The state of an earlier start is what the proof is for, with the provider that was named there."""
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        started = (await client.post(START, {"provider": "apple"})).json
        proof = fake.sign_in(state_id=started["stateId"])
        assert (proof.provider, proof.state_id, proof.nonce) == (
            "apple",
            started["stateId"],
            started["nonce"],
        )
        assert (await client.finish(proof)).status == 200


# --- refusals


async def test_a_proof_is_good_once(asking: Asking) -> None:
    """The second finish with the same state is refused as the contract says."""
    fake = FakeDescope()
    proof = fake.sign_in("apple")
    async with asking(fake) as client:
        assert (await client.finish(proof)).status == 200
        again = await client.finish(proof)
    assert (again.status, again.json["errorCode"]) == (400, "E061301")
    assert set(again.json) == {"errorCode", "errorDescription", "errorMessage"}


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
]


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
    [({}, "E011002"), ({"provider": "apple", "implicit": 1}, "E011001"), ([], "E011001")],
)
async def test_a_start_that_cannot_be_right_gets_the_error_json(body: object, code: str) -> None:
    """Start is as strict as finish."""
    async with asking_directly(FakeDescope()) as client:
        reply = await client.post(START, body)
    assert (reply.status, reply.json["errorCode"]) == (400, code)


@pytest.mark.parametrize("path", [START, FINISH])
@pytest.mark.parametrize(
    "authorization", [None, "", PROJECT, "Bearer P2somebodyElse", f"Bearer {PROJECT}:key", f"Basic {PROJECT}"]
)
async def test_another_project_is_unauthorized(asking: Asking, path: str, authorization: str | None) -> None:
    """Whatever is wrong with the bearer, the answer is 401, before anything is looked at."""
    async with asking(FakeDescope()) as client:
        reply = await client.post(path, b"not JSON", authorization)
    assert (reply.status, reply.json["errorCode"]) == (401, "E111119")


async def test_a_closed_project_wants_its_key(asking: Asking) -> None:
    """With an auth management key set, the project id alone is not enough."""
    fake = FakeDescope(auth_management_key="K2secret")
    body = fake.sign_in().as_json()
    async with asking(fake) as client:
        assert (await client.post(FINISH, body)).status == 401
        assert (await client.post(FINISH, body, f"Bearer {PROJECT}:K2wrong")).status == 401
        assert (await client.post(FINISH, body, f"Bearer {PROJECT}:K2secret")).status == 200


@pytest.mark.parametrize("path", ["/", f"/{FINISH}", f"{FINISH}/", "/v2/keys/P2somebodyElse"])
async def test_an_unknown_path_is_not_found(asking: Asking, path: str) -> None:
    """404 with the error JSON; another project's keys are no path either."""
    async with asking(FakeDescope()) as client:
        reply = await client.post(path)
    assert (reply.status, reply.json["errorCode"]) == (404, "E011003")


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
    ("user", "problem"),
    [
        ({"email": ""}, "user.email is empty"),
        ({"email": None}, "user.email has the wrong type"),
        ({"test": 1}, "user.test has the wrong type"),
        ({"roleNames": "admin"}, "user.roleNames has the wrong type"),
        ({"roleNames": [1]}, "user.roleNames has the wrong type"),
        ({"userTenants": ["T2acme"]}, "user.userTenants holds something else than objects"),
        ({"userTenants": [{"tenantId": 1}]}, "user.userTenants.tenantId has the wrong type"),
    ],
)
async def test_nobody_signs_in_whom_no_answer_could_describe(
    asking: Asking, user: dict[str, Any], problem: str
) -> None:
    """The user that a test describes is checked when it is described, by hand as well as over HTTP."""
    fake = FakeDescope()
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        fake.sign_in(user=user)
    async with asking(fake) as client:
        reply = await client.post("/stand-in/sign-in", {"user": user}, None)
    assert (reply.status, reply.json["errorMessage"]) == (400, problem)


async def test_a_phone_cannot_take_over_a_sign_in_that_is_not_its_own() -> None:
    """A state that nobody started, or that was started otherwise, makes no proof."""
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        state_id = (await client.post(START, {"provider": "apple"})).json["stateId"]
        for arguments in ({"provider": "google"}, {"implicit": True}):
            with pytest.raises(ValueError, match="started otherwise"):
                fake.sign_in(state_id=state_id, **arguments)
        others = await client.post("/stand-in/sign-in", {"stateId": state_id, "provider": "google"}, None)
        nobodys = await client.post("/stand-in/sign-in", {"stateId": "guessed"}, None)
    assert (others.status, others.json["errorMessage"]) == (409, "the sign-in was started otherwise")
    assert (nobodys.status, nobodys.json["errorMessage"]) == (409, "no sign-in has this state")


# --- tokens


async def test_tokens_come_in_cookies_only_if_so_wanted(asking: Asking) -> None:
    """Two Set-Cookie lines with the attributes that the service sends, and a body without tokens."""
    clock = Clock()
    fake = FakeDescope(tokens="cookies", cookie_domain="auth.example.com", cookie_path="/app", clock=clock)
    async with asking(fake) as client:
        reply = await client.finish(fake.sign_in())
    answer = reply.json
    assert (answer["sessionJwt"], answer["refreshJwt"]) == ("", "")
    assert (answer["cookieDomain"], answer["cookiePath"]) == ("auth.example.com", "/app")
    assert (answer["cookieName"], answer["sessionCookieName"]) == ("", "")
    lines = reply.header("Set-Cookie")
    assert [line.partition("=")[0] for line in lines] == ["DS", "DSR"]
    for line, lifetime in zip(lines, [600, 2_419_200], strict=True):
        pair, *attributes = line.split("; ")
        assert claims_of(pair)["exp"] == clock.now + lifetime
        expires = attributes.pop(2).removeprefix("Expires=")
        assert parsedate_to_datetime(expires).timestamp() == clock.now + lifetime
        assert expires.endswith(" GMT")
        common = ["Path=/app", "Domain=auth.example.com", f"Max-Age={lifetime}", "HttpOnly", "Secure"]
        assert attributes == [*common, "SameSite=None"]
    assert answer["sessionExpiration"] == clock.now + 600
    assert answer["cookieExpiration"] == clock.now + answer["cookieMaxAge"] == clock.now + 2_419_200


async def test_cookies_have_the_names_and_the_domain_that_the_answer_tells(asking: Asking) -> None:
    """Custom names are in the body; without a domain the cookie is the host's."""
    fake = FakeDescope(tokens="cookies", session_cookie_name="here", refresh_cookie_name="there")
    async with asking(fake) as client:
        reply = await client.finish(fake.sign_in())
    assert (reply.json["sessionCookieName"], reply.json["cookieName"]) == ("here", "there")
    assert [line.partition("=")[0] for line in reply.header("Set-Cookie")] == ["here", "there"]
    assert not any("Domain" in line for line in reply.header("Set-Cookie"))


async def test_tokens_in_the_body_come_without_cookies(asking: Asking) -> None:
    """Body mode sets nothing."""
    fake = FakeDescope()
    async with asking(fake) as client:
        assert (await client.finish(fake.sign_in())).header("Set-Cookie") == []


async def test_tokens_are_signed_with_the_keys_that_are_served(asking: Asking) -> None:
    """RS256 over the claims of the contract, verified by another library with the public key set."""
    clock = Clock()
    fake = FakeDescope(clock=clock, session_lifetime=10, refresh_lifetime=100)
    person = {"userTenants": TENANTS, "roleNames": ["editor"], "permissions": ["write"]}
    async with asking(fake) as client:
        answer = (await client.finish(fake.sign_in(user=person))).json
        keys = (await client.get(KEYS)).json
    assert set(keys) == {"keys"}
    assert all(not {"d", "p", "q"} & set(key) for key in keys["keys"])
    trusted = KeySet.import_key_set(keys)
    session = jwt.decode(answer["sessionJwt"], trusted, algorithms=["RS256"]).claims
    refresh = jwt.decode(answer["refreshJwt"], trusted, algorithms=["RS256"]).claims
    assert session.pop("jti") != refresh.pop("jti")
    common = {
        "amr": ["oauth"],
        "iat": clock.now,
        "iss": PROJECT,
        "sub": answer["user"]["userId"],
        "rexp": "2027-01-15T08:02:43Z",
        "tenants": {
            "T2acme": {"roles": ["admin"], "permissions": ["pay", "read"]},
            "T2blue": {"roles": ["user"], "permissions": []},
        },
        "roles": ["editor"],
        "permissions": ["write"],
    }
    assert session == {**common, "drn": "DS", "exp": clock.now + 10}
    assert refresh == {**common, "drn": "DSR", "exp": clock.now + 100}
    assert answer["nextRefreshSeconds"] == 0
    touched = ".".join([*answer["sessionJwt"].split(".")[:2], answer["refreshJwt"].split(".")[2]])
    with pytest.raises(BadSignatureError):
        jwt.decode(touched, trusted, algorithms=["RS256"])


async def test_without_joserfc_tokens_say_that_they_are_unsecured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shape of a JWT stays, its header tells the truth (RFC 7519 §6), and there is no key."""
    monkeypatch.setitem(sys.modules, "joserfc", None)
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        answer = (await client.finish(fake.sign_in())).json
        keys = (await client.get(KEYS)).json
    head, _, signature = answer["sessionJwt"].split(".")
    assert claims_of(f".{head}") == {"alg": "none", "typ": "JWT"}
    assert signature == ""
    assert claims_of(answer["sessionJwt"])["sub"] == answer["user"]["userId"]
    assert keys == {"keys": []}


# --- faults


def finisher_of(
    fake: FakeDescope, base_url: str | None = None
) -> AbstractAsyncContextManager[NativeOAuthFinisher]:
    @asynccontextmanager
    async def in_memory() -> AsyncGenerator[NativeOAuthFinisher, None]:
        yield NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake))

    if base_url is None:
        return in_memory()
    return NativeOAuthFinisher.open(fake.project_id, base_url=base_url)


@pytest.mark.parametrize("over_http", [False, True], ids=["direct", "http"])
@pytest.mark.parametrize(
    ("fault", "phase", "spent"),
    [
        (Fault(drop="before"), "wait", False),
        (Fault(drop="after"), "wait", True),
        (Fault(drop="after", applied=False), "wait", False),
        (Fault(drop="halfway"), "read", True),
        (Fault(drop="halfway", status=200, body=b"{}"), "read", False),
    ],
    ids=repr,
)
async def test_a_drop_loses_the_connection(over_http: bool, fault: Fault, phase: str, spent: bool) -> None:
    """The client sees the same over both transports; whether the code is spent is the fault's say."""
    fake = FakeDescope()
    fake.fail_next(fault)
    proof = fake.sign_in()
    async with fake.serve() as base_url, finisher_of(fake, base_url if over_http else None) as finisher:
        with pytest.raises(ConnectionLost) as lost:
            await finisher.finish(**proof.as_arguments())
        assert (lost.value.phase, lost.value.outcome) == (phase, Outcome.UNKNOWN)
        async with asking_directly(fake) as client:
            assert (await client.finish(proof)).status == (400 if spent else 200)


async def exchange(base_url: str, proof: Proof) -> bytes:
    """Everything that comes back, by a raw socket."""
    body = json.dumps(proof.as_json())
    head = f"POST {FINISH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {PROJECT}\r\n"
    reader, writer = await asyncio.open_connection("localhost", URL(base_url).port)
    try:
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        return await reader.read()
    finally:
        writer.close()


async def test_a_drop_is_a_reset_on_a_real_socket() -> None:
    """Not a tidy end: the kernel says connection reset."""
    fake = FakeDescope()
    fake.fail_next(Fault(drop="before"), Fault(drop="after"))
    async with fake.serve() as base_url:
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await exchange(base_url, fake.sign_in())
    assert [call.status for call in fake.calls] == [None, None]


async def test_a_drop_halfway_leaves_half_a_body() -> None:
    """Content-Length promises twice what comes."""
    fake = FakeDescope()
    fake.fail_next(Fault(drop="halfway"))
    async with fake.serve() as base_url:
        head, _, body = (await exchange(base_url, fake.sign_in())).partition(b"\r\n\r\n")
    promised = re.search(rb"Content-Length: (\d+)", head)
    assert promised is not None
    assert len(body) == int(promised[1]) // 2 > 500
    assert body.startswith(b'{"sessionJwt":"ey')


async def test_a_status_replaces_the_answer_exactly(asking: Asking) -> None:
    """Any status with any headers, twice the same too, and any body; the code stays good unless applied."""
    fake = FakeDescope()
    fake.fail_next(
        Fault(status=502, headers=[("X-A", "1"), ("X-A", "2")], body=b"<html>"),
        Fault(status=500, applied=True),
    )
    proof = fake.sign_in()
    async with asking(fake) as client:
        replaced = await client.finish(proof)
        assert (replaced.status, replaced.header("X-A"), replaced.body) == (502, ["1", "2"], b"<html>")
        assert (await client.finish(proof)).status == 500
        assert (await client.finish(proof)).json["errorCode"] == "E061301"


async def test_a_rate_limit_says_when_to_come_back() -> None:
    """429 with Retry-After and the empty body that the service really sends."""
    fake = FakeDescope()
    fake.fail_next(Fault(status=429, headers={"Retry-After": "10"}))
    proof = fake.sign_in()
    async with finisher_of(fake) as finisher:
        with pytest.raises(RateLimitedError) as limited:
            await finisher.finish(**proof.as_arguments())
        assert limited.value.retry_after == 10
        assert (await finisher.finish(**proof.as_arguments())).session_jwt


async def test_a_delay_comes_after_the_request_took_effect() -> None:
    """A client that gives up waiting has spent its code all the same; serving ends without waiting for it."""
    fake = FakeDescope()
    fake.fail_next(Fault(delay=60))
    proof = fake.sign_in()
    before = time.monotonic()
    async with fake.serve() as base_url, finisher_of(fake, base_url) as finisher:
        with pytest.raises(RequestTimeout) as late:
            await finisher.finish(**proof.as_arguments(), timeout=0.2)
        assert late.value.phase == "wait"
    assert time.monotonic() - before < 5
    assert [call.status for call in fake.calls] == [200]
    async with asking_directly(fake) as client:
        assert (await client.finish(proof)).status == 400


async def test_a_delay_delays(asking: Asking) -> None:
    """The answer is the usual one, and late."""
    fake = FakeDescope()
    fake.fail_next(Fault(delay=0.05))
    async with asking(fake) as client:
        before = time.monotonic()
        assert (await client.finish(fake.sign_in())).status == 200
        assert time.monotonic() - before >= 0.05


async def test_fields_are_merged_into_the_answer(asking: Asking) -> None:
    """Unknown keys come in and documented ones go wrong, at any depth, and nothing else changes."""
    fake = FakeDescope()
    fields = {
        "new": {"a": 1},
        "user": {"email": 5, "OAuth": {"x": "y"}, "customAttributes": {}},
        "claims": None,
    }
    fake.fail_next(Fault(fields=fields))
    async with asking(fake) as client:
        answer = (await client.finish(fake.sign_in())).json
    assert answer["new"] == {"a": 1}
    assert (answer["user"]["email"], answer["claims"]) == (5, None)
    assert answer["user"]["OAuth"] == {"google": True, "x": "y"}
    assert (answer["user"]["name"], answer["user"]["customAttributes"]) == ("Ada Lovelace", {})


async def test_one_answer_can_have_its_tokens_elsewhere(asking: Asking) -> None:
    """Tokens only in cookies for a call, or in the body for one."""
    fake = FakeDescope()
    fake.fail_next(Fault(tokens="cookies"), Fault(tokens="body"))
    async with asking(fake) as client:
        replies = [await client.finish(fake.sign_in()) for _ in range(3)]
    assert [len(reply.header("Set-Cookie")) for reply in replies] == [2, 0, 0]
    assert [reply.json["sessionJwt"] == "" for reply in replies] == [True, False, False]


async def test_rules_hold_until_mended_and_one_shots_go_first(asking: Asking) -> None:
    """A rule hits every call that it fits, the oldest first; a one-shot hits the next finish, once."""
    fake = FakeDescope()
    fake.fail_when(lambda request: request.url.path == KEYS, Fault(status=503))
    fake.fail_when(lambda request: b"apple" in request.body, Fault(status=504))
    fake.fail_when(lambda request: request.url.path == FINISH, Fault(status=500))
    fake.fail_next(Fault(status=429))
    async with asking(fake) as client:
        statuses = [
            (await client.get(KEYS)).status,
            (await client.post(START, {"provider": "google"})).status,
            (await client.finish(fake.sign_in("apple"))).status,
            (await client.finish(fake.sign_in("apple"))).status,
            (await client.finish(fake.sign_in("google"))).status,
        ]
        fake.fail_next(Fault(status=429))
        fake.mend()
        statuses += [(await client.get(KEYS)).status, (await client.finish(fake.sign_in())).status]
    assert statuses == [503, 200, 429, 504, 500, 200, 200]


@pytest.mark.parametrize(
    "nonsense",
    [
        {"drop": "sometimes"},
        {"tokens": "pocket"},
        {"delay": -1},
        {"status": 0},
        {"status": 199},
        {"status": 600},
        {"body": b"for no status"},
        {"headers": {"for": "no status"}},
        {"applied": True},
        {"applied": True, "drop": "before"},
        {"status": 500, "drop": "before"},
        {"status": 500, "drop": "after"},
        {"applied": False, "drop": "halfway"},
        {"tokens": "cookies", "status": 500},
        {"fields": {"a": 1}, "drop": "after"},
    ],
    ids=str,
)
def test_a_fault_that_makes_no_sense_is_refused(nonsense: dict[str, Any]) -> None:
    """A fault that would not do what it says is an error where it is written."""
    with pytest.raises(ValueError, match=r"^(drop|delay|status|headers|applied|tokens)"):
        Fault(**nonsense)


def test_a_place_for_tokens_that_there_is_not_is_refused() -> None:
    """It would be taken for the other one."""
    nowhere: Any = "cookie"
    with pytest.raises(ValueError, match=r"^tokens is 'body' or 'cookies'$"):
        FakeDescope(tokens=nowhere)


@pytest.mark.parametrize("status", [200, 599])
async def test_a_fault_can_have_any_final_status(status: int) -> None:
    """From the first to the last (RFC 9110 §15), and nothing of its own in it."""
    fake = FakeDescope()
    fake.fail_next(Fault(status=status))
    async with asking_directly(fake) as client:
        assert await client.finish(fake.sign_in()) == Reply(status, [], b"")


async def test_another_process_asks_for_faults_and_reads_the_calls(asking: Asking) -> None:
    """Over HTTP a fault is said in the words of `Fault`, and the record comes back masked."""
    fake = FakeDescope()
    fault = {"status": 429, "headers": {"Retry-After": "7"}, "body": "slow down"}
    async with asking(fake) as client:
        assert (await client.post("/stand-in/fail-next", fault, None)).status == 200
        reply = await client.finish(fake.sign_in())
        calls = (await client.get("/stand-in/calls")).json["calls"]
    assert (reply.status, reply.header("Retry-After"), reply.body) == (429, ["7"], b"slow down")
    assert [(call["path"], call["status"]) for call in calls] == [("/stand-in/fail-next", 200), (FINISH, 429)]
    assert calls[1]["body"] == {"provider": "google", "stateId": "[masked]", "idToken": "[masked]"}


@pytest.mark.parametrize(
    "fault",
    [{"kind": "bad"}, {"delay": "1"}, {"headers": {"a": 1}}, {"drop": "sometimes"}, {"applied": True}],
)
async def test_a_fault_from_another_process_that_makes_no_sense_is_refused(fault: dict[str, Any]) -> None:
    """As in Python, with the error JSON."""
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        reply = await client.post("/stand-in/fail-next", fault, None)
        assert (reply.status, reply.json["errorCode"]) == (400, "E011004")
        assert (await client.finish(fake.sign_in())).status == 200


# --- the record


async def test_calls_are_recorded_with_secrets_masked(asking: Asking) -> None:
    """Method, path, status and harmless values stay; no state, proof, name or key is in the record."""
    fake = FakeDescope(auth_management_key="K2canary")
    proof = fake.sign_in("apple", name="Canary Bird")
    body = proof.as_json()
    async with asking(fake) as client:
        await client.post(FINISH, body, f"Bearer {PROJECT}:K2canary")
        await client.post(FINISH, b"K2canary")
    first, second = fake.calls
    assert (first.method, first.path, first.status) == ("POST", FINISH, 200)
    masked = dict.fromkeys(("stateId", "code", "user"), "[masked]")
    assert first.body == {"provider": "apple", **masked}
    assert dict(first.headers)["Authorization"] == "[masked]"
    assert (second.body, second.status) == (None, 401)
    text = f"{fake!r} {fake.calls!r} {[attrs.asdict(call) for call in fake.calls]} {proof!r}"
    for secret in ("K2canary", "Canary", proof.state_id, str(proof.code), proof.nonce):
        assert secret not in text
    assert repr(fake) == f"<FakeDescope {PROJECT}, 2 calls>"


async def test_harmless_headers_stay_readable_and_cookies_do_not() -> None:
    """A test may look at what the client says of itself, and see that it sent a cookie, not which."""
    fake = FakeDescope()
    headers = {"content-type": "application/json", "x-descope-sdk-name": "ours", "Cookie": "DSR=secret"}
    url = URL("http://localhost" + FINISH)
    await fake(HttpRequest(method="POST", url=url, headers=headers, body=b"{}", timeout=5))
    (call,) = fake.calls
    assert call.headers == (
        ("content-type", "application/json"),
        ("x-descope-sdk-name", "ours"),
        ("Cookie", "[masked]"),
    )


def test_ids_are_secrets_unless_a_seed_is_given() -> None:
    """Two stand-ins agree on nothing; with one seed they agree on everything but signatures."""
    assert FakeDescope().sign_in("apple") != FakeDescope().sign_in("apple")
    assert FakeDescope(seed=7).sign_in("apple") == FakeDescope(seed=7).sign_in("apple")
    assert FakeDescope(seed=7).sign_in("apple") != FakeDescope(seed=8).sign_in("apple")


# --- serving


async def test_serving_ends_with_the_block_and_can_begin_again() -> None:
    """The port that was asked for is the port, free again afterwards; the state stays."""
    fake = FakeDescope()
    async with fake.serve("127.0.0.1") as base_url:
        port = URL(base_url).port
        assert base_url == f"http://127.0.0.1:{port}"
        proof = fake.sign_in()
    async with fake.serve("localhost", port or 0) as base_url, aiohttp.ClientSession(base_url) as session:
        assert base_url == f"http://localhost:{port}"
        headers = {"Authorization": f"Bearer {PROJECT}"}
        async with session.post(FINISH, json=proof.as_json(), headers=headers) as answer:
            assert answer.status == 200
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("localhost", port)


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_every_address_of_a_name_is_served_on_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may try any of them; one that this machine does not have is left out."""
    resolving_to(monkeypatch, "192.0.2.1", "127.0.0.1", "127.0.0.2")
    async with FakeDescope().serve("name.example") as base_url:
        for address in ("127.0.0.1", "127.0.0.2"):
            _, writer = await asyncio.open_connection(str(address), URL(base_url).port)
            writer.close()


@pytest.mark.parametrize("addresses", [(), ("192.0.2.1",)])
async def test_a_name_with_no_address_here_cannot_be_served(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    """TEST-NET (RFC 5737) is on nobody's machine."""
    resolving_to(monkeypatch, *addresses)
    with pytest.raises(OSError, match=r".") as problem:
        await FakeDescope().serve("name.example").__aenter__()
    assert problem.value.errno == errno.EADDRNOTAVAIL


async def test_a_port_that_is_taken_on_one_address_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a service would answer half of the clients; nothing stays open."""
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        resolving_to(monkeypatch, "127.0.0.1", "127.0.0.2")
        with pytest.raises(OSError, match=r".") as problem:
            await FakeDescope().serve("name.example", port).__aenter__()
    assert problem.value.errno == errno.EADDRINUSE
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_the_description_covers_every_path(asking: Asking) -> None:
    """What is served at /stand-in/openapi.json is `openapi()`, and each path in it answers."""
    fake = FakeDescope()
    async with asking(fake) as client:
        description = (await client.get("/stand-in/openapi.json")).json
        assert description == openapi()
        for path, methods in description["paths"].items():
            (method,) = methods
            reply = await client.request(method.upper(), path.replace("{projectId}", PROJECT), b"")
            assert str(reply.status) in methods[method]["responses"]
            assert reply.status != 404
