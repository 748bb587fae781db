"""Our requests, judged by an OpenAPI server that somebody else wrote: Prism."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kit.servers import unused_port

from descope_native import (
    AiohttpTransport,
    AppleUser,
    LoginOptions,
    NativeOAuthFinisher,
    NativeOAuthStarter,
)
from descope_native.testing import FakeDescope

PROJECT = "P2abc"
FINISH = "/v1/auth/oauth/native/finish"


@pytest.fixture(scope="module")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Prism installed, and the stand-in's description of the service."""
    if shutil.which("npm") is None:
        pytest.skip("Node.js with npm is not installed")
    project = tmp_path_factory.mktemp("prism")
    shutil.copytree(Path(__file__).with_name("prism"), project, dirs_exist_ok=True)
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
    subprocess.run(install, cwd=project, check=True, capture_output=True, timeout=400)
    return project


async def described() -> Any:
    async with (
        FakeDescope().serve() as base,
        aiohttp.ClientSession() as client,
        client.get(f"{base}/stand-in/openapi.json") as response,
    ):
        return await response.json()


@asynccontextmanager
async def running(project: Path) -> AsyncIterator[str]:
    """Its base URL. It refuses what the document does not allow."""
    (project / "service.json").write_text(json.dumps(await described()))
    port = unused_port()
    program = project / "node_modules" / "@stoplight" / "prism-cli" / "dist" / "index.js"
    process = await asyncio.create_subprocess_exec(
        *("node", str(program), "mock", "--errors", "--port", str(port), "service.json"),
        cwd=project,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while b"listening" not in (line := await process.stdout.readline()):
                assert line, "Prism ended"
        reading = asyncio.create_task(process.stdout.read())
        yield f"http://localhost:{port}"
        process.kill()
        await reading
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_prism_takes_our_requests(prism: Path) -> None:
    """Start and finish, with all that they may carry; and it refuses a request without its state."""
    async with running(prism) as base, AiohttpTransport.open() as transport:
        starter = NativeOAuthStarter(PROJECT, transport, base_url=base)
        finisher = NativeOAuthFinisher(PROJECT, transport, base_url=base, strict=True)
        options = LoginOptions(
            stepup=True, custom_claims={"a": [1]}, template_options={"k": "v"}, locale="de"
        )
        started = await starter.start(
            provider="google", login_options=options, implicit=True, refresh_jwt="r.e.f", known_device_jwt="d"
        )
        assert started.state_id
        user = AppleUser(given_name="Ada", family_name="Lovelace")
        with_code = await finisher.finish(
            provider="apple", state_id=started.state_id, code="c", user=user, trusted_device_jwt="t"
        )
        with_id_token = await finisher.finish(provider="google", state_id="s", id_token="id.to.ken")
        assert with_code.session_jwt
        assert with_id_token.session_jwt
        wrong = {"provider": "google", "idToken": "id.to.ken"}
        headers = {"Authorization": f"Bearer {PROJECT}"}
        async with (
            aiohttp.ClientSession(base) as client,
            client.post(FINISH, json=wrong, headers=headers) as refused,
        ):
            assert 400 <= refused.status < 500
