"""``check-transport``: a table of what holds, and `--record`: a file of what went over the wire."""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from unittest import mock

import pytest
from commands import FINISH, START, finishing, here, secret_of
from kit.servers import Connection, after_request, answer, serve, session

from descope_native import NativeOAuthFinisher
from descope_native.testing import FakeDescope
from descope_native.transports.recording import ReplayTransport

OWN = """
from contextlib import asynccontextmanager
from descope_native.transports.aiohttp import AiohttpTransport

def open_good(trust):
    return AiohttpTransport.open(ssl=trust.context, reuse_connections=False)

@asynccontextmanager
async def open_bad(trust):
    yield None
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, which the module is found in."""
    (tmp_path / "own_transport.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_transport", raising=False)
    return tmp_path


def test_a_transport_that_holds_ends_with_0(folder: Path) -> None:
    """What is not claimed is not asked for."""
    done = here("check-transport", "own_transport:open_good", "--not", "reuses_connections")
    assert (done.code, done.err) == (0, "")
    *lines, last = done.out.splitlines()
    assert {line.split()[0] for line in lines} == {"holds"}
    assert "connections_are_reused" not in done.out
    assert last == f"{len(lines)} of {len(lines)} hold"


def test_a_transport_that_does_not_hold_ends_with_1(folder: Path) -> None:
    """Each case that is broken says what it is about and what was seen."""
    done = here("check-transport", "own_transport:open_bad")
    assert (done.code, done.err) == (1, "")
    assert (
        "BROKEN  lines_of_one_name_stay_apart\n"
        "        Two Set-Cookie lines are two headers: joined by a comma they cannot be told apart again.\n"
        "        Seen: AttributeError ('NoneType' object has no attribute 'send') in line "
    ) in done.out
    assert ".py escaped: raise TransportError or one of its kinds\n" in done.out
    assert " hold\n" in done.out.splitlines(keepends=True)[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["own_transport"], "no such function; name it as module:function"),
        (["own_transport:nothing"], "no such function; name it as module:function"),
        (["own_transport:open_good", "--not", "ada"], "--not is one of can_prove_not_sent, reuses_conn"),
    ],
)
def test_what_is_not_there_is_bad_input(folder: Path, arguments: list[str], said: str) -> None:
    """One line on standard error, and nothing is run."""
    done = here("check-transport", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"descope-native check-transport: {said}")
    assert done.err.count("\n") == 1


def test_the_extra_that_is_missing_is_named(folder: Path) -> None:
    """Certificates are made with it."""
    kit = "descope_native.testing.transport_contract"
    with mock.patch.dict(sys.modules, {kit: None}):
        done = here("check-transport", "own_transport:open_good")
    assert (done.code, "descope_native[testing]" in done.err) == (2, True)


async def test_a_real_sign_in_is_recorded(tmp_path: Path) -> None:
    """Start and finish into one file, which a test of an app can play."""
    fake = FakeDescope()
    file = tmp_path / "sign-in.jsonl"
    async with fake.serve() as url:
        starting = ("start", "--provider", "google", "--base-url", url, "--project-id", fake.project_id)
        assert (await asyncio.to_thread(here, *starting, "--record", str(file))).code == 0
        proof = fake.sign_in("google")
        arguments = finishing(url, fake, proof, "--record", str(file))
        assert (await asyncio.to_thread(here, *arguments, stdin=secret_of(proof))).code == 0
    operations = [json.loads(line)["operation"] for line in file.read_text().splitlines()]
    assert operations == [f"/v1/auth/oauth/native/{name}" for name in ("start", "finish")]
    finisher = NativeOAuthFinisher("P2", ReplayTransport(file))
    assert (await finisher.finish(provider="google", state_id="s", id_token="t")).first_seen


@pytest.mark.parametrize("file", [".", "/dev/full"])
def test_a_recording_that_cannot_be_written_ends_it_before_anything_is_sent(file: str) -> None:
    """The code is still good."""
    done = here(*FINISH, "--record", file, stdin="code")
    assert (done.code, "the recording cannot be written" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("command", "data", "code", "told"),
    [
        (FINISH, session(), 1, "a session"),
        (START, answer(200, {"stateId": "s"}), 1, "a sign-in has begun"),
        (FINISH, answer(400), 4, ""),
    ],
)
async def test_a_recording_that_is_lost_on_the_way_is_told(
    tmp_path: Path, command: tuple[str, ...], data: bytes, code: int, told: str
) -> None:
    """Where the disk fills up meanwhile, say: what has come is printed, and the exit code is not 0."""
    folder = tmp_path / "recordings"
    folder.mkdir()

    def act(connection: Connection) -> None:
        shutil.rmtree(folder)
        connection.send(data)

    async with serve(after_request(act)) as server:
        arguments = (*command, "--base-url", server.url(), "--record", str(folder / "file"))
        done = await asyncio.to_thread(here, *arguments, stdin="code")
    assert (done.code, told in done.out) == (code, True)
    assert f"descope-native: the call could not be written to {folder / 'file'}\n" in done.err


def test_a_module_that_cannot_be_imported_says_why(folder: Path) -> None:
    """It is there, and what it needs is not; or it is not there itself."""
    (folder / "broken_transport.py").write_text("import not_installed_here\n")
    done = here("check-transport", "broken_transport:open_it")
    assert done.code != 0
    assert "broken_transport cannot be imported: No module named 'not_installed_here'" in done.err
    done = here("check-transport", "nowhere:open_it")
    assert (done.code, "nowhere cannot be imported: No module named 'nowhere'" in done.err) == (2, True)
