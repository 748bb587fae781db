"""Ask a stand-in in literal JSON: directly, and over HTTP by a client that is not ours."""

import base64
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import aiohttp
import attrs
import pytest
from yarl import URL

from descope_native import HttpRequest
from descope_native.testing import FakeDescope, Proof

PROJECT: Final = "P2fakeProject0000000000000000"
START: Final = "/v1/auth/oauth/native/start"
FINISH: Final = "/v1/auth/oauth/native/finish"
KEYS: Final = f"/v2/keys/{PROJECT}"


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
        self, path: str, body: object = None, authorization: str | None = f"Bearer {PROJECT}", **more: str
    ) -> Reply:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("POST", path, content, authorization, **more)

    async def finish(self, proof: Proof, **changes: object) -> Reply:
        return await self.post(FINISH, {**proof.as_json(), **changes})

    async def request(
        self, method: str, path: str, body: bytes, authorization: str | None = None, **more: str
    ) -> Reply:
        """More headers are given as keywords, with an underscore for each dash."""
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        if authorization:
            headers["Authorization"] = authorization
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
            headers = {"Content-Type": "application/json"} | headers
            async with session.request(method, base_url + path, data=body, headers=headers) as answer:
                return Reply(answer.status, list(answer.headers.items()), await answer.read())

        yield Client(ask)


class Clock:
    now = 1_800_000_063.0

    def __call__(self) -> float:
        return self.now


def claims_of(token: str) -> Any:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


both_ways = pytest.mark.parametrize("asking", [asking_directly, asking_over_http], ids=["direct", "http"])
