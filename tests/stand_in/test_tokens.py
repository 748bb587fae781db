"""Tokens: where they are, who signs them, and what they say."""

import base64
import subprocess
import sys
from email.utils import parsedate_to_datetime
from typing import Any, Final

import pytest
from asking import KEYS, PROJECT, TENANTS, Asking, Clock, asking_directly, both_ways, claims_of
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet

from descope_native.testing import FakeDescope


@both_ways
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


@both_ways
async def test_cookies_have_the_names_and_the_domain_that_the_answer_tells(asking: Asking) -> None:
    """Custom names are in the body; without a domain the cookie is the host's."""
    fake = FakeDescope(tokens="cookies", session_cookie_name="here", refresh_cookie_name="there")
    async with asking(fake) as client:
        reply = await client.finish(fake.sign_in())
    assert (reply.json["sessionCookieName"], reply.json["cookieName"]) == ("here", "there")
    assert [line.partition("=")[0] for line in reply.header("Set-Cookie")] == ["here", "there"]
    assert not any("Domain" in line for line in reply.header("Set-Cookie"))


@both_ways
async def test_tokens_in_the_body_come_without_cookies(asking: Asking) -> None:
    """Body mode sets nothing."""
    fake = FakeDescope()
    async with asking(fake) as client:
        assert (await client.finish(fake.sign_in())).header("Set-Cookie") == []


@both_ways
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


def test_signatures_can_be_insisted_on_and_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than tokens that nothing accepts, there is an error that names what to install."""
    assert claims_of(f".{FakeDescope(signed=False).sign_in().id_token!s}")["alg"] == "none"
    assert claims_of(f".{FakeDescope(signed=True).sign_in().id_token!s}")["alg"] == "RS256"
    monkeypatch.setitem(sys.modules, "joserfc", None)
    with pytest.raises(ImportError, match="pip install joserfc"):
        FakeDescope(signed=True)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"tokens": "cookie"}, "tokens is 'body' or 'cookies'"),
        ({"session_cookie_name": "a b"}, "a cookie's name"),
        ({"refresh_cookie_name": "DSR\r\n"}, "a cookie's name"),
        ({"cookie_domain": "a; Secure"}, "a cookie's domain and path"),
        ({"cookie_path": "/\n"}, "a cookie's domain and path"),
    ],
    ids=str,
)
def test_what_no_answer_could_have_is_refused(options: dict[str, Any], problem: str) -> None:
    """Where it is written, not at the first answer."""
    with pytest.raises(ValueError, match=f"^{problem}"):
        FakeDescope(**options)


def test_ids_are_secrets_unless_a_seed_is_given() -> None:
    """Two stand-ins agree on nothing; with one seed they agree on everything."""
    assert FakeDescope().sign_in("apple") != FakeDescope().sign_in("apple")
    assert FakeDescope(seed=7).sign_in("apple") == FakeDescope(seed=7).sign_in("apple")
    assert FakeDescope(seed=7).sign_in("apple") != FakeDescope(seed=8).sign_in("apple")


SEEDED: Final = """
import asyncio
from descope_native import InMemoryTransport, NativeOAuthFinisher
from descope_native.testing import FakeDescope

fake = FakeDescope(seed=7, clock=lambda: 1_800_000_063.0)
finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake))
result = asyncio.run(finisher.finish(**fake.sign_in().as_arguments()))
print(result.session_jwt, result.refresh_jwt)
"""


def test_with_a_seed_and_a_clock_tokens_are_the_same_in_every_process() -> None:
    """So that they can stand in a snapshot; and the signature is one."""
    command = [sys.executable, "-W", "error", "-c", SEEDED]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2))
    assert first.stdout == second.stdout
    assert first.stdout


async def test_the_key_of_a_seed_is_as_good_as_any() -> None:
    """Another library takes what it signs, and the set shows nothing private."""
    fake = FakeDescope(seed=7)
    async with asking_directly(fake) as client:
        answer = (await client.finish(fake.sign_in())).json
        (key,) = (await client.get(KEYS)).json["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}
    modulus = int.from_bytes(base64.urlsafe_b64decode(key["n"] + "=="))
    assert modulus.bit_length() == 2048
    jwt.decode(answer["sessionJwt"], KeySet.import_key_set({"keys": [key]}), algorithms=["RS256"])


LOADING: Final = """
import asyncio, sys
from descope_native import InMemoryTransport, NativeOAuthFinisher
from descope_native.testing import FakeDescope

def loaded():
    print(*sorted({"aiohttp", "joserfc"} & sys.modules.keys()), sep=",")

async def main():
    fake = FakeDescope()
    finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake))
    proof = fake.sign_in("apple")
    loaded()  # of a code
    await finisher.finish(**proof.as_arguments())
    loaded()  # of a token
    async with fake.serve():
        loaded()  # of a socket

asyncio.run(main())
"""


def test_the_kit_loads_what_it_needs_when_it_needs_it() -> None:
    """In memory there is never a network's library, and what signs comes with the first token."""
    command = [sys.executable, "-W", "error", "-c", LOADING]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "joserfc", "aiohttp,joserfc"]
