"""Run the command line: in this process, in another, and on a terminal."""

import contextlib
import io
import os
import pty
import subprocess
import sys
from typing import Final
from unittest import mock

import attrs

from descope_native.__main__ import main
from descope_native.testing import FakeDescope, Proof

COMMAND: Final = (sys.executable, "-W", "error", "-m", "descope_native")
FINISH: Final = ("finish", "--provider", "google", "--state-id", "s", "--proof", "code", "--project-id", "P2")
START: Final = ("start", "--provider", "google", "--project-id", "P2")


@attrs.frozen
class Done:
    """What a command ended with, and what it wrote."""

    code: int
    out: str
    err: str


def clean_environment() -> dict[str, str]:
    """With nothing of the caller's that the command reads."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DESCOPE_")}


def here(*arguments: str, stdin: bytes | str = b"", **environment: str) -> Done:
    """Run the command in this process, which is faster."""
    content = stdin.encode() if isinstance(stdin, str) else stdin
    with (
        mock.patch.dict(os.environ, clean_environment() | environment, clear=True),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(content))),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def elsewhere(*arguments: str, stdin: str = "", **environment: str) -> Done:
    """Run the command as a process of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean_environment() | environment,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def in_a_shell(redirections: str, *arguments: str, **environment: str) -> Done:
    """Run the command with its streams as a shell makes them."""
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirections}', "sh", *COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean_environment() | environment,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def in_a_terminal(*arguments: str, typed: str = "", **environment: str) -> tuple[int, str]:
    """Run the command on a pseudo-terminal; its exit code and what a person sees."""
    command = [*COMMAND, *arguments]
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


def finishing(url: str, fake: FakeDescope, proof: Proof, *more: str) -> tuple[str, ...]:
    """The command that finishes with this proof, which goes to its standard input."""
    return (
        *("finish", "--provider", proof.provider, "--state-id", str(proof.state_id)),
        *("--proof", "id-token" if proof.id_token else "code"),
        *("--base-url", url, "--project-id", fake.project_id, *more),
    )


def secret_of(proof: Proof) -> str:
    """What is never an argument."""
    return str(proof.id_token or proof.code)
