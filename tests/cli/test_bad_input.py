"""Bad input: one clear line that does not repeat it, since it may be a secret."""

import errno
import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest
from commands import FINISH, START, here, in_a_shell

from descope_native import __version__

CANARY: Final = "CANARY-4711"


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        (("finish",), "", "descope-native finish: the following arguments are required: --provider"),
        (("start",), "", "descope-native start: the following arguments are required: --provider"),
        (
            (*FINISH, CANARY),
            "c",
            "descope-native: unknown argument; a code or id token is read from standard input",
        ),
        ((*FINISH, "--code", CANARY), "c", "standard input"),
        ((*FINISH, f"--pro={CANARY}"), "c", "standard input"),
        ((*START, CANARY), "", "unknown argument. See"),
        ((*FINISH, f"--json={CANARY}"), "c", "takes no value"),
        ((*FINISH, f"--json={CANARY}\n{CANARY}"), "c", "takes no value"),
        ((f"--version={CANARY}",), "c", "takes no value"),
        ((*START, f"--implicit={CANARY}"), "c", "takes no value"),
        ((f"--={CANARY}",), "c", ""),
        ((*FINISH, f"--={CANARY}"), "c", ""),
        (("demo", f"--he={CANARY}"), "c", "unknown argument"),
        (("fake", f"--po={CANARY}"), "c", "unknown argument"),
        (("fake", f"--cookies={CANARY}"), "c", "takes no value"),
        ((*FINISH, "--timeout", CANARY), "c", "must be a number from 0.001 to 3600"),
        ((*FINISH, "--timeout", "0.0009"), "c", "must be a number"),
        ((*FINISH, "--timeout", "3600.1"), "c", "must be a number"),
        ((*FINISH, "--timeout", "nan"), "c", "must be a number"),
        ((*FINISH[:6], CANARY, *FINISH[7:]), "c", "must be code or id-token"),
        (FINISH, " \n", "no code on standard input"),
        (FINISH, "\n" * 256 * 1024 + "code", "no code on standard input"),
        ((*FINISH, "--base-url", f"http://{CANARY}.example"), "c", "https"),
        ((*FINISH, "--user-file", f"/nowhere/{CANARY}"), "c", "the user file cannot be read"),
        ((*FINISH, "--user-file", sys.executable), "c", "the user file cannot be read"),
        (FINISH[:7], "c", "no project: give --project-id or set DESCOPE_PROJECT_ID\n"),
        (START[:3], "", "no project: give --project-id or set DESCOPE_PROJECT_ID\n"),
        ((CANARY,), "", "invalid choice"),
        ((f"{CANARY}\n{CANARY}",), "", "invalid choice"),
        (("fake", "--port", CANARY), "", "must be a number from 0 to 65535"),
        (("fake", "--port", "65536"), "", "must be a number"),
        (("fake", "--port", "-1"), "", "must be a number"),
        (("fake", "--session-lifetime", "0"), "", "must be a number"),
        (("fake", "--session-lifetime", "315360001"), "", "must be a number from 1 to 315360000"),
        (("fake", "--state-lifetime", CANARY), "", "must be a number"),
    ],
)
def test_bad_input_is_one_clear_line(arguments: tuple[str, ...], stdin: str, says: str) -> None:
    """Exit code 2, no traceback, and what was typed is not repeated."""
    done = here(*arguments, stdin=stdin)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert "Traceback" not in done.err
    assert CANARY not in done.err
    assert len(done.err.strip().splitlines()) <= 2


@pytest.mark.parametrize("seconds", ["0.001", "3600"])
def test_the_limits_of_the_timeout_are_let_in(seconds: str) -> None:
    """Another argument is refused then; and so is it where the code is the last byte that is read."""
    done = here(*FINISH, "--base-url", "ftp://a", "--timeout", seconds, stdin="\n" * (256 * 1024 - 1) + "c")
    assert done.code == 2
    assert "InvalidRequestError: base_url" in done.err


def test_what_is_stuck_to_a_letter_is_not_repeated_either() -> None:
    """Some versions of Python take it for letters more, others for a value."""
    done = here("finish", f"-h{CANARY}")
    assert CANARY not in done.err + done.out


def test_a_project_that_is_empty_in_the_environment_is_called_so() -> None:
    """It means not set; but whoever set it wants to hear that nothing was in it."""
    empty = here(*FINISH[:7], stdin="c", DESCOPE_PROJECT_ID="")
    assert empty.code == 2
    assert "set DESCOPE_PROJECT_ID, which is empty\n" in empty.err


def test_no_standard_input_at_all_is_one_clear_line() -> None:
    """As under a supervisor that closes it."""
    done = in_a_shell("<&-", *FINISH)
    assert done.code == 2
    assert "InvalidRequestError: no standard input to read the code from\n" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
def test_a_proof_that_is_no_text_is_refused_in_any_locale(tmp_path: Path, locale: str) -> None:
    """Also where Python would let such bytes through; none of them is repeated."""
    proof = tmp_path / "proof"
    proof.write_bytes(b"\xff\xfe" + CANARY.encode())
    done = in_a_shell(f"<'{proof}'", *FINISH, LC_ALL=locale)
    assert done.code == 2
    assert "the code on standard input cannot be read as text" in done.err
    assert "Traceback" not in done.err
    assert CANARY not in done.err + done.out


def test_a_standard_input_that_cannot_be_read_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that has gone, say."""

    class Broken(io.BytesIO):
        def read(self, _: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, CANARY)

    broken = SimpleNamespace(isatty=lambda: False, buffer=Broken())
    monkeypatch.setattr(io, "TextIOWrapper", lambda _: broken)
    done = here(*FINISH)
    assert done.code == 2
    assert "the code on standard input cannot be read as text" in done.err
    assert CANARY not in done.err


def test_no_command_is_answered_with_the_help() -> None:
    """Bare `descope-native` is a question, of which each command is an answer; exit code 2."""
    done = here()
    assert (done.code, done.err) == (2, "")
    assert done.out == here("--help").out
    for command in ("demo", "start", "finish", "fake"):
        assert f"\n    {command} " in done.out
        assert here(command, "--help").code == 0


def test_the_version_is_one_line() -> None:
    """With the name in front, as the tools of a system print it."""
    done = here("--version")
    assert (done.code, done.out) == (0, f"descope-native {__version__}\n")
