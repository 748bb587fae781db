"""What a network transport takes, and what it refuses before anything is opened."""

import select
from typing import Any

import aiohttp
import pytest
from harness.calls import finish
from harness.servers import Connection, serve, session

from descope_native import AiohttpTransport, InvalidRequestError

LIMITS: list[dict[str, Any]] = [
    {name: value}
    for name in ("connect_timeout", "max_body")
    for value in (0, -1, "5", None, True, float("nan"), float("inf"))
]


@pytest.mark.parametrize(
    "options", [*LIMITS, {"limit": -1}, {"limit": "5"}, {"ssl": "yes"}, {"proxy": "ftp://x"}, {"proxy": 5}]
)
def test_opening_refuses_what_cannot_be_right(options: dict[str, Any]) -> None:
    """When it is called, before it is entered; the error names the argument."""
    with pytest.raises(InvalidRequestError, match=f"^{next(iter(options))} must be "):
        AiohttpTransport.open(**options)


@pytest.mark.parametrize("options", [*LIMITS, {"proxy": "ftp://x"}, {"proxy": "no url"}])
async def test_borrowing_refuses_what_cannot_be_right(options: dict[str, Any]) -> None:
    """Likewise, with a session that is as it should be."""
    async with aiohttp.ClientSession() as owner:
        with pytest.raises(InvalidRequestError, match=f"^{next(iter(options))} must be "):
            AiohttpTransport(owner, **options)


async def test_only_an_open_session_can_be_borrowed() -> None:
    """Neither anything else nor one that is closed."""
    not_a_session: Any = object()
    with pytest.raises(InvalidRequestError, match="session"):
        AiohttpTransport(not_a_session)
    async with aiohttp.ClientSession() as owner:
        pass
    with pytest.raises(InvalidRequestError, match="open"):
        AiohttpTransport(owner)


async def test_connections_are_looked_at_where_there_is_no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has select() only: clean connections are used again, and at once, spoiled ones are not."""
    monkeypatch.delattr(select, "poll")

    async def script(connection: Connection) -> None:
        while await connection.request():
            connection.send(session("my.own.token"))

    async with serve(script) as server, AiohttpTransport.open() as transport:
        for _ in range(2):
            await finish(transport, server.url(), timeout=0.9)
        assert len(server.connections) == 1
        server.connections[0].send(session("some.body.else"))  # in the kernel: the loop has not seen it yet
        assert (await finish(transport, server.url(), timeout=0.9)).session_jwt == "my.own.token"
        assert len(server.connections) == 2
