"""The demo: the whole story of a sign-in, for a person who has nothing but this package."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from commands import elsewhere, here, in_a_terminal

from descope_native import ConnectError, NativeOAuthFinisher


def test_the_demo_tells_the_story_in_order() -> None:
    """Start, phone, finish, and the second finish that is refused; no secret, and no account."""
    shown = elsewhere("demo")
    assert (shown.code, shown.err) == (0, "")
    steps = ["1. Your backend", "client_id", "2. The phone", "id_token", "3. Your backend", "ada@example.com"]
    places = [shown.out.index(step) for step in [*steps, "4. The same", "RejectedError", "Three things"]]
    assert places == sorted(places)
    assert re.findall(r"came back +(\d+) in \d+\.\d ms, as a frozen (\w+)", shown.out) == [
        ("200", "StartResult"),
        ("200", "FinishResult"),
    ]
    assert '{"provider": "google", "stateId": "[masked]", "idToken": "[masked]"}' in shown.out
    assert not re.search(r"ey[\w-]{20,}|[\w-]{24,}… ", shown.out), "a token, a state or a nonce"
    assert "\033[" not in shown.out, "colours are for a terminal"


@pytest.mark.parametrize("on_the_path", [True, False])
def test_its_hints_name_commands_that_work_where_they_are_read(
    monkeypatch: pytest.MonkeyPatch, on_the_path: bool
) -> None:
    """By the name of the command where a shell finds that, else by the interpreter's module."""
    script = f"{sys.exec_prefix}/bin/descope-native" if on_the_path else None
    monkeypatch.setattr(sys, "executable", f"{sys.exec_prefix}/bin/python")
    monkeypatch.setattr(shutil, "which", lambda name: script)
    first, second = re.findall(r"^ {7}(.* (?:fake|start) .*)$", here("demo").out, re.MULTILINE)
    command = "descope-native" if on_the_path else f"{sys.exec_prefix}/bin/python -m descope_native"
    assert first == f"{command} fake --port 8787"
    assert second == f"{command} start --help"
    if not on_the_path:
        done = subprocess.run(shlex.split(second), capture_output=True, check=True, timeout=60)
        assert b"--provider" in done.stdout


def test_it_hints_at_unsigned_tokens_where_nothing_can_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the first thing to try would be refused."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "fake --port 8787 --unsigned\n" in here("demo").out


def test_colours_are_for_a_terminal_that_wants_them() -> None:
    """Bold headings and a red error on a terminal, and nothing of the kind with NO_COLOR or a dumb one."""
    code, coloured = in_a_terminal("demo", TERM="xterm")
    assert code == 0
    assert {"1", "2", "31"} <= set(re.findall(r"\033\[(\d+)m", coloured))
    for environment in ({"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, plain = in_a_terminal("demo", **environment)
        assert code == 0
        assert "\033[" not in plain


def test_a_demo_that_fails_tells_it_as_finish_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """In words, on standard error."""

    async def fail(*_: object, **__: object) -> None:
        raise ConnectError("refused", "nobody is there")

    monkeypatch.setattr(NativeOAuthFinisher, "finish", fail)
    done = here("demo")
    assert done.code == 3
    assert "ConnectError: nobody is there" in done.err
