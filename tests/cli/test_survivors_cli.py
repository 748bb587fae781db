"""The command line to the letter, where a slightly different word or limit would pass all the other tests."""

import asyncio
import errno
import getpass
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from kit.servers import unused_port
from test_cli import in_a_terminal

from descope_native import ConnectError, InvalidRequestError, NativeOAuthFinisher, __version__
from descope_native.__main__ import main
from descope_native.testing import FakeDescope, Fault

DATA: Final = Path(__file__).parents[1] / "data"
OK: Final = ("finish", "--provider", "google", "--state-id", "s", "--proof", "code", "--project-id", "P2")

Run = Callable[..., SimpleNamespace]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; what it ended with and wrote."""

    def run(*arguments: str, stdin: bytes = b"") -> SimpleNamespace:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            code: object = main(arguments)
        except SystemExit as end:
            code = end.code
        written = capsys.readouterr()
        return SimpleNamespace(code=code, out=written.out, err=written.err)

    for name in ("DESCOPE_PROJECT_ID", "DESCOPE_BASE_URI", "DESCOPE_AUTH_MANAGEMENT_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return run


def test_the_help_is_this(run: Run) -> None:
    """Of the command as a whole and of each of its three."""
    shown = ""
    for command in ([], ["demo"], ["finish"], ["fake"]):
        done = run(*command, "--help")
        assert done.code == 0
        shown += f"$ {' '.join(['descope-native', *command, '--help'])}\n{done.out}"
    assert shown == (DATA / "help.txt").read_text(encoding="utf-8")


def test_no_command_is_answered_with_the_help(run: Run) -> None:
    """And with the exit code of bad input."""
    done = run()
    assert done.code == 2
    assert done.out == run("--help").out


def test_the_version_is_one_line(run: Run) -> None:
    """With the name in front, as the tools of a system print it."""
    done = run("--version")
    assert (done.code, done.out) == (0, f"descope-native {__version__}\n")


def plain(text: str) -> str:
    """Without what is another each time."""
    for pattern, word in (
        (r"localhost:\d+", "localhost:PORT"),
        (r"in \d+\.\d ms", "in N ms"),
        (r"[\w-]{4}… \(\d+", "XXXX… (N"),
        (r"U2\w+", "U2…"),
        (r"20[\d-]+ [\d:]+\+", "TIME+"),
        (r"cf-ray [\w-]+-FAKE", "cf-ray …-FAKE"),
    ):
        text = re.sub(pattern, word, text)
    return text


def test_the_demo_is_this(run: Run) -> None:
    """Each line of it, but for what is another each time."""
    done = run("demo")
    assert (done.code, done.err) == (0, "")
    assert plain(done.out) == (DATA / "demo.txt").read_text(encoding="utf-8")


def test_the_demos_time_is_in_milliseconds(run: Run) -> None:
    """A call over loopback takes neither seconds nor microseconds."""
    (took,) = re.findall(r"came back    200 in ([\d.]+) ms", run("demo").out)
    assert 0.2 < float(took) < 5000


def test_the_demos_colours_are_these() -> None:
    """Headings are bold, remarks are dim, an error's name is red."""
    code, shown = in_a_terminal("demo", TERM="xterm")
    assert code == 0
    shown = plain(shown.replace("\r\n", "\n"))
    assert re.sub(r"\033\[\d+m", "", shown) == (DATA / "demo.txt").read_text(encoding="utf-8")
    coloured = re.findall(r"\033\[(\d+)m(.*?)\033\[0m", shown, re.DOTALL)
    assert [(code, text.strip()[:24]) for code, text in coloured] == [
        ("1", "A native Google sign-in,"),
        ("2", "against a stand-in for D"),
        ("1", "1. The phone signed in. "),
        ("1", "2. Your backend awaits f"),
        ("2", "sent"),
        ("2", "came back"),
        ("1", "3. The same proof once m"),
        ("31", "RejectedError"),
        ("1", "Three things to try next"),
    ]


def test_a_dumb_terminal_gets_no_colours() -> None:
    """It would print them."""
    code, shown = in_a_terminal("demo", TERM="dumb")
    assert code == 0
    assert "\033" not in shown


class Terminal(io.StringIO):
    """Someone is looking."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", ["stdout", "stderr"])
def test_an_errors_colour_is_for_where_the_error_goes(
    run: Run, monkeypatch: pytest.MonkeyPatch, terminal: str
) -> None:
    """One of the two may be a terminal and the other a file."""
    screen = Terminal()
    monkeypatch.setattr(sys, terminal, screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    done = run(*OK, "--base-url", f"http://localhost:{unused_port()}", stdin=b"c0de\n")
    assert done.code == 3
    assert "ConnectError" in screen.getvalue() + done.err
    assert ("\033[31mConnectError\033[0m" in screen.getvalue()) is (terminal == "stderr")
    assert "\033" not in done.err + done.out


def test_the_line_that_a_prompt_leaves_open_is_ended_where_the_prompt_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-D at the prompt: what goes to a file or a pipe has no empty line in front."""

    def ctrl_d(_: str) -> str:
        raise EOFError

    monkeypatch.setattr(getpass, "getpass", ctrl_d)
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main(OK) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("\n")


NUMBER: Final = "descope-native finish: argument --timeout: must be a number from 0.001 to 3600\n"
PORT: Final = "descope-native fake: argument --port: must be a number from 0 to 65535\n"
READ: Final = "a code or id token is read from standard input"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["finish"],
            "descope-native finish: the following arguments are required: --provider, --state-id, --proof\n",
        ),
        ([*OK, "more"], f"descope-native: unknown argument; {READ}. See --help\n"),
        ([*OK, "--json=x"], "descope-native finish: argument --json: takes no value\n"),
        (["demo", "more"], "descope-native: unknown argument. See --help\n"),
        (["fake", "--prot", "1"], "descope-native: unknown argument. See --help\n"),
        ([*OK[:6], "other"], "descope-native finish: argument --proof: must be code or id-token\n"),
        ([*OK, "--timeout", "0.0009"], NUMBER),
        ([*OK, "--timeout", "3600.1"], NUMBER),
        ([*OK, "--timeout", "nan"], NUMBER),
        ([*OK, "--timeout", "soon"], NUMBER),
        (["fake", "--port", "-1"], PORT),
        (["fake", "--port", "65536"], PORT),
        (["fake", "--port", "1.5"], PORT),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_bad_input_is_told_in_these_words(run: Run, arguments: list[str], said: str) -> None:
    """One line on standard error, with the name of the command that had it."""
    assert run(*arguments, stdin=b"c") == SimpleNamespace(code=2, out="", err=said)


def test_a_command_that_is_none_is_not_repeated(run: Run) -> None:
    """Over several lines neither."""
    done = run("se\ncret")
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(
        r"descope-native: argument COMMAND: invalid choice \(choose from '?demo'?, '?finish'?, '?fake'?\)\n",
        done.err,
    )


@pytest.mark.parametrize("seconds", ["0.001", "3600"])
def test_the_limits_of_the_timeout_are_let_in(run: Run, seconds: str) -> None:
    """Another argument is refused then."""
    done = run(*OK, "--base-url", "ftp://a", "--timeout", seconds, stdin=b"c")
    assert done.code == 2
    assert "InvalidRequestError: base_url" in done.err


@pytest.mark.parametrize("port", ["0", "65535"])
def test_the_limits_of_the_port_are_let_in(run: Run, port: str) -> None:
    """Nobody can listen on an address of TEST-NET-1 (RFC 5737)."""
    done = run("fake", "--host", "192.0.2.1", "--port", port)
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(r"descope-native fake: cannot listen there \(.+\)\n", done.err)


@pytest.mark.parametrize(
    ("arguments", "stdin", "problem"),
    [
        (OK, b" \n", "no code on standard input"),
        (OK, b"\n" * 256 * 1024 + b"code", "no code on standard input"),
        (OK, b"\xff", "the code on standard input cannot be read as text"),
        (OK[:7], b"c", "no project: give --project-id or set DESCOPE_PROJECT_ID"),
        ((*OK, "--user-file", "/nowhere/user.json"), b"c", "the user file cannot be read"),
        ((*OK, "--user-file", sys.executable), b"c", "the user file cannot be read"),  # no text
    ],
)
def test_what_cannot_be_sent_is_told_in_these_words(
    run: Run, arguments: tuple[str, ...], stdin: bytes, problem: str
) -> None:
    """With the advice to mend it."""
    done = run(*arguments, stdin=stdin)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"     InvalidRequestError: {problem}\n     nothing was sent; mend the input (safe_to_retry=False)\n"
    )


def test_a_standard_input_that_cannot_be_read_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A terminal that has gone, say."""

    class Broken(io.BytesIO):
        def read(self, _: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, "canary")

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False, buffer=Broken()))
    assert main(OK) == 2
    written = capsys.readouterr()
    assert written.err.startswith(
        "     InvalidRequestError: the code on standard input cannot be read as text\n"
    )
    assert "canary" not in written.err + written.out


def test_what_is_read_of_standard_input_is_256_kib(run: Run) -> None:
    """Far beyond any code or token, and to the last byte of it."""
    done = run(*OK, "--base-url", "ftp://a", stdin=b"\n" * (256 * 1024 - 1) + b"c")
    assert "InvalidRequestError: base_url" in done.err


async def finished(run: Run, fault: Fault, *more: str) -> SimpleNamespace:
    """What `finish` makes of an answer."""
    fake = FakeDescope()
    fake.fail_next(fault)
    async with fake.serve() as url:
        return await asyncio.to_thread(run, *OK, "--base-url", url, *more, stdin=b"the-code\n")


def answering(**answer: Any) -> Fault:
    return Fault(status=200, body=json.dumps({"sessionJwt": "s.e.s.s.i.o.n", **answer}).encode())


USER: Final = {
    "userId": "U2",
    "email": "ada@example.com",
    "name": "Ada",
    "roleNames": ["r1", "r2"],
    "userTenants": [{"tenantName": "One"}, {"tenantName": "Two"}],
}


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        (answering(), ["session_jwt         s.e.… (13 characters)"]),
        (
            answering(
                user=USER, firstSeen=False, refreshJwt="r.e.f.r.e.s.h", sessionExpiration=1, claims=1, saml=1
            ),
            [
                "user.user_id        U2",
                "user.email          ada@example.com",
                "user.name           Ada",
                "user.role_names     r1, r2",
                "user.user_tenants   One, Two",
                "first_seen          False",
                "session_jwt         s.e.… (13 characters)",
                "refresh_jwt         r.e.… (13 characters)",
                "session_expires_at  1970-01-01 00:00:01+00:00",
                "drift               claims: expected object, found integer",
            ],
        ),
        (
            answering(cookieMaxAge="1", user={"name": 1}),
            [
                "session_jwt         s.e.… (13 characters)",
                (
                    "drift               cookieMaxAge: expected integer, found string; "
                    "user.name: expected string, found integer"
                ),
            ],
        ),
    ],
    ids=["little", "much", "drift"],
)
async def test_a_session_is_shown_so(run: Run, answer: Fault, facts: list[str]) -> None:
    """What is there, a line each; tokens by their first four characters and their length."""
    done = await finished(run, answer)
    assert (done.code, done.err) == (0, "")
    assert done.out == "a session:\n" + "".join(f"       {fact}\n" for fact in facts)


SPENT: Final = "take the code as spent and let the person sign in again"
UNCLEAR: Final = "the code may be spent; do not send it again, let the person sign in again"
FAILURES: Final[list[tuple[Fault, int, str, str, str, bool]]] = [
    (Fault(status=401), 4, "RejectedError", "rejected", SPENT, False),
    (
        Fault(status=429, headers={"Retry-After": "7"}),
        3,
        "RateLimitedError",
        "rejected",
        "the same code is still good; try it again",
        True,
    ),
    (Fault(status=503), 5, "ServerError", "unknown", UNCLEAR, False),
]


@pytest.mark.parametrize(("fault", "code", "name", "outcome", "advice", "safe"), FAILURES)
async def test_a_failure_is_told_so(
    run: Run, fault: Fault, code: int, name: str, outcome: str, advice: str, safe: bool
) -> None:
    """Its name and words, and in a second line what to do about it."""
    done = await finished(run, fault)
    assert (done.code, done.out) == (code, "")
    first, second = done.err.splitlines()
    assert first.startswith(f"     {name}: the service answered {fault.status}")
    assert f"[outcome {outcome}" in first
    assert second == f"     {advice} (safe_to_retry={safe})"


@pytest.mark.parametrize(("fault", "code", "name", "outcome", "advice", "safe"), FAILURES)
async def test_a_failure_is_json_so(
    run: Run, fault: Fault, code: int, name: str, outcome: str, advice: str, safe: bool
) -> None:
    """On standard output, since a script asked for it."""
    del advice
    done = await finished(run, fault, "--json")
    assert (done.code, done.err) == (code, "")
    (error,) = json.loads(done.out).values()
    assert list(json.loads(done.out)) == ["error"]
    assert error.pop("message").startswith(f"the service answered {fault.status}")
    facts = {"type": name, "outcome": outcome, "safe_to_retry": safe}
    facts |= {"status": fault.status, "code": None, "trace_id": None}
    assert error == facts | ({"retry_after": 7.0} if fault.status == 429 else {})


def test_a_demo_that_fails_tells_it_as_finish_does(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In words, on standard error."""

    async def fail(*_: object, **__: object) -> None:
        raise ConnectError("refused", "nobody is there")

    monkeypatch.setattr(NativeOAuthFinisher, "finish", fail)
    done = run("demo")
    assert done.code == 3
    assert done.err == (
        "     ConnectError: nobody is there [phase connect, outcome not_sent]\n"
        "     the same code is still good; try it again (safe_to_retry=True)\n"
    )


def test_a_failure_to_reach_anybody_is_json_so(run: Run) -> None:
    """With what kept it, and how far it came."""
    done = run(*OK, "--base-url", f"http://localhost:{unused_port()}", "--json", stdin=b"c0de\n")
    assert done.code == 3
    assert json.loads(done.out)["error"] == {
        "type": "ConnectError",
        "message": "nobody could be reached (refused) [phase connect, outcome not_sent]",
        "outcome": "not_sent",
        "safe_to_retry": True,
        "phase": "connect",
        "reason": "refused",
    }


async def test_what_has_to_be_mended_is_not_to_be_tried_again(run: Run) -> None:
    """A certificate, say, that is another's tomorrow as well: the code is good, and that does not help."""
    async with FakeDescope().serve() as url:
        https = url.replace("http://", "https://")
        done = await asyncio.to_thread(run, *OK, "--base-url", https, stdin=b"c0de\n")
    assert done.code == 3
    first, second = done.err.splitlines()
    assert first.startswith("     TLSError: ")
    assert second == (
        "     the same code is still good, but this has to be mended before it is tried again "
        "(safe_to_retry=False)"
    )


@pytest.mark.parametrize(
    ("environment", "more", "expected"),
    [
        ({}, [], {"base_url": None, "auth_management_key": None, "allow_http": False, "timeout": 15.0}),
        (
            {"DESCOPE_BASE_URI": "", "DESCOPE_AUTH_MANAGEMENT_KEY": "", "DESCOPE_PROJECT_ID": "P3"},
            ["--timeout", "7"],
            {"base_url": None, "auth_management_key": None, "allow_http": False, "timeout": 7.0},
        ),
        (
            {"DESCOPE_BASE_URI": "https://a", "DESCOPE_AUTH_MANAGEMENT_KEY": "K"},
            [],
            {"base_url": "https://a", "auth_management_key": "K", "allow_http": False, "timeout": 15.0},
        ),
        (
            {"DESCOPE_BASE_URI": "https://a"},
            ["--base-url", "https://b", "--allow-http"],
            {"base_url": "https://b", "auth_management_key": None, "allow_http": True, "timeout": 15.0},
        ),
    ],
    ids=["defaults", "empty", "environment", "option"],
)
def test_a_finisher_is_opened_with_these(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    more: list[str],
    expected: dict[str, object],
) -> None:
    """An option before the environment, and what is empty there is as good as unset."""
    opened: list[tuple[str, dict[str, object]]] = []

    def open_(project_id: str, **options: object) -> None:
        opened.append((project_id, options))
        raise InvalidRequestError("enough seen")

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(NativeOAuthFinisher, "open", open_)
    assert run(*OK, *more, stdin=b"c").code == 2
    assert opened == [("P2", expected)]
