"""A sign-in from start over the phone to a session, and who the user is then."""

import json
import pickle
import re
from typing import Any, Final

import pytest
from asking import FINISH, START, TENANTS, Asking, Clock, asking_directly, both_ways, claims_of
from kit.support import DOCUMENTED_ANSWER

from descope_native import InMemoryTransport, NativeOAuthFinisher
from descope_native.testing import FakeDescope

ANSWER_KEYS: Final = (
    "sessionJwt refreshJwt cookieDomain cookiePath cookieMaxAge cookieExpiration user firstSeen idpResponse "
    "sessionExpiration nextRefreshSeconds cookieName sessionCookieName sessionCookieDomain externalToken "
    "knownDeviceJwt trustedDeviceJwt tenantSSOID claims unsavedSSO"
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


@both_ways
async def test_a_sign_in_runs_from_start_over_the_phone_to_a_session(asking: Asking) -> None:
    """Start mints a state, the phone turns it into a proof, and finish turns that into a session."""
    fake = FakeDescope()
    async with asking(fake) as client:
        started = await client.post(START, {"provider": "apple", "implicit": True, "loginOptions": {}})
        assert started.status == 200
        assert set(started.json) == {"clientId", "stateId", "nonce", "implicit"}
        assert started.json["implicit"] is True
        signed_in = await client.post("/stand-in/phone", started.json, None)
        proof = signed_in.json
        assert set(proof) == {"provider", "stateId", "idToken", "nonce", "user"}
        assert claims_of(proof["idToken"])["nonce"] == proof.pop("nonce") == started.json["nonce"]
        finished = await client.post(FINISH, proof)
    assert finished.status == 200
    assert finished.header("Content-Type") == ["application/json"]
    assert finished.json["user"]["email"] == "ada@example.com"


@both_ways
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


@both_ways
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


@both_ways
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


@both_ways
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


@both_ways
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


@both_ways
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


def test_apple_tells_each_persons_name_once() -> None:
    """One person's first sign-in is not another's."""
    fake = FakeDescope()
    told = [fake.sign_in("apple", email=f"{who}@b.c", name=f"A {who}").user for who in ("x", "y", "x", "y")]
    assert [text and json.loads(text)["name"]["lastName"] for text in told] == ["x", "y", None, None]


@both_ways
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


def circle() -> dict[str, object]:
    """What Python has and JSON has not."""
    user: dict[str, object] = {}
    user["customAttributes"] = user
    return user


@pytest.mark.parametrize("user", [circle(), {"customAttributes": {"x": object()}}], ids=["circle", "object"])
def test_a_user_that_is_no_json_is_refused(user: dict[str, object]) -> None:
    """Without an error of the JSON library's behind it; and the refusal can be pickled."""
    with pytest.raises(ValueError, match=r"^user is not JSON$") as caught:
        FakeDescope().sign_in(user=user)
    assert caught.value.__cause__ is None
    assert str(pickle.loads(pickle.dumps(caught.value))) == "user is not JSON"


async def test_a_tenant_of_which_only_the_id_is_given_has_all_of_its_keys() -> None:
    """As the service has it."""
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        answer = await client.finish(fake.sign_in(user={"userTenants": [{"tenantId": "T"}]}))
    assert answer.json["user"]["userTenants"] == [
        {"tenantId": "T", "tenantName": "", "roleNames": [], "permissions": []}
    ]


async def test_sign_ins_that_nobody_finishes_are_forgotten_when_there_are_too_many() -> None:
    """Ten thousand are kept, the newest."""
    fake = FakeDescope()
    oldest, *others = [fake.sign_in("apple") for _ in range(10_001)]
    async with asking_directly(fake) as client:
        assert (await client.finish(oldest)).json["errorMessage"] == "the state is unknown, or spent"
        assert (await client.finish(others[0])).status == 200
