"""``demo``: the whole story of a sign-in, told against the stand-in."""

import argparse
import asyncio
import importlib.util
import json
import shlex
import shutil
import sys
import time
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from descope_native import (
    AiohttpTransport,
    DescopeNativeError,
    FinishResult,
    NativeOAuthFinisher,
    NativeOAuthStarter,
    StartResult,
)
from descope_native._cli.output import masked, print_error, print_finished, print_started, style

if TYPE_CHECKING:
    from descope_native.testing import FakeDescope

R = TypeVar("R", StartResult, FinishResult)

_USER: Final[dict[str, Any]] = {
    "roleNames": ["admin"],
    "userTenants": [
        {"tenantId": "T1", "tenantName": "Analytical Engines"},
        {"tenantId": "T2", "tenantName": "Difference & Sons"},
    ],
}


def demo(_: argparse.Namespace) -> int:
    """Tell it."""
    return asyncio.run(_tell_the_story())


async def _tell_the_story() -> int:
    from descope_native.testing import FakeDescope  # noqa: PLC0415 -- only here, and it is not small

    fake = FakeDescope()
    async with AsyncExitStack() as stack:
        base_url = await stack.enter_async_context(fake.serve())
        transport = await stack.enter_async_context(AiohttpTransport.open())
        starter = NativeOAuthStarter(fake.project_id, transport, base_url=base_url)
        finisher = NativeOAuthFinisher(fake.project_id, transport, base_url=base_url)
        _heading("A native Google sign-in, from start to session, over real HTTP")
        _remark(f"against a stand-in for Descope on {base_url}; no account, nothing leaves this machine")

        _heading('\n1. Your backend awaits starter.start(provider="google")')
        started = await _timed(starter.start(provider="google"), fake, base_url)
        print_started(started)

        _heading("\n2. The phone shows Google's dialog with client_id and nonce; your backend gets")
        arguments = fake.phone(started, user=_USER).as_arguments()
        _print_arguments(arguments)

        _heading("\n3. Your backend awaits finisher.finish(provider=…, state_id=…, id_token=…, nonce=…)")
        result = await _timed(finisher.finish(**arguments, nonce=started.nonce), fake, base_url)
        print_finished(result)

        _heading("\n4. The same proof once more, as a retry gone wrong would send it")
        try:
            await finisher.finish(**arguments)
        except DescopeNativeError as error:
            print_error(error, sys.stdout)

    _print_hints()
    return 0


async def _timed(call: Awaitable[R], fake: "FakeDescope", base_url: str) -> R:
    began = time.perf_counter()
    result = await call
    took = time.perf_counter() - began
    made = fake.calls[-1]  # the stand-in masks what is secret
    print(f"     {made.method} {base_url}{made.path}")
    _remark(f"sent         {json.dumps(made.body)}", "     ")
    _remark(
        f"came back    {made.status} in {took * 1000:.1f} ms, as a frozen {type(result).__name__}:", "     "
    )
    return result


def _print_arguments(arguments: Mapping[str, str]) -> None:
    for name, value in arguments.items():
        print(f"       {name:20}{value if name == 'provider' else masked(value)}")


def _print_hints() -> None:
    command = _command()
    unsigned = "" if importlib.util.find_spec("joserfc") else " --unsigned"
    _heading("\nThree things to try next")
    for hint, about in (
        (f"{command} fake --port 8787{unsigned}", "serve the stand-in to your own app or tests"),
        (f"{command} start --help", "begin a real sign-in of your project"),
        ("InMemoryTransport(FakeDescope())", "the same without a network, in a unit test"),
    ):
        print(f"     {about}:\n       {hint}")


def _command() -> str:
    """What runs this again where it was run: a name that is on the path, or the interpreter's module."""
    script = shutil.which("descope-native")
    if script and Path(script).parent == Path(sys.executable).parent:
        return "descope-native"
    return f"{shlex.quote(sys.executable)} -m descope_native"


def _heading(text: str) -> None:
    print(style("1", sys.stdout)(text))


def _remark(text: str, indent: str = "") -> None:
    print(indent + style("2", sys.stdout)(text))
