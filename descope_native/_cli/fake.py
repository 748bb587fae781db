"""``fake``: the stand-in on a socket, until interrupted."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from typing import Any, Final

from descope_native._cli.output import BAD_INPUT, FAILED, complain

_SETTINGS: Final = (
    *("project_id", "session_cookie_name", "refresh_cookie_name", "cookie_domain", "cookie_path"),
    *("state_lifetime", "session_lifetime", "refresh_lifetime"),
)


def fake(options: argparse.Namespace) -> int:
    """Serve it."""
    return asyncio.run(_serve(options))


async def _serve(options: argparse.Namespace) -> int:
    from descope_native.testing import FakeDescope  # noqa: PLC0415 -- only here, and it is not small

    settings: dict[str, Any] = {name: getattr(options, name) for name in _SETTINGS}
    given = {name: value for name, value in settings.items() if value is not None}
    try:
        stand_in = FakeDescope(
            tokens="cookies" if options.cookies else "body",
            device_tokens=options.device_tokens,
            signed=not options.unsigned,
            **given,
        )
    except ImportError as error:
        return _fail(BAD_INPUT, f"{error}; with --unsigned, tokens are such as nothing accepts")
    except ValueError as error:
        return _fail(BAD_INPUT, str(error))
    if not options.quiet:
        _log_to_standard_error()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # on Windows, where Ctrl-C is a KeyboardInterrupt instead
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    async with contextlib.AsyncExitStack() as serving:
        server = stand_in.serve(options.host, options.port, allowed_hosts=options.allow_host)
        try:
            base_url = await serving.enter_async_context(server)
        except OSError as error:
            return _fail(FAILED, f"cannot listen there ({error.strerror})")
        print(f"ready: {base_url} project {stand_in.project_id}", flush=True)
        await stopped.wait()
    print("stopped")
    return 0


def _fail(code: int, problem: str) -> int:
    complain(f"descope-native fake: {problem}")
    return code


def _log_to_standard_error() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("descope_native.testing")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
