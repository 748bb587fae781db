"""The stand-in on a socket: where it listens, whom it lets in, and for how long it waits."""

import asyncio
import errno
import socket
from typing import Any

import aiohttp
import pytest
from asking import (
    FINISH,
    PROJECT,
    Asking,
    both_ways,
)
from yarl import URL

from descope_native.testing import FakeDescope, openapi


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


@both_ways
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
