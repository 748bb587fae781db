"""The stand-in to the letter, where a slightly different word or key would pass all the other tests."""

import json
import pickle
import subprocess
import sys
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import aiohttp
import attrs
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from test_fake import FINISH, KEYS, PROJECT, START, Clock, asking_directly
from yarl import URL

from descope_native import HttpRequest
from descope_native.testing import Call, FakeDescope, Fault, Proof, openapi

DATA: Final = Path(__file__).parents[1] / "data"
SIGN_IN: Final = "/stand-in/sign-in"
FAIL_NEXT: Final = "/stand-in/fail-next"

DESCRIPTIONS: Final = {
    "E011001": "Request is malformed",
    "E011002": "Request is missing required arguments",
    "E011003": "Request is invalid",
    "E011004": "Request has an invalid argument",
    "E061301": "Failed to exchange code",
    "E111119": "Unauthorized",
}


def test_its_description_is_this() -> None:
    """Tools are pointed at it, and a key that goes missing would be missed by nobody here."""
    assert openapi() == json.loads((DATA / "openapi.json").read_text(encoding="utf-8"))


WRONG_FAULTS: Final[list[dict[str, object]]] = [
    {"delay": "1"},
    {"drop": 1},
    {"status": "200"},
    {"headers": []},
    {"body": 1},
    {"applied": 1},
    {"tokens": 1},
    {"fields": []},
    {"other": 1},
]
REFUSALS: Final[list[tuple[str, object, int, str, str]]] = [
    (FINISH, b"[]", 400, "E011001", "the body is not a JSON object"),
    (FINISH, b'{"a": NaN}', 400, "E011001", "the body is not a JSON object"),
    (FINISH, b"[" * 100_000, 400, "E011001", "the body is not a JSON object"),
    (FINISH, {}, 400, "E011002", "provider is missing"),
    (FINISH, {"provider": "a"}, 400, "E011002", "stateId is missing"),
    (FINISH, {"provider": 1}, 400, "E011001", "provider has the wrong type"),
    (FINISH, {"provider": "a", "stateId": None}, 400, "E011001", "stateId has the wrong type"),
    (FINISH, {"provider": "a", "stateId": "s", "code": 1}, 400, "E011001", "code has the wrong type"),
    (FINISH, {"provider": "a", "stateId": "s", "idToken": 1}, 400, "E011001", "idToken has the wrong type"),
    (
        FINISH,
        {"provider": "a", "stateId": "s", "code": "c", "user": 1},
        400,
        "E011001",
        "user has the wrong type",
    ),
    (
        FINISH,
        {"provider": "a", "stateId": "s", "code": "c", "user": "[]"},
        400,
        "E011004",
        "user is not the JSON text of a name",
    ),
    (
        FINISH,
        {"provider": "a", "stateId": "s"},
        400,
        "E011002",
        "exactly one of code and idToken is needed",
    ),
    (
        FINISH,
        {"provider": "a", "stateId": "s", "code": "c"},
        400,
        "E061301",
        "the state is unknown, or spent",
    ),
    (START, {"provider": "a", "loginOptions": 1}, 400, "E011001", "loginOptions has the wrong type"),
    (START, {"provider": "a", "implicit": 1}, 400, "E011001", "implicit has the wrong type"),
    (SIGN_IN, {"stateId": "s"}, 409, "E011004", "no sign-in has this state"),
    (SIGN_IN, {"stateId": 1}, 400, "E011001", "stateId has the wrong type"),
    (SIGN_IN, {"user": 1}, 400, "E011001", "user has the wrong type"),
    (SIGN_IN, {"user": {"email": ""}}, 400, "E011004", "user.email is empty"),
    (SIGN_IN, {"user": {"email": 1}}, 400, "E011004", "user.email has the wrong type"),
    (
        SIGN_IN,
        {"user": {"userTenants": [1]}},
        400,
        "E011004",
        "user.userTenants holds something else than objects",
    ),
    (
        SIGN_IN,
        {"user": {"userTenants": [{"tenantName": 1}]}},
        400,
        "E011004",
        "user.userTenants.tenantName has the wrong type",
    ),
    *(
        (SIGN_IN, {"user": {key: [1]}}, 400, "E011004", f"user.{key} has the wrong type")
        for key in ("loginIds", "roleNames", "externalIds", "ssoAppIds", "permissions")
    ),
    *(
        (
            FAIL_NEXT,
            fault,
            400,
            "E011004",
            f"{next(iter(fault))} is no part of a fault, or has the wrong type",
        )
        for fault in WRONG_FAULTS
    ),
    (FAIL_NEXT, {"status": 200, "headers": {"a": 1}}, 400, "E011004", "headers has the wrong type"),
    *(
        (FAIL_NEXT, {"status": status}, 400, "E011004", "status is from 200 to 599")
        for status in (199, 600, True)
    ),
    *(
        (FAIL_NEXT, delay, 400, "E011004", "delay is from 0 seconds to a day")
        for delay in ({"delay": -0.1}, {"delay": 86_401}, {"delay": 10**400}, b'{"delay": 1e999}')
    ),
    *(
        (
            FAIL_NEXT,
            {"status": 200, "headers": headers},
            400,
            "E011004",
            "headers are names and values of one line each, in text that can be encoded",
        )
        for headers in (
            {"a": "b\r\nc: d"},
            {"a": "b\n"},
            {"a": "\0"},
            {"a": "\udc80"},
            {"a b": "c"},
            {"": "c"},
            {"ä": "c"},
            {"a\n": "c"},
        )
    ),
    (FAIL_NEXT, {"status": 200, "body": "\ud83d"}, 400, "E011004", "body is text that cannot be encoded"),
    (SIGN_IN, {"provider": "acme\ud800"}, 400, "E011004", "provider holds text that cannot be encoded"),
    (START, {"provider": "acme\ud800"}, 400, "E011004", "provider holds text that cannot be encoded"),
    *(
        (SIGN_IN, {"user": user}, 400, "E011004", "user holds text that cannot be encoded")
        for user in (
            {"email": "\udfff@example.com"},
            {"roleNames": ["\ud800"]},
            {"customAttributes": {"\ud800": 1}},
        )
    ),
]


@pytest.mark.parametrize(("path", "body", "status", "code", "message"), REFUSALS)
async def test_a_refusal_says_this(path: str, body: object, status: int, code: str, message: str) -> None:
    """Its three keys, word for word."""
    async with asking_directly(FakeDescope()) as client:
        reply = await client.post(path, body)
    assert reply.status == status
    assert reply.header("Content-Type") == ["application/json"]
    assert reply.json == {
        "errorCode": code,
        "errorDescription": DESCRIPTIONS[code],
        "errorMessage": message,
    }


async def test_other_refusals_say_this() -> None:
    """Of the wrong project, path or method, and of a proof that is not the state's."""
    fake = FakeDescope(clock=(clock := Clock()), state_lifetime=60)
    async with asking_directly(fake) as client:
        for reply, status, code, message in (
            (await client.post(START, {}, "Bearer x"), 401, "E111119", "the project id or key is wrong"),
            (await client.get("/nowhere"), 404, "E011003", "there is no such path"),
            (await client.get(START), 405, "E011003", "the method is POST"),
            (
                await client.finish(fake.sign_in("apple"), provider="google"),
                400,
                "E061301",
                "the sign-in is with another provider",
            ),
            (
                await client.finish(fake.sign_in("apple"), code="x"),
                400,
                "E061301",
                "the provider did not issue this proof",
            ),
            (
                await client.post(SIGN_IN, {"stateId": fake.sign_in("apple").state_id, "implicit": True}),
                409,
                "E011004",
                "the sign-in was started otherwise",
            ),
        ):
            assert (reply.status, reply.json["errorCode"]) == (status, code)
            assert (reply.json["errorDescription"], reply.json["errorMessage"]) == (
                DESCRIPTIONS[code],
                message,
            )
        late = fake.sign_in("apple")
        clock.now += 60
        assert (await client.finish(late)).json["errorMessage"] == "the sign-in has expired"


async def test_a_session_is_this() -> None:
    """Each key of an answer about somebody of whom nothing but the address is known."""
    fake = FakeDescope(clock=Clock(), session_lifetime=600, refresh_lifetime=2000)
    async with asking_directly(fake) as client:
        answer = (await client.finish(fake.sign_in("google", email="a@b.c", name=""))).json
    now = int(Clock.now)
    session, refresh, user_id = (
        answer.pop("sessionJwt"),
        answer.pop("refreshJwt"),
        answer["user"].pop("userId"),
    )
    assert session != refresh
    assert len(user_id) == 27
    assert user_id.startswith("U2")
    assert answer == {
        "cookieDomain": "",
        "cookiePath": "/",
        "cookieMaxAge": 2000,
        "cookieExpiration": now + 2000,
        "user": {
            "loginIds": ["a@b.c"],
            "name": "",
            "email": "a@b.c",
            "phone": "",
            "verifiedEmail": True,
            "verifiedPhone": False,
            "roleNames": [],
            "userTenants": [],
            "status": "enabled",
            "externalIds": ["a@b.c"],
            "picture": "",
            "test": False,
            "customAttributes": {},
            "createdTime": now,
            "TOTP": False,
            "SAML": False,
            "OAuth": {"google": True},
            "webauthn": False,
            "password": False,
            "ssoAppIds": [],
            "givenName": "",
            "middleName": "",
            "familyName": "",
            "editable": True,
            "SCIM": False,
            "OIDC": False,
            "push": False,
            "permissions": [],
            "modifiedTime": now,
            "consentExpiration": 0,
            "recoveryEmail": "",
            "recoveryPhone": "",
            "verifiedRecoveryEmail": False,
            "verifiedRecoveryPhone": False,
        },
        "firstSeen": True,
        "idpResponse": {
            "samlResponse": "",
            "samlGeneratedUser": "",
            "samlGeneratedRoles": "",
            "oidcResponse": "",
            "oidcGeneratedUser": "",
            "oidcGeneratedRoles": "",
            "idpGroups": [],
            "idpSAMLAttributes": {},
            "idpOIDCClaims": {},
        },
        "sessionExpiration": now + 600,
        "nextRefreshSeconds": 580,
        "cookieName": "",
        "sessionCookieName": "",
        "sessionCookieDomain": "",
        "externalToken": "",
        "trustedDeviceJwt": "",
        "tenantSSOID": "",
        "claims": {},
        "unsavedSSO": False,
    }


async def test_a_tenant_has_all_of_its_keys() -> None:
    """Also where only its id was given."""
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        answer = await client.finish(fake.sign_in(user={"userTenants": [{"tenantId": "T"}]}))
    assert answer.json["user"]["userTenants"] == [
        {"tenantId": "T", "tenantName": "", "roleNames": [], "permissions": []}
    ]


async def test_tokens_are_signed_like_this() -> None:
    """Header and key set, as RFC 7515 and 7517 name their parts; and nothing private among them."""
    fake = FakeDescope(clock=Clock())
    async with asking_directly(fake) as client:
        tenants = [{"tenantId": "T", "roleNames": ["r"], "permissions": ["p"]}]
        proof = fake.sign_in(user={"userTenants": tenants, "roleNames": ["R"], "permissions": ["P"]})
        answer = (await client.finish(proof)).json
        keys = (await client.get(KEYS)).json["keys"]
    assert [set(key) for key in keys] == [{"kty", "n", "e", "kid", "use", "alg"}]
    assert (keys[0]["kty"], keys[0]["use"], keys[0]["alg"]) == ("RSA", "sig", "RS256")
    now = int(Clock.now)
    for name, kind, lifetime in (("sessionJwt", "DS", 600), ("refreshJwt", "DSR", 2_419_200)):
        token = jwt.decode(answer[name], KeySet.import_key_set({"keys": keys}), algorithms=["RS256"])
        assert token.header == {"alg": "RS256", "typ": "JWT", "kid": keys[0]["kid"]}
        claims = dict(token.claims)
        assert len(claims.pop("jti")) == 22
        assert claims == {
            "amr": ["oauth"],
            "drn": kind,
            "exp": now + lifetime,
            "iat": now,
            "iss": PROJECT,
            "permissions": ["P"],
            "rexp": "2027-02-12T08:01:03Z",
            "roles": ["R"],
            "sub": answer["user"]["userId"],
            "tenants": {"T": {"roles": ["r"], "permissions": ["p"]}},
        }
    token = jwt.decode(str(proof.id_token), KeySet.import_key_set({"keys": keys}), algorithms=["RS256"])
    assert token.claims == {
        "iss": "https://google.example.com",
        "aud": "com.example.google",
        "sub": "ada@example.com",
        "email": "ada@example.com",
        "nonce": proof.nonce,
        "iat": now,
        "exp": now + 3600,
    }


async def test_a_cookie_is_this_line() -> None:
    """Attribute by attribute."""
    fake = FakeDescope(tokens="cookies", clock=Clock(), cookie_domain="a.example", cookie_path="/p")
    async with asking_directly(fake) as client:
        lines = (await client.finish(fake.sign_in())).header("Set-Cookie")
    for line, name, lifetime in zip(lines, ("DS", "DSR"), (600, 2_419_200), strict=True):
        first, *attributes = line.split("; ")
        assert first.startswith(f"{name}=ey")
        expires = next(each for each in attributes if each.startswith("Expires="))
        assert parsedate_to_datetime(expires[8:]).timestamp() == int(Clock.now) + lifetime
        assert expires.endswith(" GMT")
        attributes.remove(expires)
        assert attributes == [
            "Path=/p",
            "Domain=a.example",
            f"Max-Age={lifetime}",
            "HttpOnly",
            "Secure",
            "SameSite=None",
        ]


READABLE: Final = (
    "accept accept-encoding connection content-length content-type host transfer-encoding user-agent "
    "x-descope-project-id x-descope-sdk-name x-descope-sdk-python-version x-descope-sdk-version"
)


async def test_a_record_shows_these_headers_and_keys() -> None:
    """All others may hold a secret."""
    fake = FakeDescope()
    headers = dict.fromkeys(
        [*READABLE.split(), *READABLE.upper().split(), "Authorization", "Cookie", "X-Other"], "v"
    )
    body = json.dumps({"provider": "p", "implicit": True, "stateId": "s", "x": {"y": 1}}).encode()
    await fake(HttpRequest(method="POST", url=URL("https://a/b?c"), headers=headers, body=body, timeout=1))
    (call,) = fake.calls
    assert dict(call.headers) == {
        name: "v" if name.lower() in READABLE.split() else "[masked]" for name in headers
    }
    assert call.body == {"provider": "p", "implicit": True, "stateId": "[masked]", "x": "[masked]"}
    assert (call.method, call.path, call.status) == ("POST", "/b", 404)
    assert repr(call) == f"Call(method='POST', path='/b', body={call.body!r}, status=404)"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(delay=1),
        Fault(delay=0.5, drop="halfway"),
        Fault(status=503, headers={"a": "b"}, body=b"x", applied=True),
        Fault(tokens="cookies", fields={"a": 1}),
        Fault(drop="after", applied=False),
    ],
)
async def test_another_process_asks_for_a_fault_in_these_words(fault: Fault) -> None:
    """Each of its attributes, by its name."""
    described = attrs.asdict(fault, filter=lambda attribute, value: value != attribute.default)
    described |= {"headers": dict(fault.headers)} if fault.headers else {}
    described |= {"body": fault.body.decode()} if fault.body else {}
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        assert (await client.post(FAIL_NEXT, described)).json == {}
    assert fake._next_faults == [fault]


def test_what_is_made_by_hand_takes_keywords_only() -> None:
    """A record that grows breaks nobody."""
    with pytest.raises(TypeError):
        Fault(1.0)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Call("POST", "/", (), None, None)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Proof("google", "s")  # type: ignore[call-arg]
    assert repr(Proof(provider="google", state_id="s", code="c", id_token="i", nonce="n", user="u")) == (
        "Proof(provider='google')"
    )
    assert Proof(provider="google", state_id="s", nonce="n") == Proof(
        provider="google", state_id="s", nonce="n", code=None, id_token=None, user=None
    )
    assert attrs.asdict(Fault()) == {
        "delay": 0.0,
        "drop": None,
        "status": None,
        "headers": (),
        "body": b"",
        "applied": None,
        "tokens": None,
        "fields": None,
    }


def test_a_user_that_is_no_json_is_refused() -> None:
    """With the reason, and without an error of the JSON library's."""
    with pytest.raises(ValueError, match="user is not JSON") as caught:
        FakeDescope().sign_in(user={"customAttributes": {"x": object()}})
    assert caught.value.__cause__ is None
    assert pickle.loads(pickle.dumps(caught.value)).args == (400, "E011004", "user is not JSON")


async def test_half_an_answer_has_its_head() -> None:
    """Status, headers, the length of the whole; and the half of it, to the byte."""
    fake = FakeDescope()
    fake.fail_next(Fault(drop="halfway", status=203, headers={"X-A": "1"}, body=b"12345"))
    async with (
        fake.serve() as url,
        aiohttp.ClientSession() as session,
        session.post(url + FINISH, data=b"{}") as answer,
    ):
        assert (answer.status, answer.headers["X-A"], answer.headers["Content-Length"]) == (203, "1", "5")
        assert await answer.content.readany() == b"12"
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.readany()


async def test_what_was_dropped_says_so() -> None:
    """To whoever hands requests to the stand-in by itself."""
    fake = FakeDescope()
    fake.fail_next(Fault(drop="before"))
    async with asking_directly(fake) as client:
        with pytest.raises(ConnectionResetError) as caught:
            await client.post(FINISH, {})
    assert caught.value.args == ("the stand-in dropped the connection",)


def test_apple_tells_each_persons_name_once() -> None:
    """One person's first sign-in is not another's."""
    fake = FakeDescope()
    told = [fake.sign_in("apple", email=f"{who}@b.c", name=f"A {who}").user for who in ("x", "y", "x", "y")]
    assert [text and json.loads(text)["name"]["lastName"] for text in told] == ["x", "y", None, None]


KIT: Final = """
import asyncio, sys
from descope_native import InMemoryTransport, NativeOAuthFinisher, ResponseError
from descope_native.testing import FakeDescope, Fault

def loaded():
    print(*sorted({"aiohttp", "joserfc"} & sys.modules.keys()), sep=",")

async def main():
    fake = FakeDescope()
    finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake))
    loaded()  # of what is only imported and made
    for fault in (Fault(status=503), Fault(status=200, body=b"{}", applied=False)):
        fake.fail_next(fault)
        try:
            await finisher.finish(**fake.sign_in("apple").as_arguments())
        except ResponseError:
            loaded()  # of an answer without a token
    await finisher.finish(**fake.sign_in("apple").as_arguments())
    loaded()  # of a token
    async with fake.serve():
        loaded()  # of a socket

asyncio.run(main())
"""


def test_the_kit_loads_what_it_needs_when_it_needs_it() -> None:
    """In memory there is never a network's library, and what signs comes with the first token."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", KIT], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["", "", "", "joserfc", "aiohttp,joserfc"]


def test_a_user_that_goes_round_in_a_circle_is_refused() -> None:
    """In Python there are values that JSON has not."""
    circle: dict[str, object] = {}
    circle["customAttributes"] = circle
    with pytest.raises(ValueError, match="user is not JSON"):
        FakeDescope().sign_in(user=circle)


async def test_a_fault_takes_every_header_of_one_line() -> None:
    """A tab, text beyond ASCII and an empty value are odd, and are sent."""
    headers = (("X-Tab", "a\tb"), ("X-Name", "Zoë"), ("x_empty", ""))
    fake = FakeDescope()
    fake.fail_next(Fault(status=200, headers=headers, delay=0))
    async with asking_directly(fake) as client:
        assert (await client.finish(fake.sign_in())).headers == list(headers)
    assert Fault(delay=86_400).delay == 86_400
