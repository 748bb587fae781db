"""The README's recipe for later requests: a session token is verified against the project's key set."""

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from descope_native import FinishResult, NativeOAuthFinisher
from descope_native.testing import FakeDescope

pytest.importorskip("joserfc")
sys.path.append(str(Path(__file__).parent))

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey, RSAKey
from session_check import SessionCheck


@attrs.frozen
class Checked:
    """A stand-in on a socket, a check that asks it for keys, and how often it did."""

    fake: FakeDescope
    url: str
    check: SessionCheck

    async def sign_in(self) -> FinishResult:
        async with NativeOAuthFinisher.open(self.fake.project_id, base_url=self.url) as finisher:
            return await finisher.finish(**self.fake.sign_in("google").as_arguments())

    def fetches(self) -> int:
        return sum(call.path.startswith("/v2/keys/") for call in self.fake.calls)

    async def refuses(self, token: str) -> None:
        with pytest.raises(JoseError):
            await self.check(token)


@asynccontextmanager
async def checking(**settings: Any) -> AsyncIterator[Checked]:
    fake = FakeDescope(**settings)
    async with fake.serve() as url, aiohttp.ClientSession() as client:
        yield Checked(fake, url, SessionCheck(client, fake.project_id, url))


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, read without the package under test."""
    header, payload, _ = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    return json.loads(header), json.loads(payload)


async def test_a_session_token_gives_its_claims() -> None:
    """What a finish returned is good for the next request."""
    async with checking() as checked:
        result = await checked.sign_in()
        assert await checked.check(result.session_jwt) == parts(result.session_jwt)[1]
        assert result.user
        assert (await checked.check(result.session_jwt))["sub"] == result.user.user_id


async def test_the_key_set_is_fetched_once() -> None:
    """Also when the first requests all come at the same time, and none of them is refused."""
    async with checking() as checked:
        token = (await checked.sign_in()).session_jwt
        await asyncio.gather(*(checked.check(token) for _ in range(20)))
        await checked.check(token)
        assert checked.fetches() == 1


async def test_an_unknown_key_does_not_make_it_fetch_again_and_again() -> None:
    """A stranger's tokens cost one fetch a minute at most."""
    async with checking() as checked:
        token = (await checked.sign_in()).session_jwt
        await checked.check(token)
        header, claims = parts(token)
        strange = RSAKey.generate_key(2048)
        for number in range(5):
            await checked.refuses(jwt.encode({**header, "kid": f"k{number}"}, claims, strange))
        assert checked.fetches() == 1


async def test_a_refresh_token_is_no_session() -> None:
    """It is signed with the same key and lives longer, so only its ``drn`` tells it apart."""
    async with checking() as checked:
        result = await checked.sign_in()
        assert result.refresh_jwt
        await checked.refuses(result.refresh_jwt)


async def test_an_expired_session_is_refused() -> None:
    """Even though its signature is right."""
    async with checking(clock=lambda: time.time() - 3600) as checked:
        await checked.refuses((await checked.sign_in()).session_jwt)


async def test_another_projects_session_is_refused() -> None:
    """Keys may be shared, so the issuer is looked at too."""
    async with checking() as checked, checking(project_id="P2anotherProject") as other:
        await checked.refuses((await other.sign_in()).session_jwt)


async def test_forged_tokens_are_refused() -> None:
    """Unsigned, signed with the public key as a secret, signed by a stranger, changed, or no token at all."""
    async with checking() as checked:
        token = (await checked.sign_in()).session_jwt
        header, claims = parts(token)
        url = f"{checked.url}/v2/keys/{checked.fake.project_id}"
        async with aiohttp.request("GET", url) as response:
            (public,) = (await response.json())["keys"]
        as_secret = OctKey.import_key(json.dumps(public))
        stranger = RSAKey.generate_key(2048)
        unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
        head, payload, signature = token.split(".")
        for forged in (
            jwt.encode({**header, "alg": "HS256"}, claims, as_secret),
            jwt.encode(header, claims, stranger),
            f"{unsigned}.{payload}.",
            f"{head}.{payload[:-4]}AAAA.{signature}",
            f"{head}.{payload}.",
            "a.b.c",
            "..",
            "",
            "ä",
        ):
            await checked.refuses(forged)
