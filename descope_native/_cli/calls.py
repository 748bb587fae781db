"""``start`` and ``finish``: one real call each."""

import argparse
import asyncio
import contextlib
import getpass
import json
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final, cast

from descope_native import (
    AiohttpTransport,
    FinishResult,
    InvalidRequestError,
    NativeOAuthFinisher,
    NativeOAuthStarter,
    StartResult,
    Transport,
)
from descope_native._cli.output import FAILED, complain, print_finished, print_started
from descope_native.converters import make_converter
from descope_native.transports.recording import RecordingTransport

_MAX_INPUT: Final = 256 * 1024


def start(options: argparse.Namespace) -> int:
    """Begin a sign-in, and print what the phone needs."""
    login_options = _read_options(options.login_options_file) if options.login_options_file else None
    result = asyncio.run(_start(options, login_options))
    if options.json:
        print(json.dumps(make_converter().unstructure(result)))
    else:
        print("a sign-in has begun (--json prints it whole):")
        print_started(result)
    return FAILED if options.is_unrecorded else 0


async def _start(options: argparse.Namespace, login_options: dict[str, Any] | None) -> StartResult:
    async with _transport(options) as transport:
        starter = NativeOAuthStarter(_project_id(options), transport, **_settings(options))
        return await starter.start(
            provider=options.provider, login_options=login_options, implicit=options.implicit
        )


def finish(options: argparse.Namespace) -> int:
    """Trade a proof for a session, and print that."""
    request = _read_request(options)
    result = asyncio.run(_finish(options, request))
    if options.json:
        print(json.dumps(make_converter().unstructure(result)))
    else:
        print("a session (--json prints it whole):")
        print_finished(result)
    return FAILED if options.is_unrecorded else 0


async def _finish(options: argparse.Namespace, request: dict[str, Any]) -> FinishResult:
    async with _transport(options) as transport:
        finisher = NativeOAuthFinisher(_project_id(options), transport, **_settings(options))
        return await finisher.finish(**request)


@contextlib.asynccontextmanager
async def _transport(options: argparse.Namespace) -> AsyncGenerator[Transport]:
    recorder = None
    async with AiohttpTransport.open() as network:
        try:
            recorder = RecordingTransport(network, options.record) if options.record else None
            yield recorder or network
        finally:
            options.is_unrecorded = recorder is not None and recorder.lost > 0
            if options.is_unrecorded:
                with contextlib.suppress(OSError):  # a session has come, perhaps
                    complain(f"descope-native: the call could not be written to {options.record}")


def _project_id(options: argparse.Namespace) -> str:
    project_id: str | None = options.project_id or os.environ.get("DESCOPE_PROJECT_ID")
    if not project_id:
        empty = ", which is empty" if "DESCOPE_PROJECT_ID" in os.environ else ""
        raise InvalidRequestError(f"no project: give --project-id or set DESCOPE_PROJECT_ID{empty}")
    return project_id


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "base_url": options.base_url or os.environ.get("DESCOPE_BASE_URI") or None,
        "auth_management_key": os.environ.get("DESCOPE_AUTH_MANAGEMENT_KEY") or None,
        "allow_http": options.allow_http,
        "timeout": options.timeout,
    }


def _read_request(options: argparse.Namespace) -> dict[str, Any]:
    # Before there is an event loop: it would keep the first Ctrl-C at the prompt to itself.
    return {
        "provider": options.provider,
        "state_id": options.state_id,
        "user": _read_file(options.user_file, "user file") if options.user_file else None,
        options.proof.replace("-", "_"): _read_proof(options.proof),
    }


def _read_options(path: str) -> dict[str, Any]:
    text = _read_file(path, "login options file")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidRequestError("the login options file is not a JSON object")
    return cast("dict[str, Any]", found)


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


def _read_file(path: str, what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InvalidRequestError(f"the {what} cannot be read") from None
