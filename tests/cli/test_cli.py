"""The command line, run as a person or a script runs it: another process."""

import asyncio
import contextlib
import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from descope_native import ConnectionLost
from descope_native.__main__ import _print_error
from descope_native.testing import FakeDescope, Fault


def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with nothing of the caller's DESCOPE_ variables."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "descope_native", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean_environment() | environment,
    )


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("DESCOPE_")}


def finish(fake_url: str, fake: FakeDescope, arguments: Mapping[str, object], *more: str) -> list[str]:
    kind = "id-token" if "id_token" in arguments else "code"
    return [
        "finish",
        *("--provider", str(arguments["provider"]), "--state-id", str(arguments["state_id"])),
        *("--proof", kind, "--base-url", fake_url, "--project-id", fake.project_id, *more),
    ]


async def test_the_demo_shows_a_session_and_the_refused_second_finish() -> None:
    """`demo` needs no account, exits 0, tells the story in order, and shows no secret."""
    shown = await asyncio.to_thread(run, "demo")
    assert shown.returncode == 0, shown.stderr
    steps = ["1. The phone", "2. Your backend", "200 in", "ada@example.com", "3. The same", "RejectedError"]
    places = [shown.stdout.index(step) for step in [*steps, "Three things to try next"]]
    assert places == sorted(places)
    assert not re.search(r"ey[\w-]{20,}", shown.stdout), "a token"
    assert "\033[" not in shown.stdout, "colours are for a terminal"
    assert '{"provider": "google", "stateId": "[masked]", "idToken": "[masked]"}' in shown.stdout


@pytest.mark.parametrize("provider", ["google", "apple"])
async def test_finish_prints_the_whole_answer_as_json(provider: str) -> None:
    """`finish --json` reads the proof from standard input and prints what a script needs."""
    fake = FakeDescope()
    async with fake.serve() as url:
        proof = fake.sign_in(provider, email="ada@example.com").as_arguments()
        secret = str(proof.get("id_token") or proof.get("code"))
        done = await asyncio.to_thread(run, *finish(url, fake, proof, "--json"), stdin=f"{secret}\n")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["user"]["email"] == "ada@example.com"
    assert answer["sessionJwt"].count(".") == 2
    assert done.stderr.count("\n") == 0


async def test_finish_tells_a_person_without_showing_tokens() -> None:
    """Without --json the tokens are masked."""
    fake = FakeDescope()
    async with fake.serve() as url:
        proof = fake.sign_in("google", email="ada@example.com").as_arguments()
        done = await asyncio.to_thread(run, *finish(url, fake, proof), stdin=str(proof["id_token"]))
    assert done.returncode == 0
    assert "ada@example.com" in done.stdout
    assert not re.search(r"ey[\w-]{20,}", done.stdout)


HOSTILE = "\ud800\x1b]0;pwn\x07\n\x9b31m"
REPLACED = "��]0;pwn���31m"


async def test_what_the_service_says_does_not_steer_the_terminal() -> None:
    """Control characters and half a surrogate pair are shown as replaced, and the rest is told."""
    fake = FakeDescope()
    answer = {"sessionJwt": "s.e.s", "user": {"name": f"Zoë{HOSTILE}", "roleNames": ["\x1b[2J"]}}
    fake.fail_next(Fault(status=200, body=json.dumps(answer).encode()))
    async with fake.serve() as url:
        proof = fake.sign_in("google", email="ada@example.com").as_arguments()
        done = await asyncio.to_thread(run, *finish(url, fake, proof), stdin=str(proof["id_token"]))
    assert done.returncode == 0, done.stderr
    assert f"user.name           Zoë{REPLACED}\n" in done.stdout
    assert [char for char in done.stdout if not char.isprintable() and char != "\n"] == []


def test_an_error_does_not_steer_the_terminal_either() -> None:
    """Whatever made it: a transport of somebody's own may put anything into its texts."""
    out = io.StringIO()
    _print_error(ConnectionLost("wait", HOSTILE), out)
    assert f"ConnectionLost: {REPLACED} [phase wait, outcome unknown]\n" in out.getvalue()
    assert "\x1b" not in out.getvalue()


async def test_a_refusal_exits_4_and_says_what_to_do() -> None:
    """A spent code: exit code 4, the service's code, the advice, on standard error."""
    fake = FakeDescope()
    async with fake.serve() as url:
        proof = fake.sign_in("google", email="ada@example.com").as_arguments()
        command = finish(url, fake, proof)
        assert (await asyncio.to_thread(run, *command, stdin=str(proof["id_token"]))).returncode == 0
        again = await asyncio.to_thread(run, *command, stdin=str(proof["id_token"]))
        as_json = await asyncio.to_thread(run, *command, "--json", stdin=str(proof["id_token"]))
    assert again.returncode == as_json.returncode == 4
    assert again.stdout == ""
    assert "RejectedError" in again.stderr
    assert "sign in again" in again.stderr
    error = json.loads(as_json.stdout)["error"]
    assert error["outcome"] == "rejected"
    assert error["safe_to_retry"] is False


def test_nobody_there_exits_3(unused_port: int) -> None:
    """A refused connection: exit code 3, nothing was sent."""
    done = run(
        *("finish", "--provider", "google", "--state-id", "s", "--proof", "code"),
        *("--project-id", "P2", "--base-url", f"http://localhost:{unused_port}"),
        stdin="secret-code",
    )
    assert done.returncode == 3
    assert "still good" in done.stderr


async def test_a_rate_limit_exits_3() -> None:
    """The code was not looked at: exit code 3, the same code is still good."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "localhost", 0) as server:
        port = server.sockets[0].getsockname()[1]
        done = await asyncio.to_thread(
            run,
            *("finish", "--provider", "google", "--state-id", "s", "--proof", "code"),
            *("--project-id", "P2", "--base-url", f"http://localhost:{port}"),
            stdin="secret-code",
        )
    assert done.returncode == 3
    assert "still good" in done.stderr


async def test_a_dropped_answer_exits_5() -> None:
    """Gone after reading: exit code 5, it may have happened."""

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(drop, "localhost", 0) as server:
        port = server.sockets[0].getsockname()[1]
        done = await asyncio.to_thread(
            run,
            *("finish", "--provider", "google", "--state-id", "s", "--proof", "code"),
            *("--project-id", "P2", "--base-url", f"http://localhost:{port}"),
            stdin="secret-code",
        )
    assert done.returncode == 5
    assert "do not send it again" in done.stderr


OK = ("finish", "--provider", "google", "--state-id", "s", "--proof", "code", "--project-id", "P2")
CANARY = "CANARY-4711"


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        (("finish",), "", "required"),
        ((*OK, CANARY), "c", "standard input"),
        ((*OK, "--code", CANARY), "c", "standard input"),
        ((*OK, f"--pro={CANARY}"), "c", "standard input"),
        ((*OK, f"--json={CANARY}"), "c", "takes no value"),
        ((*OK, f"--json={CANARY}\n{CANARY}"), "c", "takes no value"),
        ((f"--version={CANARY}",), "c", "takes no value"),
        ((f"--={CANARY}",), "c", ""),
        ((*OK, f"--={CANARY}"), "c", ""),
        (("demo", f"--he={CANARY}"), "c", "unknown argument"),
        (("fake", f"--po={CANARY}"), "c", "unknown argument"),
        (("fake", f"--cookies={CANARY}"), "c", "takes no value"),
        ((*OK, "--timeout", CANARY), "c", "number"),
        ((*OK, "--timeout", "0"), "c", "number"),
        ((*OK[:6], CANARY, *OK[7:]), "c", "code or id-token"),
        (OK, "", "no code on standard input"),
        ((*OK, "--base-url", f"http://{CANARY}.example"), "c", "https"),
        ((*OK, "--user-file", f"/nowhere/{CANARY}"), "c", "cannot be read"),
        (OK[:7], "c", "DESCOPE_PROJECT_ID"),
        ((CANARY,), "", "choice"),
        (("fake", "--port", CANARY), "", "number"),
        (("fake", "--port", "70000"), "", "number"),
    ],
)
def test_bad_input_is_one_clear_line(arguments: tuple[str, ...], stdin: str, says: str) -> None:
    """Exit code 2, no traceback, and what was typed is not repeated: it may be a secret."""
    done = run(*arguments, stdin=stdin)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stderr + done.stdout
    assert len(done.stderr.strip().splitlines()) <= 2


def test_what_is_stuck_to_a_letter_is_not_repeated_either() -> None:
    """Some versions of Python take it for letters more, others for a value."""
    done = run("finish", f"-h{CANARY}")
    assert CANARY not in done.stderr + done.stdout


def started_with(stdin: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command with what a shell makes of this for standard input."""
    command = [sys.executable, "-W", "error", "-m", "descope_native", *arguments]
    return subprocess.run(
        ["sh", "-c", f'"$@" {stdin}', "sh", *command],
        capture_output=True,
        timeout=60,
        check=False,
        env=clean_environment() | environment,
    )


def test_no_standard_input_at_all_is_one_clear_line() -> None:
    """As under a supervisor that closes it: exit code 2 and no traceback."""
    done = started_with("<&-", *OK)
    assert done.returncode == 2
    assert b"InvalidRequestError: no standard input to read the code from\n" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
def test_a_proof_that_is_no_text_is_refused_in_any_locale(tmp_path: Path, locale: str) -> None:
    """Also where Python would let such bytes through: exit code 2, and none of them repeated."""
    proof = tmp_path / "proof"
    proof.write_bytes(b"\xff\xfe" + CANARY.encode())
    done = started_with(f"<'{proof}'", *OK, LC_ALL=locale)
    assert done.returncode == 2
    assert b"the code on standard input cannot be read as text" in done.stderr
    assert b"Traceback" not in done.stderr
    assert CANARY.encode() not in done.stderr + done.stdout


async def test_the_environment_names_project_host_and_key() -> None:
    """DESCOPE_PROJECT_ID, DESCOPE_BASE_URI and DESCOPE_AUTH_MANAGEMENT_KEY stand in for options."""
    fake = FakeDescope(auth_management_key="K2secret")
    async with fake.serve() as url:
        proof = fake.sign_in("google", email="ada@example.com").as_arguments()
        state_id = str(proof["state_id"])
        arguments = ("finish", "--provider", "google", "--state-id", state_id, "--proof", "id-token")
        environment = {"DESCOPE_PROJECT_ID": fake.project_id, "DESCOPE_BASE_URI": url}
        stdin = str(proof["id_token"])
        refused = await asyncio.to_thread(run, *arguments, stdin=stdin, **environment)
        key = {"DESCOPE_AUTH_MANAGEMENT_KEY": "K2secret"}
        done = await asyncio.to_thread(run, *arguments, stdin=stdin, **environment, **key)
    assert refused.returncode == 4
    assert done.returncode == 0, done.stderr


async def test_apples_name_comes_from_a_file(tmp_path: Path) -> None:
    """--user-file hands Apple's JSON on."""
    fake = FakeDescope()
    async with fake.serve() as url:
        proof = fake.sign_in("apple", email="ada@example.com", name="Ada Lovelace")
        name = tmp_path / "user.json"
        name.write_text(str(proof.user), encoding="utf-8")
        arguments = {k: v for k, v in proof.as_arguments().items() if k != "user"}
        done = await asyncio.to_thread(
            run,
            *finish(url, fake, arguments, "--user-file", str(name), "--json"),
            stdin=str(proof.code or proof.id_token),
            PYTHONWARNDEFAULTENCODING="1",  # JSON is UTF-8, whatever the locale says
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["user"]["givenName"] == "Ada"


@pytest.mark.parametrize(
    ("number", "options", "cookies"),
    [(signal.SIGINT, ["--cookies"], {"DS", "DSR"}), (signal.SIGTERM, [], set())],
    ids=["SIGINT", "SIGTERM"],
)
async def test_the_stand_in_serves_until_it_is_told_to_stop(
    number: signal.Signals, options: list[str], cookies: set[str]
) -> None:
    """`fake` prints one line when it is ready, answers, and ends cleanly on SIGINT and SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "descope_native"),
        *("fake", "--project-id", "P2mine", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment() | {"PYTHONUNBUFFERED": ""},  # the line comes at once all the same
    )
    assert process.stdout is not None
    ready = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    match = re.fullmatch(r"ready: (http://localhost:\d{4,}) project P2mine\n", ready)
    assert match, ready
    async with aiohttp.ClientSession(match[1], headers={"Authorization": "Bearer P2mine"}) as session:
        async with session.get("/v2/keys/P2mine") as answer:
            assert answer.status == 200
            assert "keys" in await answer.json()
        async with session.post("/stand-in/sign-in", json={}) as answer:
            proof = await answer.json()
        async with session.post("/v1/auth/oauth/native/finish", json=proof) as answer:
            assert bool((await answer.json())["sessionJwt"]) is not bool(cookies)
            assert set(answer.cookies) == cookies
    process.send_signal(number)
    out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"stopped\n", b"")


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
    assert re.fullmatch(r"ready: http://localhost:\d{4,} project P2fakeProject0{16}\n", ready)
    process.send_signal(signal.SIGINT)
    assert await process.communicate() == (b"", b"")
    assert process.returncode == 130


async def test_a_port_in_use_is_one_clear_line() -> None:
    """Exit code 1 and no traceback."""
    fake = FakeDescope()
    async with fake.serve() as url:
        port = url.rpartition(":")[2]
        done = await asyncio.to_thread(run, "fake", "--port", port)
    assert done.returncode == 1
    assert "cannot listen" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_prints_the_help() -> None:
    """Bare `descope-native` is a question, answered with the help and exit code 2."""
    done = run()
    assert done.returncode == 2
    assert "usage: descope-native" in done.stdout


@pytest.fixture
def unused_port() -> int:
    """A port nobody listens on: bound, never listened on, and free again."""
    with socket.socket() as sock:
        sock.bind(("localhost", 0))
        port: int = sock.getsockname()[1]
        return port


def in_a_terminal(*arguments: str, typed: str = "", **environment: str) -> tuple[int, str]:
    """Run the command on a pseudo-terminal; return its exit code and what a person sees."""
    command = [sys.executable, "-W", "error", "-m", "descope_native", *arguments]
    its_environment = clean_environment() | environment
    pid, terminal = pty.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.execve(command[0], command, its_environment)
        os._exit(99)
    shown = b""
    with os.fdopen(terminal, "rb", buffering=0) as screen, contextlib.suppress(OSError):
        while chunk := screen.read(4096):
            shown += chunk
            if typed and b": " in shown:
                os.write(terminal, typed.encode())
                typed = ""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_colours_are_for_a_terminal_that_wants_them() -> None:
    """Bold on a terminal, and nothing of the kind with NO_COLOR."""
    coloured = in_a_terminal("demo", TERM="xterm")
    plain = in_a_terminal("demo", TERM="xterm", NO_COLOR="1")
    assert (coloured[0], plain[0]) == (0, 0)
    assert "\033[1m" in coloured[1]
    assert "\033[" not in plain[1]


def test_on_a_terminal_the_proof_is_asked_for_and_not_shown() -> None:
    """A prompt names what is wanted; what is typed does not appear. The stand-in is a process of its own."""
    command = [sys.executable, "-m", "descope_native", "fake", "--project-id", "P2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as fake:
        assert fake.stdout is not None
        url = fake.stdout.readline().split()[1]
        sign_in = urllib.request.Request(
            f"{url}/stand-in/sign-in",
            json.dumps({"provider": "google", "user": {"email": "ada@example.com"}}).encode(),
            {"Content-Type": "application/json", "Authorization": "Bearer P2"},
        )
        with urllib.request.urlopen(sign_in) as answer:
            proof = json.load(answer)
        code, shown = in_a_terminal(
            *("finish", "--provider", "google", "--state-id", proof["stateId"], "--proof", "id-token"),
            *("--project-id", "P2", "--base-url", url),
            typed=f"{proof['idToken']}\n",
        )
        fake.terminate()
        fake.stdout.read()
    assert code == 0, shown
    assert "id-token: " in shown
    assert "ada@example.com" in shown
    assert proof["idToken"] not in shown


def test_one_ctrl_c_at_the_prompt_is_enough() -> None:
    """Exit code 130, no traceback."""
    code, shown = in_a_terminal(*OK, typed="\x03")
    assert code == 130
    assert "Traceback" not in shown


def test_ctrl_d_at_the_prompt_is_one_clear_line() -> None:
    """Nothing was typed: exit code 2, on a line of its own, no traceback."""
    code, shown = in_a_terminal(*OK, typed="\x04")
    assert code == 2
    assert "Traceback" not in shown
    prompt, *said = shown.splitlines()
    assert prompt == "code: "
    assert "no code on standard input" in said[0]


def ended(*arguments: str, out: int | None, unbuffered: str = "") -> tuple[int, str]:
    """The exit code and standard error of a command that writes to this, or has no standard output."""
    command = [sys.executable, "-W", "error", "-m", "descope_native", *arguments]
    done = subprocess.run(
        command if out is not None else ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.PIPE,
        env=clean_environment() | {"PYTHONUNBUFFERED": unbuffered},
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
async def test_a_name_that_the_terminal_cannot_write_is_no_error(encoding: str) -> None:
    """The code is spent by then; and the facts behind it are to be seen as well."""
    fake = FakeDescope()
    async with fake.serve() as url:
        proof = fake.sign_in("google", name="Жанна").as_arguments()
        done = await asyncio.to_thread(
            run,
            *finish(url, fake, proof),
            stdin=str(proof["id_token"]),
            PYTHONIOENCODING=encoding,
        )
        demo = await asyncio.to_thread(run, "demo", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u0416\u0430\u043d\u043d\u0430" in done.stdout
    assert "session_jwt" in done.stdout
    assert (demo.returncode, demo.stderr) == (0, "")


REFUSED: Final = (*OK, "--json")
OUTPUTS: Final = [(["demo"], 0), (["--version"], 0), (["demo", "--help"], 0), ([], 2), (REFUSED, 2)]


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(("arguments", "code"), [*OUTPUTS, (["fake"], 0)])
def test_a_reader_that_has_seen_enough_is_no_error(
    arguments: Sequence[str], code: int, unbuffered: str
) -> None:
    """`descope-native --help | head -1` and the like end quietly, and as they would have."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert ended(*arguments, out=writer, unbuffered=unbuffered) == (code, "")
    finally:
        os.close(writer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(("arguments", "code"), OUTPUTS)
def test_output_that_cannot_be_written_is_one_clear_line(arguments: Sequence[str], code: int) -> None:
    """A session may be lost with it: that is not exit code 0. What is worse keeps its code."""
    with Path("/dev/full").open("w") as full:
        assert ended(*arguments, out=full.fileno()) == (
            code or 1,
            "descope-native: No space left on device\n",
        )


@pytest.mark.parametrize(("arguments", "code"), OUTPUTS[:-1])
def test_no_standard_output_is_no_error(arguments: Sequence[str], code: int) -> None:
    """Closed by whoever started this; argparse gives its help to standard error then."""
    ended_with, said = ended(*arguments, out=None)
    assert ended_with == code
    assert "Traceback" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("out", ["/dev/full", "&-", "/dev/null"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(OK, 2), (REFUSED, 2), (["finish"], 2), (["fake", "--port", "x"], 2), (["demo"], 0)],
)
def test_with_nowhere_to_write_the_exit_code_is_left(
    arguments: Sequence[str], code: int, out: str, unbuffered: str
) -> None:
    """Nor can it be said that nothing can be said."""
    done = started_with(f"</dev/null >{out} 2>/dev/full", *arguments, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == (code or int(out == "/dev/full"))


def test_nobody_to_complain_to_is_no_error() -> None:
    """Standard error closed by whoever started this."""
    assert started_with("</dev/null 2>&-", *OK).returncode == 2


def test_a_project_that_is_empty_in_the_environment_is_called_so() -> None:
    """It means not set; but whoever set it wants to hear that nothing was in it."""
    empty = run(*OK[:7], stdin="c", DESCOPE_PROJECT_ID="")
    unset = run(*OK[:7], stdin="c")
    assert empty.returncode == unset.returncode == 2
    assert "no project: give --project-id or set DESCOPE_PROJECT_ID, which is empty\n" in empty.stderr
    assert "no project: give --project-id or set DESCOPE_PROJECT_ID\n" in unset.stderr
