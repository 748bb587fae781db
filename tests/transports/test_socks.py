"""A SOCKS proxy: the connector of aiohttp-socks, in a session that is borrowed."""

import aiohttp
import pytest
from kit.certs import Authority
from kit.servers import Connection, answering, forward, serve, session
from kit.support import finish

from descope_native import AiohttpTransport

AUTHORITY = Authority()
GOOD = AUTHORITY.certify()


async def socks5(connection: Connection) -> None:
    """RFC 1928, for a host name and without a password."""
    await connection.arrived(3)
    connection.send(b"\x05\x00")
    await connection.arrived(3 + 5)
    greeting = 2 + connection.received[1]
    size = connection.received[greeting + 4]
    await connection.arrived(greeting + 5 + size + 2)
    request = bytes(connection.received[greeting:])
    assert request[:4] == b"\x05\x01\x00\x03"
    connection.read = greeting + 7 + size
    connection.send(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
    await forward(connection, int.from_bytes(request[5 + size : 7 + size]))


async def test_a_call_goes_through_a_socks_proxy() -> None:
    """TLS is spoken with the service itself, and the name is resolved by the proxy."""
    socks = pytest.importorskip("aiohttp_socks")
    async with serve(socks5) as proxy, serve(answering(session()), GOOD.server_context()) as server:
        connector = socks.ProxyConnector.from_url(
            f"socks5://localhost:{proxy.port}", rdns=True, ssl=AUTHORITY.client_context()
        )
        async with aiohttp.ClientSession(connector=connector) as borrowed:
            await finish(AiohttpTransport(borrowed), server.url("https"))
        assert b"localhost" in proxy.received
        assert len(server.connections) == 1
