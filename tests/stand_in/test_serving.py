"""The stand-in on a socket: where it listens, whom it lets in, and for how long it waits."""

import asyncio
import errno
import gzip
import json
import re
import socket
from typing import Any, Final

import aiohttp
import pytest
from asking import (
    FINISH,
    PROJECT,
    Asking,
    asking_over_http,
    both_ways,
)
from yarl import URL

from descope_native.testing import FakeDescope, Fault, openapi


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


@both_ways
async def test_what_is_told_of_a_faults_numbers_is_what_is_taken(asking: Asking) -> None:
    """A client that somebody generates from the document sends no fault that is refused, nor misses one."""
    operation = openapi()["paths"]["/stand-in/fail-next"]["post"]
    bounds = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    least, most = bounds["status"]["minimum"], bounds["status"]["maximum"]
    shortest = bounds["delay"]["minimum"]
    taken = [{"status": least}, {"status": most}, {"delay": shortest}]
    refused = [{"status": least - 1}, {"status": most + 1}, {"delay": shortest - 0.001}]
    async with asking(FakeDescope()) as client:
        assert [(await client.post("/stand-in/fail-next", fault)).status for fault in taken] == [200] * 3
        assert [(await client.post("/stand-in/fail-next", fault)).status for fault in refused] == [400] * 3


# --- on a developer's machine, whose browser is open


async def answered(base_url: str, *lines: str, body: bytes = b"") -> tuple[int, bytes]:
    """The status and body of what comes back for these lines, by a raw socket."""
    reader, writer = await asyncio.open_connection("localhost", URL(base_url).port)
    try:
        writer.write(
            "\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""]).encode()
        )
        writer.write(body)
        head, _, content = (await reader.read()).partition(b"\r\n\r\n")
        return int(head.split()[1]), content
    finally:
        writer.close()


GET: Final = "GET /stand-in/calls HTTP/1.1"
POST: Final = "POST /stand-in/sign-in HTTP/1.1"
HERE: Final = "Host: localhost"
JSON: Final = "Content-Type: application/json"


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((GET, HERE), 200),
        ((GET, "Host: LOCALHOST.:8787"), 200),
        ((GET, "Host: service.localhost"), 200),
        ((GET, "Host: 127.0.0.1:1"), 200),
        ((GET, "Host: [::1]:1"), 200),
        ((GET, "Host: Fake.Internal"), 200),
        ((GET.replace("1.1", "1.0"),), 200),
        ((GET, "Host: rebound.example"), 421),
        ((GET, "Host: localhost.rebound.example"), 421),
        ((GET, "Host: notlocalhost"), 421),
        ((GET, "Host: [rebound.example]"), 421),
        ((GET, "Host:"), 421),
        ((GET, HERE, "Sec-Fetch-Site: none"), 200),
        ((GET, HERE, "Sec-Fetch-Site: same-origin"), 200),
        ((GET, HERE, "Sec-Fetch-Site: same-site"), 403),
        ((GET, HERE, "Sec-Fetch-Site: cross-site"), 403),
        ((GET, HERE, "Origin: http://localhost"), 200),
        ((GET, HERE, "Origin: http://localhost:3000"), 403),
        ((GET, HERE, "Origin: null"), 403),
        ((GET.replace("1.1", "1.0"), "Origin: http://evil.example"), 403),
        ((POST, HERE, JSON), 200),
        ((POST, HERE, "Content-Type: Application/JSON; charset=utf-8"), 200),
        ((POST, HERE, JSON, "Origin: http://evil.example"), 403),
        ((POST, HERE, JSON, "Sec-Fetch-Site: cross-site"), 403),
        ((POST, HERE), 415),
        (("POST /stand-in/reset HTTP/1.1", HERE), 200),
        (("POST /stand-in/reset HTTP/1.1", HERE, "Content-Type: text/plain"), 415),
        ((POST, HERE, "Content-Type: text/plain"), 415),
        ((POST, HERE, "Content-Type: text/plain, application/json"), 415),
        ((POST, HERE, "Content-Type: application/x-www-form-urlencoded"), 415),
        (("OPTIONS /stand-in/sign-in HTTP/1.1", HERE, "Origin: http://evil.example"), 403),
        (("OPTIONS * HTTP/1.1", HERE), 404),
        (("GET http://rebound.example/health HTTP/1.1", HERE), 200),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_pages_of_other_sites_neither_post_nor_read(lines: tuple[str, ...], status: int) -> None:
    """A form, a script and a name that was rebound to this machine are refused; programs are not."""
    async with FakeDescope().serve(allowed_hosts=["fake.internal"]) as base_url:
        answer, body = await answered(base_url, *lines, body=b"{}" if lines[0] == POST else b"")
    assert answer == status, body
    if status not in {200, 404}:
        assert json.loads(body)["errorCode"] == "E011003"


async def test_the_name_that_is_served_is_answered_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a container."""
    resolving_to(monkeypatch, "127.0.0.1")
    async with FakeDescope().serve("fake.example") as base_url:
        monkeypatch.undo()
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(base_url).port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: fake.example\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
    assert answer.endswith(b'{"status":"ok"}')


@pytest.mark.parametrize("more", [1, 2**20], ids=["a byte", "a mebibyte"])
async def test_a_body_is_read_up_to_128_kib(more: int) -> None:
    """And refused as the error JSON says, not kept in memory."""
    fake = FakeDescope()
    async with fake.serve() as base_url:
        largest = b'{"provider": "google"}'.ljust(2**17)
        assert (await answered(base_url, POST, HERE, JSON, body=largest))[0] == 200
        status, body = await answered(base_url, POST, HERE, JSON, body=largest.ljust(2**17 + more))
    assert (status, json.loads(body)["errorMessage"]) == (413, "the body is larger than 131072 bytes")


async def test_a_compressed_body_is_not_unpacked() -> None:
    """A small one may be a very large one."""
    async with FakeDescope().serve() as base_url:
        packed = gzip.compress(b"{}")
        status, body = await answered(base_url, POST, HERE, JSON, "Content-Encoding: gzip", body=packed)
    assert (status, json.loads(body)["errorCode"]) == (400, "E011001")


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (b"", b""),
        (b"POST /stand-in/sign-in HT", b""),
        (f"{POST}\r\n{HERE}\r\n{JSON}\r\nContent-Length: 9\r\n\r\n{{".encode(), b"HTTP/1.1 408 "),
    ],
    ids=["nothing", "half a head", "half a body"],
)
async def test_a_request_that_does_not_arrive_is_given_up(sent: bytes, received: bytes) -> None:
    """The connection is closed, after a word of why where there is somebody to say it to."""
    async with FakeDescope().serve(request_timeout=0.1) as base_url:
        reader, writer = await asyncio.open_connection("localhost", URL(base_url).port)
        try:
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()
    assert answer.startswith(received)
    assert bool(answer) is bool(received)


async def test_each_request_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """What was asked and what came of it, and no secret; also of those that were not let in."""
    caplog.set_level("INFO", "descope_native.testing")
    fake = FakeDescope()
    fake.fail_next(Fault(drop="before"))
    proof = fake.sign_in("apple")
    async with asking_over_http(fake) as client:
        with pytest.raises(aiohttp.ClientError):
            await client.finish(proof)
        await client.finish(proof)
        await client.finish(proof)
        await client.get(f"/{proof.code}?code={proof.code}")
        await client.request("POST", FINISH, b"{}", Content_Type="text/plain")
    lines = [re.sub(r"\d+\.\d ms", "N ms", record.getMessage()) for record in caplog.records]
    assert lines == [
        f"POST {FINISH} dropped N ms",
        f"POST {FINISH} 200 N ms",
        f"POST {FINISH} 400 N ms E061301 the state is unknown, or spent",
        "GET /[masked] 404 N ms E011003 there is no such path",
        f"POST {FINISH} 415 N ms E011003 the Content-Type of a POST is application/json",
    ]


@pytest.mark.parametrize("length", [2, 500], ids=["the answer", "its own body"])
async def test_a_request_whose_caller_gives_up_is_a_line_too(
    caplog: pytest.LogCaptureFixture, length: int
) -> None:
    """Whether it waits for the answer or was still sending."""
    caplog.set_level("INFO", "descope_native.testing")
    fake = FakeDescope()
    fake.fail_next(Fault(delay=30))
    async with fake.serve() as base_url:
        _, writer = await asyncio.open_connection("localhost", URL(base_url).port)
        head = f"POST {FINISH} HTTP/1.1\r\n{HERE}\r\n{JSON}\r\nContent-Length: {length}\r\n\r\n"
        writer.write(f"{head}{{}}".encode())
        async with asyncio.timeout(10):
            while length == 2 and not fake.calls:
                await asyncio.sleep(0.001)
            writer.close()
            await writer.wait_closed()
            while not caplog.records:
                await asyncio.sleep(0.001)
    (line,) = (record.getMessage() for record in caplog.records)
    assert re.fullmatch(rf"POST {FINISH} abandoned \d+\.\d ms", line)


async def test_what_is_no_http_is_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    """It is answered, and whatever it was stays out of the log."""
    async with FakeDescope().serve() as base_url:
        status, _ = await answered(base_url, GET, HERE, JSON, "Content-Type: secret", "se cret: secret")
    assert status == 400
    assert caplog.records == []


@both_ways
async def test_health_is_told(asking: Asking) -> None:
    """To whatever waits until the stand-in is ready."""
    async with asking(FakeDescope()) as client:
        reply = await client.get("/health")
    assert (reply.status, reply.json) == (200, {"status": "ok"})
