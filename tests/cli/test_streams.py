"""Terminals, pipes and full disks: where the command line reads and writes."""

import asyncio
import getpass
import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from commands import (
    COMMAND,
    FINISH,
    clean_environment,
    finishing,
    in_a_shell,
    in_a_terminal,
    secret_of,
)
from kit.servers import unused_port

from descope_native.__main__ import main
from descope_native.testing import FakeDescope


async def test_on_a_terminal_the_proof_is_asked_for_and_not_shown() -> None:
    """A prompt names what is wanted; what is typed does not appear."""
    fake = FakeDescope()
    async with fake.serve() as url:
        proof = fake.sign_in()
        typed = f"{secret_of(proof)}\n"
        code, shown = await asyncio.to_thread(in_a_terminal, *finishing(url, fake, proof), typed=typed)
    assert code == 0, shown
    assert "id-token: " in shown
    assert "ada@example.com" in shown
    assert secret_of(proof) not in shown


def test_one_ctrl_c_at_the_prompt_is_enough() -> None:
    """Exit code 130, no traceback."""
    code, shown = in_a_terminal(*FINISH, typed="\x03")
    assert code == 130
    assert "Traceback" not in shown


def test_ctrl_d_at_the_prompt_is_one_clear_line() -> None:
    """Nothing was typed: exit code 2, on a line of its own, no traceback."""
    code, shown = in_a_terminal(*FINISH, typed="\x04")
    assert code == 2
    assert "Traceback" not in shown
    prompt, *said = shown.splitlines()
    assert prompt == "code: "
    assert "no code on standard input" in said[0]


class Terminal(io.StringIO):
    """Someone is looking."""

    def isatty(self) -> bool:
        return True


def test_the_line_that_a_prompt_leaves_open_is_ended_where_the_prompt_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-D at the prompt: what goes to a file or a pipe has no empty line in front."""

    def ctrl_d(_: str) -> str:
        raise EOFError

    monkeypatch.setattr(getpass, "getpass", ctrl_d)
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main(FINISH) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("\n")


@pytest.mark.parametrize("terminal", ["stdout", "stderr"])
def test_an_errors_colour_is_for_where_the_error_goes(monkeypatch: pytest.MonkeyPatch, terminal: str) -> None:
    """One of the two may be a terminal and the other a file."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Terminal() if name == terminal else io.StringIO())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"c")))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main([*FINISH, "--base-url", f"http://localhost:{unused_port()}"]) == 3
    written = sys.stderr
    assert isinstance(written, io.StringIO)
    assert "ConnectError" in written.getvalue()
    assert ("\033[31m" in written.getvalue()) is (terminal == "stderr")


def ended(*arguments: str, out: int | None, unbuffered: str = "") -> tuple[int, str]:
    """The exit code and standard error of a command that writes to this, or has no standard output."""
    command = [*COMMAND, *arguments]
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


REFUSED: Final = (*FINISH, "--json")
OUTPUTS: Final = [(["demo"], 0), (["--version"], 0), (["demo", "--help"], 0), ([], 2), (REFUSED, 2)]
FULL: Final = Path("/dev/full")
NEEDS_A_FULL_DEVICE: Final = pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")


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


@NEEDS_A_FULL_DEVICE
@pytest.mark.parametrize(("arguments", "code"), OUTPUTS)
def test_output_that_cannot_be_written_is_one_clear_line(arguments: Sequence[str], code: int) -> None:
    """A session may be lost with it: that is not exit code 0. What is worse keeps its code."""
    with FULL.open("w") as full:
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


@NEEDS_A_FULL_DEVICE
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("out", ["/dev/full", "&-", "/dev/null"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(FINISH, 2), (REFUSED, 2), (["finish"], 2), (["fake", "--port", "x"], 2), (["demo"], 0)],
)
def test_with_nowhere_to_write_the_exit_code_is_left(
    arguments: Sequence[str], code: int, out: str, unbuffered: str
) -> None:
    """Nor can it be said that nothing can be said."""
    done = in_a_shell(f"</dev/null >{out} 2>/dev/full", *arguments, PYTHONUNBUFFERED=unbuffered)
    assert done.code == (code or int(out == "/dev/full"))


def test_nobody_to_complain_to_is_no_error() -> None:
    """Standard error closed by whoever started this."""
    assert in_a_shell("</dev/null 2>&-", *FINISH).code == 2


def test_a_locale_without_the_demos_letters_is_no_error() -> None:
    """They are written as escapes."""
    done = in_a_shell("", "demo", PYTHONIOENCODING="ascii")
    assert (done.code, done.err) == (0, "")
