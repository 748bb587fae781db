"""How TLS connections end: asyncio closes them politely, and a peer that does not costs nobody anything."""

import asyncio
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from kit.certs import GOOD, OURS
from kit.servers import Connection, answer, read_request, serve, serve_blocking, session
from kit.support import failure, finish
from yarl import URL

from descope_native import HttpRequest, Outcome, RejectedError, RequestTimeout, UnexpectedResponse
from descope_native.transports.aiohttp import AiohttpTransport

CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"


@pytest.mark.parametrize("junk", [b"\r\n\r\n", b"X", b"\0", session("some.body.else")], ids=range(4))
@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "plain"])
async def test_what_comes_behind_an_answer_does_not_cost_the_session(tls: bool, junk: bytes) -> None:
    """A complete answer is one, whatever happens to its connection; the next call has another one."""

    async def script(connection: Connection) -> None:
        while await connection.request():
            whole = session("my.own.token")
            connection.send(whole[:-2])
            await asyncio.sleep(0.02)  # what comes with the head is judged with it
            connection.send(whole[-2:] + junk)

    async with (
        serve(script, GOOD if tls else None) as server,
        AiohttpTransport.open(ssl=OURS) as transport,
    ):
        for _ in range(2):
            result = await finish(transport, server.url("https" if tls else "http"))
            assert result.session_jwt == "my.own.token"


@pytest.mark.parametrize(("status", "kind"), [(200, UnexpectedResponse), (400, RejectedError)])
async def test_a_body_that_stops_being_http_is_told_at_once(status: int, kind: type[Exception]) -> None:
    """Also where the peer does not answer the end of TLS, which asyncio waits for half a minute."""

    def script(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 %d Whatever\r\n%b" % (status, CHUNKS))
        time.sleep(0.1)
        connection.sendall(b"no length\r\n")
        connection.recv(1)

    with serve_blocking(script, GOOD) as deaf:
        async with AiohttpTransport.open(ssl=OURS) as transport:
            started = time.monotonic()
            error = await failure(transport, deaf.url(), timeout=10)
    assert type(error) is kind
    assert time.monotonic() - started < 2


async def test_spoiled_connections_of_a_peer_that_says_no_goodbye_are_gone() -> None:
    """Each is replaced, and no socket waits for an end that never comes."""

    def script(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        connection.sendall(session("my.own.token"))
        time.sleep(0.05)
        connection.sendall(session("some.body.else"))
        deaf.done.set()
        time.sleep(30)

    with serve_blocking(script, GOOD) as deaf:
        async with AiohttpTransport.open(ssl=OURS) as transport:
            for _ in range(4):
                deaf.done.clear()
                result = await finish(transport, deaf.url())
                assert result.session_jwt == "my.own.token"
                deaf.done.wait(5)
                time.sleep(0.01)  # noqa: ASYNC251 -- it arrives while nobody looks
            assert connected_to(deaf.port) <= 1


def connected_to(port: int) -> int:
    """Sockets of this machine that are connected to this port (Linux)."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return sum(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


def large_request(port: int, timeout: float) -> HttpRequest:
    url = URL(f"https://localhost:{port}/")
    return HttpRequest(method="POST", url=url, headers={}, body=b"x" * 20_000_000, timeout=timeout)


async def test_what_is_unsent_when_a_call_ends_is_never_sent() -> None:
    """A peer that says goodbye but reads on, much later, gets what its kernel had, and not the rest."""
    after = 0

    def script(connection: ssl.SSLSocket) -> None:
        nonlocal after
        connection.recv(1000)
        connection.settimeout(0.1)
        with suppress(OSError):
            connection.unwrap()  # says goodbye, and would wait for an answer
        over.wait(10)
        raw = socket.socket(fileno=connection.detach())
        raw.settimeout(5)
        with suppress(OSError):
            while data := raw.recv(1 << 20):
                after += len(data)
        raw.close()

    over = threading.Event()
    with serve_blocking(script, GOOD) as half:
        async with AiohttpTransport.open(ssl=OURS) as transport:
            with pytest.raises(RequestTimeout) as caught:
                await transport.send(large_request(half.port, 0.5))
            over.set()
        assert half.done.wait(10)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert after < 10_000_000


async def test_a_connection_whose_request_may_be_half_sent_is_not_used_again() -> None:
    """An early answer to a large request: of what TLS still holds back nobody is told."""

    def script(connection: ssl.SSLSocket) -> None:
        connection.recv(1000)
        connection.sendall(answer(413))
        time.sleep(5)

    with serve_blocking(script, GOOD) as early:
        async with AiohttpTransport.open(ssl=OURS) as transport:
            for _ in range(2):
                assert (await transport.send(large_request(early.port, 30))).status == 413
