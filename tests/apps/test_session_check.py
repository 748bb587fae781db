"""The README's recipe for later requests: a session token is verified against the project's key set."""

import asyncio
import base64
import json
import sys
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from descope_native import FinishResult, NativeOAuthFinisher
from descope_native.testing import FakeDescope, Fault

pytest.importorskip("joserfc")
sys.path.append(str(Path(__file__).parent))

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from session_check import InvalidSession, KeysUnavailable, SessionCheck
from test_apps import imported


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
        with pytest.raises(InvalidSession) as refusal:
            await self.check(token)
        assert (refusal.value.__cause__, refusal.value.__context__) == (None, None)
        for frame, _ in traceback.walk_tb(refusal.tb.tb_next):
            assert "token" not in frame.f_locals


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


HEADERS: list[Any] = [
    *([], None, "x", 1, b"\xff", b"[" * 100_000, b'{"alg": ' + b"9" * 5000 + b"}"),
    *({"alg": alg} for alg in (["RS256"], "none", None, 1, {})),
    *({"kid": kid} for kid in ([1], {}, None, 1, "", "\ud800", "a" * 10_000)),
    *({"crit": crit} for crit in (1, ["x"], "b64", None, {})),
    *({"typ": 1}, {"jku": 1, "x5c": 1}, {"b64": False, "crit": ["b64"]}, {"jwk": []}),
]


async def test_no_hostile_token_is_anything_but_invalid() -> None:
    """An app that answers 401 for an invalid session has no 500 for one that is worse."""
    async with checking() as checked:
        token = (await checked.sign_in()).session_jwt
        head, payload, signature = token.split(".")
        known, _ = parts(token)
        for header in HEADERS:
            spelled = header if isinstance(header, bytes) else json.dumps(header).encode()
            if isinstance(header, dict):
                spelled = json.dumps({**known, **header}).encode()
            print(spelled[:60])
            encoded = base64.urlsafe_b64encode(spelled).decode().rstrip("=")
            await checked.refuses(f"{encoded}.{payload}.{signature}")
        deep = base64.urlsafe_b64encode(b"[" * 100_000).decode()
        odd = [
            "\ud800",
            "\ud800.a.b",
            "\0",
            "a" * 1_000_000,
            f"{head}.{deep}.{signature}",
            f"{token}.a",
            f" {token}",
        ]
        for hostile in (*odd, f"{token}\n", f"{head}.{payload}.!!", "a.b.c.d.e"):
            await checked.refuses(hostile)
        assert await checked.check(token)


KEY_SETS = [
    *(b"", b"x", b"\xff", b"[]", b"null", b"{}", b"[" * 100_000, b'{"keys": ' + b"9" * 5000 + b"}"),
    *(b'{"keys": null}', b'{"keys": [1]}', b'{"keys": [{}]}', b'{"keys": [{"kty": "X"}]}'),
    *(b'{"keys": [{"kty": "RSA", "n": "!", "e": "!"}]}', b'{"keys": [{"kty": "RSA", "n": 1, "e": 1}]}'),
]


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=bogus", "text/html"])
async def test_what_is_no_key_set_logs_nobody_out(content_type: str) -> None:
    """A captive portal or an outage is no reason to call a session invalid, now or in the seconds after."""
    async with checking() as checked:
        token = (await checked.sign_in()).session_jwt
        for body in KEY_SETS:

            async def respond(request: web.Request, body: bytes = body) -> web.Response:
                return web.Response(body=body, headers={"Content-Type": content_type})

            app = web.Application()
            app.router.add_get("/{path:.*}", respond)
            async with TestServer(app) as server, aiohttp.ClientSession() as client:
                check = SessionCheck(client, checked.fake.project_id, server.make_url(""))
                for _ in range(2):
                    with pytest.raises(KeysUnavailable) as refusal:
                        await check(token)
                    assert refusal.value.__cause__ is None
                    for frame, _ in traceback.walk_tb(refusal.tb.tb_next):
                        assert "token" not in frame.f_locals


async def test_an_outage_logs_nobody_out() -> None:
    """Neither the request that meets it nor the next ones."""
    async with checking() as checked:
        token = (await checked.sign_in()).session_jwt
        checked.fake.fail_when(lambda request: request.url.path.startswith("/v2/keys/"), Fault(status=503))
        for _ in range(3):
            with pytest.raises(KeysUnavailable):
                await checked.check(token)
        assert checked.fetches() == 1


@pytest.mark.apps
async def test_an_endpoint_is_for_those_who_are_signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the session's cookie it tells who; without one 401, and 503 where the keys cannot be had."""
    httpx = pytest.importorskip("httpx")
    module = imported("signed_in_app", "fastapi")
    fake = FakeDescope()
    async with fake.serve() as base_url:
        monkeypatch.setenv("DESCOPE_PROJECT_ID", fake.project_id)
        monkeypatch.setenv("DESCOPE_BASE_URI", base_url)
        async with module.lifespan(module.app) as state:

            async def with_state(scope: Any, receive: Any, send: Any) -> None:
                await module.app({**scope, "state": dict(state)}, receive, send)

            transport = httpx.ASGITransport(with_state)
            async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as client:
                assert (await client.get("/me")).status_code == 401
                fake.fail_when(lambda request: "/v2/keys/" in request.url.path, Fault(status=500))
                proof = fake.sign_in("google").as_arguments()
                signed_in = await client.post("/sign-in", json={**proof, "user": None})
                assert signed_in.status_code == 200
                assert (await client.get("/me")).status_code == 503
                fake.mend()
                monkeypatch.setattr(state["check"], "_fresh_until", 0.0)  # as if five seconds had passed
                me = await client.get("/me")
                assert (me.status_code, set(me.json())) == (200, {"user_id"})
