"""The arguments of each command."""

import argparse
import contextlib
import re
from collections.abc import Callable
from typing import Final, NoReturn

from descope_native import __version__
from descope_native._cli.calls import finish, start
from descope_native._cli.check_transport import check_transport
from descope_native._cli.demo import demo
from descope_native._cli.fake import fake
from descope_native._cli.output import BAD_INPUT, flush

_EPILOG: Final = """\
exit codes:
  0    a session or a state was given (fake: stopped as asked)
  1    the stand-in could not be served, a check of a transport failed, or output or recording not be written
  2    bad input; nothing was sent
  3    nothing is spent (nobody was reached, a rate limit, or a start that may be repeated); try again
  4    the service said no; the person signs in again
  5    it may have happened; do not send the code again, the person signs in again
  130  interrupted

environment:
  DESCOPE_PROJECT_ID           what --project-id says
  DESCOPE_BASE_URI             what --base-url says
  DESCOPE_AUTH_MANAGEMENT_KEY  for projects that close their public auth API
  NO_COLOR                     no colours, also on a terminal
"""

_SEE_HELP: Final = "descope-native --help tells the exit codes, and what is read from the environment.\n"

_ABOUT_PROOFS: Final = """\
The code or id token is read from standard input, or asked for on a terminal. It is never an
argument, since arguments end up in the shell's history and in the list of processes.

  descope-native finish --provider google --state-id STATE --proof id-token < id_token.txt
"""

_ABOUT_FAKE: Final = """\
The first line of standard output says where it listens. With curl as the app and the phone:

  curl URL/v1/auth/oauth/native/start -H 'Authorization: Bearer PROJECT' --json '{"provider": "google"}'
  curl URL/stand-in/phone --json 'WHAT START GAVE'
  curl URL/v1/auth/oauth/native/finish -H 'Authorization: Bearer PROJECT' --json 'WHAT THE PHONE GAVE'

URL/stand-in/openapi.json describes the rest: faults on demand, the calls so far, a reset, health.
"""


class _Parser(argparse.ArgumentParser):
    """One clear line for bad input, which does not repeat what was typed: it may be a secret."""

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"invalid choice: .* \(choose", "invalid choice (choose", message)
        message = re.sub(r"ignored explicit argument .*", "takes no value", message)
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        flush()  # of the help, or of the version
        super().exit(status, message)


_Add = Callable[..., _Parser]


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


def _lifetime(text: str) -> int:
    return int(_number(int, 1, 10 * 365 * 86_400)(text))


def make_parser() -> argparse.ArgumentParser:
    """The command as a whole."""
    parser = _Parser(
        prog="descope-native",
        description="Native Apple or Google sign-in with Descope: start it, finish it, or try it without.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"descope-native {__version__}")
    parser.set_defaults(run=None, json=False)
    add = parser.add_subparsers(metavar="COMMAND").add_parser
    _add_demo(add)
    _add_start(add)
    _add_finish(add)
    _add_fake(add)
    _add_check_transport(add)
    return parser


def _add(
    add: _Add, run: Callable[[argparse.Namespace], int], about: str, more: str, epilog: str = ""
) -> _Parser:
    command = add(
        run.__name__.replace("_", "-"),
        help=about,
        description=more,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # it would say which of the arguments it did not understand
    )
    command.set_defaults(run=run)
    return command


def _add_demo(add: _Add) -> None:
    _add(
        add,
        demo,
        "watch a sign-in over real HTTP; needs no account",
        "Start and finish a native sign-in over real HTTP, against a stand-in on this machine.",
    )


def _add_start(add: _Add) -> None:
    command = _add(
        add,
        start,
        "begin a real sign-in",
        "Begin a native sign-in: what the phone needs for its dialog, and the state for finish.",
        _SEE_HELP,
    )
    command.add_argument("--provider", required=True, help="google, apple, or a custom provider's name")
    command.add_argument(
        "--implicit",
        action=argparse.BooleanOptionalAction,
        help="let the phone get an id token, or with --no-implicit a code (default: the service chooses)",
    )
    command.add_argument(
        "--login-options-file", metavar="FILE", help="a file with the JSON object of loginOptions"
    )
    _add_call_options(command)


def _add_finish(add: _Add) -> None:
    command = _add(
        add,
        finish,
        "finish a real sign-in",
        "Trade the proof of a native sign-in for a session.",
        f"{_ABOUT_PROOFS}\n{_SEE_HELP}",
    )
    command.add_argument("--provider", required=True, help="google, apple, or a custom provider's name")
    command.add_argument("--state-id", required=True, help="the stateId that start gave")
    command.add_argument(
        "--proof",
        required=True,
        type=_one_of("code", "id-token"),
        metavar="code|id-token",
        help="which of the two is read from standard input",
    )
    command.add_argument(
        "--user-file", metavar="FILE", help="a file with Apple's JSON of the name (first sign-in only)"
    )
    _add_call_options(command)


def _add_call_options(command: _Parser) -> None:
    command.add_argument("--project-id", help="the Descope project, P2…")
    command.add_argument("--base-url", help="instead of the host that the project id names")
    command.add_argument(
        "--allow-http", action="store_true", help="let --base-url be plain http to another machine"
    )
    command.add_argument(
        "--timeout",
        type=_number(float, 0.001, 3600),
        default=15.0,
        metavar="SECONDS",
        help="for the call as a whole (default: 15)",
    )
    command.add_argument(
        "--json", action="store_true", help="print the whole answer as JSON, secrets included, or the failure"
    )
    command.add_argument(
        "--record", metavar="FILE", help="add what was sent and answered to a file, without the secrets"
    )


def _add_check_transport(add: _Add) -> None:
    command = _add(
        add,
        check_transport,
        "try a transport of your own",
        "Run what every transport has to hold, over real sockets of this machine, and print what holds.",
    )
    command.add_argument(
        "transport",
        metavar="MODULE:FUNCTION",
        help="opens the transport: given what to trust, it returns an async context manager",
    )
    command.add_argument(
        "--not",
        dest="without",
        action="append",
        default=[],
        metavar="PROMISE",
        help="what the transport does not claim, as reuses_connections; may be repeated",
    )


def _add_fake(add: _Add) -> None:
    command = _add(
        add,
        fake,
        "serve the stand-in until interrupted",
        "Serve a stand-in for Descope's native sign-in, for tests of other programs.",
        _ABOUT_FAKE,
    )
    command.add_argument("--host", default="localhost", help="where to listen (default: localhost)")
    command.add_argument(
        "--port",
        type=_number(int, 0, 65535),
        default=0,
        help="where to listen; 0 takes a free one (default: 0)",
    )
    command.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name to answer to, as a container's; may be repeated",
    )
    command.add_argument("--quiet", action="store_true", help="no line for each request on standard error")
    command.add_argument(
        "--unsigned",
        action="store_true",
        help="give unsecured tokens, which nothing that checks them accepts",
    )
    command.add_argument("--project-id", help="the one project it knows")
    command.add_argument("--cookies", action="store_true", help="give tokens in cookies, not in the body")
    command.add_argument("--session-cookie-name", metavar="NAME", help="instead of DS")
    command.add_argument("--refresh-cookie-name", metavar="NAME", help="instead of DSR")
    command.add_argument("--cookie-domain", metavar="DOMAIN", help="of the cookies (default: the host's own)")
    command.add_argument("--cookie-path", metavar="PATH", help="of the cookies (default: /)")
    command.add_argument("--device-tokens", action="store_true", help="give tokens that mark the device")
    for what, default in (("state", "600"), ("session", "600"), ("refresh", "2419200, four weeks")):
        command.add_argument(
            f"--{what}-lifetime",
            type=_lifetime,
            metavar="SECONDS",
            help=f"how long a {what} {'token ' if what != 'state' else ''}is good for (default: {default})",
        )
