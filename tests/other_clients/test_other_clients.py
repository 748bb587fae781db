"""The stand-in, judged by clients that somebody else wrote."""

import asyncio
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from descope_native import InMemoryTransport, NativeOAuthFinisher
from descope_native.testing import FakeDescope, Fault

NODE: Final = Path(__file__).with_name("node")


async def run(*command: str | Path, cwd: Path) -> str:
    """What a program prints; the test fails with all of it if the program does."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(240):  # for a machine with much to do
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


@pytest.fixture(scope="module")
def node_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vendor's SDK for Node, installed as `tests/other_clients/node/package.json` says."""
    if shutil.which("npm") is None:
        pytest.skip("Node.js with npm is not installed")
    project = tmp_path_factory.mktemp("node")
    shutil.copytree(NODE, project, dirs_exist_ok=True)
    asyncio.run(run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=project))
    return project


async def signed_in_by_node(fake: FakeDescope, project: Path) -> dict[str, Any]:
    async with fake.serve() as base_url:
        printed = await run("node", "finish.mjs", base_url, fake.project_id, cwd=project)
    answers: dict[str, Any] = json.loads(printed)
    return answers


async def test_the_node_sdk_finishes_a_native_sign_in_once(node_project: Path) -> None:
    """`@descope/node-sdk` starts, finishes and validates the session; its second finish is refused."""
    fake = FakeDescope()
    answers = await signed_in_by_node(fake, node_project)
    assert answers["started"]["ok"] is True
    finished = answers["finished"]
    assert (finished["code"], finished["data"]["firstSeen"]) == (200, True)
    user = finished["data"]["user"]
    assert (user["email"], user["name"]) == ("grace@example.com", "Grace Hopper")
    claims = answers["session"]["token"]
    assert (claims["sub"], claims["roles"], claims["drn"]) == (user["userId"], ["admiral"], "DS")
    again = answers["again"]
    assert (again["ok"], again["code"], again["error"]["errorCode"]) == (False, 400, "E061301")
    assert answers["withIdToken"]["data"]["user"]["userId"] == user["userId"]
    assert "SHA-256" in answers["hashed"]["error"]["errorMessage"]
    assert [(start.provider, start.implicit, start.login_options) for start in fake.starts] == [
        ("apple", False, {"locale": "de"}),
        ("apple", True, None),
        ("google", None, None),
    ]
    finishes = [call.status for call in fake.calls if call.path.endswith("/native/finish")]
    assert finishes == [200, 400, 200, 400]


async def test_the_node_sdk_refreshes_a_session_and_ends_it(node_project: Path) -> None:
    """It takes the new token for valid, is told whose session it is, and after logging out gets no more."""
    answers = await signed_in_by_node(FakeDescope(), node_project)
    user_id = answers["finished"]["data"]["user"]["userId"]
    assert answers["refreshed"]["token"]["sub"] == answers["me"]["data"]["userId"] == user_id
    assert answers["loggedOut"]["ok"] is True
    assert (answers["tooLate"]["ok"], answers["tooLate"]["code"]) == (False, 401)


async def test_the_node_sdk_is_told_that_it_is_of_another_project(node_project: Path) -> None:
    """A wrong project id reads as unauthorized to the vendor's client."""
    refused = (await signed_in_by_node(FakeDescope(), node_project))["refused"]
    assert (refused["ok"], refused["code"], refused["error"]["errorCode"]) == (False, 401, "E111119")


@pytest.mark.parametrize("key", [None, "K2secret"], ids=["open", "closed"])
@pytest.mark.parametrize("tokens", ["body", "cookies"])
async def test_the_python_sdk_validates_refreshes_and_ends_the_session(tokens: Any, key: str | None) -> None:
    """Wherever tokens are, and where the project wants its key; our finish and its calls go side by side."""
    descope = pytest.importorskip("descope", reason="the descope package is not installed")
    fake = FakeDescope(tokens=tokens, auth_management_key=key)
    finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake), auth_management_key=key)
    result = await finisher.finish(**fake.sign_in(user={"roleNames": ["editor"]}).as_arguments())
    assert result.user is not None
    user_id, refresh_jwt = result.user.user_id, result.refresh_jwt

    def check(base_url: str) -> None:
        client = descope.DescopeClient(fake.project_id, base_url=base_url, auth_management_key=key)
        assert client.validate_session(result.session_jwt)["userId"] == user_id
        assert client.me(refresh_jwt)["userId"] == user_id
        if tokens == "body":  # the SDK looks for a refreshed session token in the body only
            refreshed = client.validate_and_refresh_session("expired", refresh_jwt)
            assert (refreshed["userId"], refreshed["roles"]) == (user_id, ["editor"])
            assert refreshed["refreshSessionToken"]["drn"] == "DSR"
            assert client.validate_session(refreshed["sessionToken"]["jwt"])["userId"] == user_id
        assert client.logout(refresh_jwt).status_code == 200
        for ended in (client.refresh_session, client.me, client.logout):
            with pytest.raises(descope.AuthException) as refused:
                ended(refresh_jwt)
            assert refused.value.status_code == 401

    async with fake.serve() as base_url:
        await asyncio.to_thread(check, base_url)


async def test_the_python_sdk_judges_the_session_by_its_signature() -> None:
    """`descope` fetches the key set, accepts the token and its roles, and refuses one that was touched."""
    descope = pytest.importorskip("descope", reason="the descope package is not installed")
    jwt = pytest.importorskip("jwt", reason="the descope package is not installed")
    fake = FakeDescope()
    finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake))
    tenant = {"tenantId": "T2acme", "roleNames": ["owner"], "permissions": ["pay"]}
    proof = fake.sign_in(user={"roleNames": ["editor"], "userTenants": [tenant]})
    result = await finisher.finish(**proof.as_arguments())
    touched = ".".join([*str(result.session_jwt).split(".")[:2], str(result.refresh_jwt).split(".")[2]])

    def check(base_url: str) -> None:
        client = descope.DescopeClient(fake.project_id, base_url=base_url)
        session = client.validate_session(result.session_jwt)
        assert result.user is not None
        assert session["userId"] == result.user.user_id
        assert client.validate_roles(session, ["editor"])
        assert client.validate_tenant_permissions(session, "T2acme", ["pay"])
        assert not client.validate_tenant_roles(session, "T2acme", ["editor"])
        with pytest.raises(jwt.InvalidSignatureError):
            client.validate_session(touched)

    async with fake.serve() as base_url:
        await asyncio.to_thread(check, base_url)
    assert [call.path for call in fake.calls][1:] == [f"/v2/keys/{fake.project_id}"]


SCHEMATHESIS: Final = """\
[parameters]
projectId = "{project_id}"

# A finish that is well-formed may still name a state that is spent, as most made-up ones are.
[[operations]]
include-operation-id = ["start", "finish"]
checks.positive_data_acceptance.expected-statuses = [200, 400, 401]

# The bearer of the run is of the project, and of no session.
[[operations]]
include-operation-id = ["refresh", "logout", "me"]
checks.positive_data_acceptance.expected-statuses = [401]

# A client id that is made up is nobody's.
[[operations]]
include-operation-id = "phone"
checks.positive_data_acceptance.expected-statuses = [200, 409]
"""


async def fuzz(fake: FakeDescope, directory: Path, *options: str) -> str:
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    config = directory / "schemathesis.toml"
    config.write_text(SCHEMATHESIS.format(project_id=fake.project_id))
    program = (sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run")
    # What breaks the service on request would be found to break it, and what mends it would hide that.
    without = ("--exclude-operation-id", "failNext", "--exclude-operation-id", "reset")
    bearer = ("--header", f"Authorization: Bearer {fake.project_id}")
    async with fake.serve() as base_url:
        url = f"{base_url}/stand-in/openapi.json"
        return await run(*program, url, "--checks", "all", *without, *bearer, *options, cwd=directory)


async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """Made-up requests, good and bad, and whole sign-ins all get what the description says."""
    fake = FakeDescope()
    await fuzz(fake, tmp_path, "--max-examples", "30", "--seed", "1")
    finished = Counter(call.status for call in fake.calls if call.path.endswith("/native/finish"))
    assert finished.keys() >= {200, 400, 401}
    assert min(finished[200], finished[400]) >= 5, "it must have got through to both ends"


async def test_schemathesis_would_find_something(tmp_path: Path) -> None:
    """One ill-typed field of one answer is enough to fail its run."""
    fake = FakeDescope()
    fake.fail_when(
        lambda request: request.url.path.endswith("/start"), Fault(fields={"errorCode": 1, "nonce": 1})
    )
    with pytest.raises(AssertionError, match="Response violates schema"):
        await fuzz(fake, tmp_path, "--max-examples", "5", "--max-failures", "1", "--seed", "1")


IN_EVERY_KIND_OF_TEST: Final = """\
import asyncio

import pytest

from descope_native import InMemoryTransport, NativeOAuthFinisher
from descope_native.testing import FakeDescope


@pytest.fixture
def fake():
    return FakeDescope()


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def sign_in(fake):
    finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake))
    result = await finisher.finish(**fake.sign_in().as_arguments())
    assert result.first_seen


def test_in_a_sync_test(fake):
    asyncio.run(sign_in(fake))


@pytest.mark.asyncio
async def test_under_pytest_asyncio(fake):
    await sign_in(fake)


@pytest.mark.anyio
async def test_under_anyio(fake):
    await sign_in(fake)
"""


async def test_the_stand_in_works_in_every_kind_of_test(tmp_path: Path) -> None:
    """One fixture serves sync tests, pytest-asyncio's and anyio's, with warnings as errors."""
    for plugin in ("pytest_asyncio", "anyio"):
        pytest.importorskip(plugin, reason=f"{plugin} is not installed")
    (tmp_path / "test_it.py").write_text(IN_EVERY_KIND_OF_TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    printed = await run(sys.executable, "-m", "pytest", "-q", "-W", "error", cwd=tmp_path)
    assert "3 passed" in printed
