"""``fake``: the stand-in as a process of its own."""

import asyncio
import re
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import attrs
import pytest
from commands import COMMAND, clean_environment, here

from descope_native import NativeOAuthFinisher, NativeOAuthStarter
from descope_native.testing import FakeDescope

PROJECT: Final = "P2mine"


@attrs.define
class Serving:
    """One that runs, and once it has ended, what it wrote."""

    process: asyncio.subprocess.Process
    url: str
    out: bytes = b""
    err: str = ""


@asynccontextmanager
async def serving(*options: str, stop: signal.Signals = signal.SIGTERM) -> AsyncGenerator[Serving, None]:
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "fake", "--project-id", PROJECT, *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment() | {"PYTHONUNBUFFERED": ""},  # the line comes at once all the same
    )
    assert process.stdout is not None
    ready = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
    match = re.fullmatch(rf"ready: (http://localhost:\d{{4,}}) project {PROJECT}\n", ready)
    assert match, ready
    server = Serving(process, match[1])
    try:
        yield server
    finally:
        process.send_signal(stop)
        out, err = await process.communicate()
        server.out, server.err = out, err.decode()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_the_stand_in_serves_until_it_is_told_to_stop(stop: signal.Signals) -> None:
    """One line when it is ready, one for each request on standard error, and a clean end."""
    async with serving(stop=stop) as server, aiohttp.ClientSession(server.url) as session:
        async with session.get("/health") as answer:
            assert answer.status == 200
        async with session.post("/stand-in/sign-in", json={}) as answer:
            proof = await answer.json()
        bearer = {"Authorization": f"Bearer {PROJECT}"}
        async with session.post("/v1/auth/oauth/native/finish", json=proof, headers=bearer) as answer:
            assert (await answer.json())["sessionJwt"]
    assert (server.process.returncode, server.out) == (0, b"stopped\n")
    lines = server.err.splitlines()
    assert [re.sub(r"^[\d:]{8} |[\d.]+ ms", "", line) for line in lines] == [
        "GET /health 200 ",
        "POST /stand-in/sign-in 200 ",
        "POST /v1/auth/oauth/native/finish 200 ",
    ]
    assert proof["stateId"] not in server.err


async def test_its_options_are_those_of_the_stand_in() -> None:
    """Cookies, names, lifetimes and device tokens; and nothing on standard error if so wanted."""
    cookies = ("--cookies", "--session-cookie-name", "here", "--refresh-cookie-name", "there")
    where = ("--cookie-domain", "example.com", "--cookie-path", "/app", "--device-tokens")
    lifetimes = ("--state-lifetime", "60", "--session-lifetime", "100", "--refresh-lifetime", "1000")
    async with (
        serving("--quiet", *cookies, *where, *lifetimes) as server,
        NativeOAuthStarter.open(PROJECT, base_url=server.url) as starter,
        NativeOAuthFinisher.open(PROJECT, base_url=server.url) as finisher,
        aiohttp.ClientSession(server.url) as session,
    ):
        started = await starter.start(provider="apple")
        given = attrs.asdict(
            started, filter=lambda attribute, value: attribute.name not in {"extra", "drift"}
        )
        async with session.post("/stand-in/phone", json=given) as answer:
            proof = await answer.json()
        result = await finisher.finish(
            provider="apple", state_id=started.state_id, code=proof["code"], user=proof["user"]
        )
    assert result.session_jwt
    assert (result.session_cookie_name, result.cookie_name) == ("here", "there")
    assert (result.cookie_domain, result.cookie_path, result.cookie_max_age) == ("example.com", "/app", 1000)
    assert result.next_refresh_seconds == 80
    assert server.err == ""


async def test_a_name_that_it_is_told_to_answer_to_is_answered() -> None:
    """As that of a container, under which other containers ask."""
    statuses = {}
    async with (
        serving("--allow-host", "fake", "--allow-host", "other") as server,
        aiohttp.ClientSession(server.url) as session,
    ):
        for host in ("fake", "other", "stranger"):
            async with session.get("/health", headers={"Host": host}) as answer:
                statuses[host] = answer.status
    assert statuses == {"fake": 200, "other": 200, "stranger": 421}


def test_without_the_signing_extra_it_serves_nothing_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of tokens that nothing accepts: exit code 2, with what to install and what to say."""
    monkeypatch.setitem(sys.modules, "joserfc", None)
    done = here("fake")
    assert (done.code, done.out) == (2, "")
    assert "joserfc" in done.err
    assert "--unsigned" in done.err


async def test_it_serves_unsigned_tokens_when_told() -> None:
    """They say so, and there is no key for them."""
    async with (
        serving("--unsigned") as server,
        aiohttp.ClientSession(server.url) as session,
        session.get(f"/v2/keys/{PROJECT}") as answer,
    ):
        assert await answer.json() == {"keys": []}


@pytest.mark.parametrize("option", ["--session-cookie-name", "--refresh-cookie-name", "--cookie-path"])
def test_a_cookie_that_cannot_be_is_one_clear_line(option: str) -> None:
    """Exit code 2."""
    done = here("fake", option, "CANARY; ")
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(r"descope-native fake: a cookie's .*\n", done.err)
    assert "CANARY" not in done.err


@pytest.mark.parametrize("port", ["0", "65535"])
def test_a_host_that_is_not_here_is_one_clear_line(port: str) -> None:
    """Nobody can listen on an address of TEST-NET-1 (RFC 5737); exit code 1."""
    done = here("fake", "--host", "192.0.2.1", "--port", port)
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(r"descope-native fake: cannot listen there \(.+\)\n", done.err)


def test_a_port_in_use_is_one_clear_line() -> None:
    """Exit code 1 and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = here("fake", "--host", "127.0.0.1", "--port", str(taken.getsockname()[1]))
    assert (done.code, done.out) == (1, "")
    assert "cannot listen" in done.err


async def test_an_event_loop_without_signals_is_stopped_by_ctrl_c_all_the_same() -> None:
    """As on Windows, whose loops have no signal handlers: exit code 130, no traceback."""
    code = """
import asyncio, sys
from descope_native.__main__ import main

def add_signal_handler(*_: object) -> None:
    raise NotImplementedError

asyncio.SelectorEventLoop.add_signal_handler = add_signal_handler
sys.exit(main(["fake"]))
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", code),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment(),
    )
    assert process.stdout is not None
    ready = (await process.stdout.readline()).decode()
    assert ready.startswith("ready: http://localhost:")
    assert FakeDescope().project_id in ready
    process.send_signal(signal.SIGINT)
    assert await process.communicate() == (b"", b"")
    assert process.returncode == 130
