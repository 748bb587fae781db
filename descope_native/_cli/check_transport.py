"""``check-transport``: what every transport has to hold, tried on somebody's own."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from descope_native._cli.output import BAD_INPUT, FAILED, complain

if TYPE_CHECKING:
    from descope_native.testing.transport_contract import OpenTransport, Promises


def check_transport(options: argparse.Namespace) -> int:
    """Run all checks that its promises ask for, and print which hold."""
    try:
        from descope_native.testing.transport_contract import Promises, load  # noqa: PLC0415 -- an extra
    except ImportError:
        return _fail("the checks need more: pip install 'descope_native[testing]'")
    known = attrs.fields_dict(Promises)
    if not known.keys() >= set(options.without):
        return _fail(f"--not is one of {', '.join(known)}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        open_transport = load(options.transport)
    except ValueError as error:
        return _fail(str(error))
    promises = Promises(**dict.fromkeys(options.without, False))
    return asyncio.run(_print_table(open_transport, promises))


async def _print_table(open_transport: "OpenTransport", promises: "Promises") -> int:
    from descope_native.testing.transport_contract import check  # noqa: PLC0415 -- as above

    broken = count = 0
    async for case, seen in check(open_transport, promises):
        count += 1
        if seen is None:
            print(f"holds   {case}", flush=True)
        else:
            broken += 1
            print(f"BROKEN  {case}\n        {case.sentence}\n        Seen: {seen}", flush=True)
    print(f"{count - broken} of {count} hold")
    return FAILED if broken else 0


def _fail(problem: str) -> int:
    complain(f"descope-native check-transport: {problem}")
    return BAD_INPUT
