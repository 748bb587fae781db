"""What comes after a sign-in, as the official SDKs ask for it: refresh, who am I, log out."""

from typing import Any, Final

import pytest
from asking import Asking, Clock, asking_directly, both_ways, claims_of

from descope_native.testing import FakeDescope, Fault

REFRESH: Final = "/v1/auth/refresh"
LOGOUT: Final = "/v1/auth/logout"
ME: Final = "/v1/auth/me"


@both_ways
async def test_a_session_is_refreshed_until_it_is_logged_out(asking: Asking) -> None:
    """A new session token beside the same refresh token, of the same user; afterwards, nothing."""
    clock = Clock()
    fake = FakeDescope(clock=clock)
    async with asking(fake) as client:
        session = (await client.finish(fake.sign_in())).json
        other = (await client.finish(fake.sign_in())).json
        bearer = f"Bearer {fake.project_id}:{session['refreshJwt']}"
        clock.now += 500
        refreshed = (await client.post(REFRESH, {}, bearer)).json
        assert claims_of(refreshed["sessionJwt"])["exp"] == clock.now + 600
        assert refreshed["refreshJwt"] == session["refreshJwt"]
        assert refreshed["cookieExpiration"] == session["cookieExpiration"]
        assert refreshed["cookieMaxAge"] == session["cookieMaxAge"] - 500
        assert refreshed["firstSeen"] is False
        me = await client.request("GET", ME, b"", bearer)
        assert me.json == refreshed["user"] == other["user"]
        assert (await client.post(LOGOUT, {}, bearer)).json == {}
        replies = [
            await client.post(REFRESH, {}, bearer),
            await client.post(LOGOUT, {}, bearer),
            await client.request("GET", ME, b"", bearer),
        ]
        assert [(reply.status, reply.json["errorCode"]) for reply in replies] == [(401, "E111119")] * 3
        others = f"Bearer {fake.project_id}:{other['refreshJwt']}"
        assert (await client.post(REFRESH, {}, others)).status == 200


async def test_a_refresh_token_expires() -> None:
    """After its lifetime, with the code that says so."""
    clock = Clock()
    fake = FakeDescope(clock=clock, refresh_lifetime=60)
    async with asking_directly(fake) as client:
        session = (await client.finish(fake.sign_in())).json
        bearer = f"Bearer {fake.project_id}:{session['refreshJwt']}"
        clock.now += 59
        assert (await client.post(REFRESH, {}, bearer)).status == 200
        clock.now += 1
        expired = await client.post(REFRESH, {}, bearer)
    assert (expired.status, expired.json["errorCode"]) == (401, "E062504")


@pytest.mark.parametrize("path", [REFRESH, LOGOUT])
@pytest.mark.parametrize("rest", ["", ":", ":guessed"])
async def test_without_the_refresh_token_of_a_session_there_is_nothing(path: str, rest: str) -> None:
    """The project alone is nobody."""
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        assert (await client.post(path, {}, f"Bearer {fake.project_id}{rest}")).status == 401


@pytest.mark.parametrize("options", [{"tokens": "cookies"}, {}], ids=["project", "fault"])
async def test_cookies_are_set_and_taken_away(options: dict[str, Any]) -> None:
    """Where tokens are in cookies, refresh sets both, and logout empties both."""
    fake = FakeDescope(session_cookie_name="here", **options)
    if not options:
        fake.fail_when(lambda request: True, Fault(tokens="cookies"))
    async with asking_directly(fake) as client:
        lines = (await client.finish(fake.sign_in())).header("Set-Cookie")
        token = lines[1].partition(";")[0].removeprefix("DSR=")
        bearer = f"Bearer {fake.project_id}:{token}"
        refreshed = await client.post(REFRESH, {}, bearer)
        gone = await client.post(LOGOUT, {}, bearer)
    assert refreshed.json["sessionJwt"] == ""
    assert [line.partition("=")[0] for line in refreshed.header("Set-Cookie")] == ["here", "DSR"]
    assert [line.split("; ")[0] for line in gone.header("Set-Cookie")] == ["here=", "DSR="]
    assert all("Max-Age=0" in line for line in gone.header("Set-Cookie"))
