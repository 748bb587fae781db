"""What the commands write: results, errors, and how bad it was."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Final, TextIO

from descope_native import (
    DescopeNativeError,
    FinishResult,
    InvalidRequestError,
    Outcome,
    StartResult,
)

FAILED: Final = 1
BAD_INPUT: Final = 2
UNSPENT: Final = 3
REFUSED: Final = 4
UNCLEAR: Final = 5
INTERRUPTED: Final = 130


def flush() -> None:
    """What cannot be written is to fail where it can be handled, not at the interpreter's exit."""
    if sys.stdout is not None:  # closed by whoever started this
        sys.stdout.flush()


def complain(problem: str) -> None:
    """On standard error, in one line."""
    print(problem, file=sys.stderr)


def print_started(result: StartResult) -> None:
    """What the phone needs, and what the backend keeps."""
    _print_facts(
        {
            "client_id": result.client_id,
            "nonce": result.nonce and masked(result.nonce),
            "implicit": result.implicit,
            "state_id": masked(result.state_id),
            "drift": _drift(result),
        }
    )


def print_finished(result: FinishResult) -> None:
    """The session, and whose it is."""
    user = result.user
    _print_facts(
        {
            "user.user_id": user and user.user_id,
            "user.email": user and user.email,
            "user.name": user and user.name,
            "user.role_names": ", ".join(user.role_names) if user else None,
            "user.user_tenants": ", ".join(str(t.tenant_name) for t in user.user_tenants) if user else None,
            "first_seen": result.first_seen,
            "session_jwt": masked(result.session_jwt),
            "refresh_jwt": result.refresh_jwt and masked(result.refresh_jwt),
            "session_expires_at": result.session_expires_at,
            "drift": _drift(result),
        }
    )


def _drift(result: StartResult | FinishResult) -> str:
    return "; ".join(f"{d.path}: expected {d.expected}, found {d.found}" for d in result.drift)


def _print_facts(facts: Mapping[str, object]) -> None:
    for name, value in facts.items():
        if value is not None and value != "":
            print(f"       {name:20}{printable(value)}")


def print_error(error: DescopeNativeError, out: TextIO | None, *, of_start: bool = False) -> None:
    """The error in its own words, and what to do about it."""
    red = style("31", out)
    print(f"     {red(type(error).__name__)}: {printable(error)}", file=out)
    print(f"     {_advice(error, of_start=of_start)} (safe_to_retry={error.safe_to_retry})", file=out)


def print_failure(error: DescopeNativeError, *, as_json: bool, of_start: bool) -> None:
    """What ended a command, for a person or for a script."""
    if not as_json:
        print_error(error, sys.stderr, of_start=of_start)
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
    BAD_INPUT: "nothing was sent; mend the input",
    UNSPENT: "the same code is still good; try it again",
    REFUSED: "take the code as spent and let the person sign in again",
    UNCLEAR: "the code may be spent; do not send it again, let the person sign in again",
}
_START_ADVICE: Final = {
    BAD_INPUT: "nothing was sent; mend the input",
    UNSPENT: "a start spends nothing; try it again",
    REFUSED: "the service will say so again; mend the request or the project",
    UNCLEAR: "no sign-in has begun that could be gone on with",
}


def _advice(error: DescopeNativeError, *, of_start: bool) -> str:
    code = exit_code(error)
    if code == UNSPENT and not error.safe_to_retry:
        kept = "nothing was sent" if of_start else "the same code is still good"
        return f"{kept}, but this has to be mended before it is tried again"
    return (_START_ADVICE if of_start else _ADVICE)[code]


def exit_code(error: DescopeNativeError) -> int:
    """How a command ends that ended with this."""
    if isinstance(error, InvalidRequestError):
        return BAD_INPUT
    if error.safe_to_retry or error.outcome is Outcome.NOT_SENT:
        return UNSPENT
    return REFUSED if error.outcome is Outcome.REJECTED else UNCLEAR


def masked(secret: str) -> str:
    """Enough of it to tell it from another."""
    return f"{secret[:4]}… ({len(secret)} characters)"


def printable(value: object) -> str:
    """Much of it is the service's: it must not steer the terminal, and has to be text that can be encoded."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value))


def style(code: str, out: TextIO | None) -> Callable[[str], str]:
    """Colour for a terminal, and for nothing else (https://no-color.org)."""
    if not (out and out.isatty()) or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return str
    return lambda text: f"\033[{code}m{text}\033[0m"
