"""The tokens that mark a device."""

from typing import Final

import pytest
from asking import FINISH, START, Asking, Clock, asking_directly, both_ways, claims_of

from descope_native.testing import FakeDescope

KEYS: Final = ("knownDeviceJwt", "trustedDeviceJwt")


async def test_a_device_gets_no_tokens_unless_so_wanted() -> None:
    """The keys are there, and empty."""
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        answer = (await client.finish(fake.sign_in())).json
    assert [answer[key] for key in KEYS] == ["", ""]


@both_ways
async def test_a_device_that_shows_its_tokens_stays_the_same(asking: Asking) -> None:
    """Finish gives both tokens; a request that shows them is of that device, one that does not of another."""
    fake = FakeDescope(device_tokens=True)
    async with asking(fake) as client:
        first = (await client.finish(fake.sign_in())).json
        known, trusted = (first[key] for key in KEYS)
        assert [claims_of(token)["drn"] for token in (known, trusted)] == ["DKD", "DTD"]
        tokens = {"x_descope_known_device_token": known, "x_descope_trusted_device_token": trusted}
        await client.post(START, {"provider": "google"}, **tokens)
        await client.post(START, {"provider": "google"}, x_descope_trusted_device_token=trusted)
        again = (await client.post(FINISH, fake.sign_in().as_json(), **tokens)).json
        other = (await client.finish(fake.sign_in())).json
    assert [(start.known_device, start.trusted_device) for start in fake.starts] == [
        (True, True),
        (False, True),
    ]
    for key in KEYS:
        first_id, again_id, other_id = (claims_of(answer[key])["sub"] for answer in (first, again, other))
        assert first_id == again_id != other_id
    assert known not in repr([call.headers for call in fake.calls])


async def test_device_tokens_come_in_cookies_where_tokens_do() -> None:
    """``DKD`` and ``DTD``, and nothing in the body."""
    fake = FakeDescope(device_tokens=True, tokens="cookies")
    async with asking_directly(fake) as client:
        reply = await client.finish(fake.sign_in())
    assert [reply.json[key] for key in KEYS] == ["", ""]
    cookies = dict(line.split("; ")[0].split("=", 1) for line in reply.header("Set-Cookie"))
    assert list(cookies) == ["DS", "DSR", "DKD", "DTD"]
    assert claims_of(cookies["DKD"])["drn"] == "DKD"


@pytest.mark.parametrize("path", [START, FINISH])
async def test_a_device_token_that_is_no_such_token_is_refused(path: str) -> None:
    """Made up, of the other kind, or expired; the sign-in is not spent by it."""
    clock = Clock()
    fake = FakeDescope(device_tokens=True, clock=clock, refresh_lifetime=100)
    async with asking_directly(fake) as client:
        answer = (await client.finish(fake.sign_in())).json
        clock.now += 50
        proof = fake.sign_in().as_json()
        for token, code in (("a.b.c", "E111119"), (answer["trustedDeviceJwt"], "E111119")):
            reply = await client.post(path, proof, x_descope_known_device_token=token)
            assert (reply.status, reply.json["errorCode"]) == (401, code)
        clock.now += 50
        reply = await client.post(path, proof, x_descope_known_device_token=answer["knownDeviceJwt"])
        assert (reply.status, reply.json["errorCode"]) == (401, "E062504")
        assert (await client.post(path, proof)).status == 200
