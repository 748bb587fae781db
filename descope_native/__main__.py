"""The command line: see a sign-in finish, finish a real one, or serve the stand-in."""

import argparse
import asyncio
import contextlib
import getpass
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

from descope_native import (
    DescopeNativeError,
    FinishResult,
    InvalidRequestError,
    NativeOAuthFinisher,
    Outcome,
    __version__,
)
from descope_native.converters import make_converter

_FAILED: Final = 1
_BAD_INPUT: Final = 2
_UNSPENT: Final = 3
_REFUSED: Final = 4
_UNCLEAR: Final = 5
_INTERRUPTED: Final = 130
_MAX_INPUT: Final = 256 * 1024

_EPILOG: Final = """\
exit codes:
  0    a session was given (fake: stopped as asked)
  1    the stand-in could not be served, or the output not be written
  2    bad input; nothing was sent
  3    nothing is spent (nobody was reached, or a rate limit); the same code is still good
  4    the service said no; the person signs in again
  5    it may have happened; do not send the code again, the person signs in again
  130  interrupted

environment:
  DESCOPE_PROJECT_ID           what --project-id says
  DESCOPE_BASE_URI             what --base-url says
  DESCOPE_AUTH_MANAGEMENT_KEY  for projects that close their public auth API
  NO_COLOR                     no colours, also on a terminal
"""

_FINISH_EPILOG: Final = """\
The code or id token is read from standard input, or asked for on a terminal. It is never an
argument, since arguments end up in the shell's history and in the list of processes.

  descope-native finish --provider google --state-id STATE --proof id-token < id_token.txt

descope-native --help tells the exit codes, and what is read from the environment.
"""


class _Parser(argparse.ArgumentParser):
    """One clear line for bad input, which does not repeat what was typed: it may be a secret."""

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"invalid choice: .* \(choose", "invalid choice (choose", message)
        message = re.sub(r"ignored explicit argument .*", "takes no value", message)
        self.exit(_BAD_INPUT, f"{self.prog}: {message}\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        _flush()  # of the help, or of the version
        super().exit(status, message)


def _one_of(*choices: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"must be {' or '.join(choices)}")
        return text

    return convert


def _number(convert: Callable[[str], float], least: float, most: float) -> Callable[[str], float]:
    def checked(text: str) -> float:
        with contextlib.suppress(ValueError):
            if least <= (value := convert(text)) <= most:
                return value
        raise argparse.ArgumentTypeError(f"must be a number from {least} to {most}")

    return checked


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="descope-native",
        description="Finish a native Apple or Google sign-in with Descope.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"descope-native {__version__}")
    parser.set_defaults(run=_help, json=False)
    commands = parser.add_subparsers(metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="watch a sign-in finish over real HTTP; needs no account",
        description="Start and finish a native sign-in over real HTTP, against a stand-in on this machine.",
        allow_abbrev=False,
    )
    demo.set_defaults(run=_demo)

    finish = commands.add_parser(
        "finish",
        help="finish a real sign-in",
        description="Trade the proof of a native sign-in for a session.",
        epilog=_FINISH_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # it would say which of the arguments it did not understand
    )
    finish.add_argument("--provider", required=True, help="google, apple, or a custom provider's name")
    finish.add_argument("--state-id", required=True, help="the stateId that the start call gave")
    finish.add_argument(
        "--proof",
        required=True,
        type=_one_of("code", "id-token"),
        metavar="code|id-token",
        help="which of the two is read from standard input",
    )
    finish.add_argument(
        "--user-file", metavar="FILE", help="a file with Apple's JSON of the name (first sign-in only)"
    )
    finish.add_argument("--project-id", help="the Descope project, P2…")
    finish.add_argument("--base-url", help="instead of the host that the project id names")
    finish.add_argument(
        "--allow-http", action="store_true", help="let --base-url be plain http to another machine"
    )
    finish.add_argument(
        "--timeout",
        type=_number(float, 0.001, 3600),
        default=15.0,
        metavar="SECONDS",
        help="for the call as a whole (default: 15)",
    )
    finish.add_argument(
        "--json", action="store_true", help="print the whole answer as JSON, tokens included, or the failure"
    )
    finish.set_defaults(run=_finish)

    fake = commands.add_parser(
        "fake",
        help="serve the stand-in until interrupted",
        description="Serve a stand-in for Descope's native sign-in, for tests of other programs.",
        allow_abbrev=False,
    )
    fake.add_argument("--host", default="localhost", help="where to listen (default: localhost)")
    fake.add_argument(
        "--port",
        type=_number(int, 0, 65535),
        default=0,
        help="where to listen; 0 takes a free one (default: 0)",
    )
    fake.add_argument("--project-id", help="the one project it knows")
    fake.add_argument("--cookies", action="store_true", help="give tokens in cookies, not in the body")
    fake.set_defaults(run=_fake)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see ``descope-native --help``."""
    code = 0
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="backslashreplace")  # what a locale has no letters for is no reason to fail
    try:
        options = _parse(arguments)
        try:
            code = options.run(options)
        except DescopeNativeError as error:
            code = _exit_code(error)
            _print_failure(error, as_json=options.json)
        _flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        return code
    except OSError as error:
        with contextlib.suppress(OSError):
            print(f"descope-native: {error.strerror}", file=sys.stderr)
        return code or _FAILED
    finally:
        _discard_unwritable(sys.stdout)
        _discard_unwritable(sys.stderr)
    return code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        hint = "; a code or id token is read from standard input" if options.run is _finish else ""
        parser.error(f"unknown argument{hint}. See --help")
    return options


def _help(_: argparse.Namespace) -> int:
    _parser().print_help()
    return _BAD_INPUT


def _flush() -> None:
    """What cannot be written is to fail where it can be handled, not at the interpreter's exit."""
    if sys.stdout is not None:  # closed by whoever started this
        sys.stdout.flush()


def _discard_unwritable(out: TextIO | None) -> None:
    """The interpreter flushes once more at exit, and ends with 120 where that fails."""
    if out is not None:
        try:
            out.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


# --- demo

_DEMO_USER: Final[dict[str, Any]] = {
    "roleNames": ["admin"],
    "userTenants": [
        {"tenantId": "T1", "tenantName": "Analytical Engines"},
        {"tenantId": "T2", "tenantName": "Difference & Sons"},
    ],
}


def _demo(_: argparse.Namespace) -> int:
    return asyncio.run(_tell_the_story())


async def _tell_the_story() -> int:
    from descope_native.testing import FakeDescope  # noqa: PLC0415 -- only here, and it is not small

    bold, dim = _style("1", sys.stdout), _style("2", sys.stdout)
    fake = FakeDescope()
    async with (
        fake.serve() as base_url,
        NativeOAuthFinisher.open(fake.project_id, base_url=base_url) as finisher,
    ):
        print(bold("A native Google sign-in, finished over real HTTP"))
        print(dim(f"against a stand-in for Descope on {base_url}; no account, nothing leaves this machine"))
        proof = fake.sign_in("google", user=_DEMO_USER)
        arguments = proof.as_arguments()

        print(bold("\n1. The phone signed in. Your backend gets"))
        for name, value in arguments.items():
            print(f"     {name:12} {value if name == 'provider' else _masked(value)}")

        print(bold("\n2. Your backend awaits finisher.finish(provider=…, state_id=…, id_token=…)"))
        started = time.perf_counter()
        result = await finisher.finish(**arguments)
        took = time.perf_counter() - started
        print(f"     POST {base_url}/v1/auth/oauth/native/finish")
        call = fake.calls[-1]  # the stand-in masks what is secret
        print(f"     {dim('sent')}         {json.dumps(call.body)}")
        print(f"     {dim('came back')}    {call.status} in {took * 1000:.1f} ms, as a frozen FinishResult:")
        _print_result(result)

        print(bold("\n3. The same proof once more, as a retry gone wrong would send it"))
        try:
            await finisher.finish(**arguments)
        except DescopeNativeError as error:
            _print_error(error, sys.stdout)

    print(bold("\nThree things to try next"))
    print("     descope-native fake --port 8787      serve the stand-in to your own app or tests")
    print("     descope-native finish --help         finish a real sign-in of your project")
    print("     InMemoryTransport(FakeDescope())     the same without a network, in a unit test")
    return 0


def _print_result(result: FinishResult) -> None:
    user = result.user
    facts = {
        "user.user_id": user and user.user_id,
        "user.email": user and user.email,
        "user.name": user and user.name,
        "user.role_names": ", ".join(user.role_names) if user else None,
        "user.user_tenants": ", ".join(str(t.tenant_name) for t in user.user_tenants) if user else None,
        "first_seen": result.first_seen,
        "session_jwt": _masked(result.session_jwt),
        "refresh_jwt": result.refresh_jwt and _masked(result.refresh_jwt),
        "session_expires_at": result.session_expires_at,
        "drift": "; ".join(f"{d.path}: expected {d.expected}, found {d.found}" for d in result.drift),
    }
    for name, value in facts.items():
        if value is not None and value != "":
            print(f"       {name:20}{_printable(value)}")


def _print_error(error: DescopeNativeError, out: TextIO | None) -> None:
    red = _style("31", out)
    print(f"     {red(type(error).__name__)}: {_printable(error)}", file=out)
    print(f"     {_advice(error)} (safe_to_retry={error.safe_to_retry})", file=out)


def _print_failure(error: DescopeNativeError, *, as_json: bool) -> None:
    if not as_json:
        _print_error(error, sys.stderr)
        return
    facts = {
        "type": type(error).__name__,
        "message": str(error),
        "outcome": error.outcome.value,
        "safe_to_retry": error.safe_to_retry,
    }
    more = ("phase", "reason", "status", "code", "trace_id", "retry_after")  # where it is such an error
    facts |= {name: getattr(error, name) for name in more if hasattr(error, name)}
    print(json.dumps({"error": facts}))


_ADVICE: Final = {
    _BAD_INPUT: "nothing was sent; mend the input",
    _UNSPENT: "the same code is still good; try it again",
    _REFUSED: "take the code as spent and let the person sign in again",
    _UNCLEAR: "the code may be spent; do not send it again, let the person sign in again",
}


def _advice(error: DescopeNativeError) -> str:
    code = _exit_code(error)
    if code == _UNSPENT and not error.safe_to_retry:
        return "the same code is still good, but this has to be mended before it is tried again"
    return _ADVICE[code]


def _exit_code(error: DescopeNativeError) -> int:
    if isinstance(error, InvalidRequestError):
        return _BAD_INPUT
    if error.safe_to_retry or error.outcome is Outcome.NOT_SENT:
        return _UNSPENT
    return _REFUSED if error.outcome is Outcome.REJECTED else _UNCLEAR


def _masked(secret: str) -> str:
    return f"{secret[:4]}… ({len(secret)} characters)"


def _printable(value: object) -> str:
    """Much of it is the service's: it must not steer the terminal, and has to be text that can be encoded."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value))


def _style(code: str, out: TextIO | None) -> Callable[[str], str]:
    """Colour for a terminal, and for nothing else (https://no-color.org)."""
    if not (out and out.isatty()) or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return str
    return lambda text: f"\033[{code}m{text}\033[0m"


# --- finish


def _finish(options: argparse.Namespace) -> int:
    request = _read_request(options)
    result = asyncio.run(_finish_request(options, request))
    if options.json:
        print(json.dumps(make_converter().unstructure(result)))
    else:
        print("a session:")
        _print_result(result)
    return 0


def _read_request(options: argparse.Namespace) -> dict[str, Any]:
    # Before there is an event loop: it would keep the first Ctrl-C at the prompt to itself.
    return {
        "provider": options.provider,
        "state_id": options.state_id,
        "user": _read_file(options.user_file) if options.user_file else None,
        options.proof.replace("-", "_"): _read_proof(options.proof),
    }


async def _finish_request(options: argparse.Namespace, request: dict[str, Any]) -> FinishResult:
    project_id = options.project_id or os.environ.get("DESCOPE_PROJECT_ID")
    if not project_id:
        empty = ", which is empty" if "DESCOPE_PROJECT_ID" in os.environ else ""
        raise InvalidRequestError(f"no project: give --project-id or set DESCOPE_PROJECT_ID{empty}")
    async with NativeOAuthFinisher.open(
        project_id,
        base_url=options.base_url or os.environ.get("DESCOPE_BASE_URI") or None,
        auth_management_key=os.environ.get("DESCOPE_AUTH_MANAGEMENT_KEY") or None,
        allow_http=options.allow_http,
        timeout=options.timeout,
    ) as finisher:
        return await finisher.finish(**request)


def _read_proof(kind: str) -> str:
    if sys.stdin is None:  # closed by whoever started this
        raise InvalidRequestError(f"no standard input to read the {kind} from")
    try:
        if sys.stdin.isatty():
            proof = getpass.getpass(f"{kind}: ")
        else:
            proof = sys.stdin.buffer.read(_MAX_INPUT).decode()  # some locales let through what is no text
    except EOFError:  # Ctrl-D at the prompt, which is left without an end of line
        print(file=sys.stderr)
        proof = ""
    except (OSError, ValueError):
        raise InvalidRequestError(f"the {kind} on standard input cannot be read as text") from None
    if not (proof := proof.strip()):
        raise InvalidRequestError(f"no {kind} on standard input")
    return proof


def _read_file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InvalidRequestError("the user file cannot be read") from None


# --- fake


def _fake(options: argparse.Namespace) -> int:
    return asyncio.run(_serve(options))


async def _serve(options: argparse.Namespace) -> int:
    from descope_native.testing import FakeDescope  # noqa: PLC0415 -- only here, and it is not small

    settings: dict[str, Any] = {"tokens": "cookies"} if options.cookies else {}
    if options.project_id:
        settings["project_id"] = options.project_id
    fake = FakeDescope(**settings)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # on Windows, where Ctrl-C is a KeyboardInterrupt instead
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    async with contextlib.AsyncExitStack() as serving:
        try:
            base_url = await serving.enter_async_context(fake.serve(options.host, options.port))
        except OSError as error:
            print(f"descope-native fake: cannot listen there ({error.strerror})", file=sys.stderr)
            return _FAILED
        print(f"ready: {base_url} project {fake.project_id}", flush=True)
        await stopped.wait()
    print("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
