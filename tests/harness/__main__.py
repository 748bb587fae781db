"""`python -m tests.harness --calls 500000 --seed 1`: a longer run than the gate has time for."""

import argparse
import asyncio
import secrets
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests import each other by their bare names

from harness import guards
from harness.loops import new_event_loop
from harness.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness")
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--tls-share", type=float, default=0.2, help="of the calls (default 0.2)")
    parser.add_argument(
        "--fresh-share", type=float, default=0.1, help="without reuse, strays in flight (0.1)"
    )
    parser.add_argument(
        "--trade",
        action="store_true",
        help="strays in flight on reused and on fresh connections: what only the latter exclude",
    )
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--eager", action="store_true", help="with eager tasks (Python 3.12 and later)")
    parser.add_argument(
        "--guards",
        nargs="?",
        const="all",
        choices=["all", "held-back"],
        help="switch each guard off, or each for loops that hold writes back; each must be noticed",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=0.3,
        help="seconds of four deadlines in five; more on a busy machine",
    )
    parser.add_argument("--keep-warm", action="store_true", help="keep a connection ready")
    parser.add_argument("--idle", type=float, help="seconds after which the server ends an idle connection")
    arguments = parser.parse_args()
    loop_factory = partial(new_event_loop, arguments.loop)
    if arguments.guards:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(_try_guards(only_held_back=arguments.guards == "held-back"))
    violations = 0
    runs: tuple[tuple[str, float, dict[str, Any]], ...] = (
        ("plain", 1 - arguments.tls_share - arguments.fresh_share, {}),
        ("TLS", arguments.tls_share, {"tls": True}),
        ("fresh connections, strays in flight", arguments.fresh_share / 2, {"reuse": False}),
        ("the same over TLS", arguments.fresh_share / 2, {"reuse": False, "tls": True}),
    )
    if arguments.trade:
        runs = (
            ("reused connections, strays in flight", 0.5, {"strays_in_flight": True}),
            ("fresh connections, strays in flight", 0.5, {"reuse": False}),
        )
    for name, share, options in runs:
        print(f"--- {name}", flush=True)
        calls = round(arguments.calls * share)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            figures = runner.run(
                run(
                    calls,
                    arguments.seed,
                    eager=arguments.eager,
                    progress=True,
                    patience=arguments.patience,
                    keep_warm=arguments.keep_warm,
                    idle=arguments.idle,
                    **options,
                )
            )
        print(figures, flush=True)
        violations += len(figures.violations)
    return 1 if violations else 0


async def _try_guards(*, only_held_back: bool) -> int:
    """How many are switched off and not missed."""
    unnoticed = 0
    is_held = await guards.holds_writes_back()
    for name, missing in guards.MISSING.items():
        if missing.where_writes_are_held_back and not is_held:
            print(f"{name}: this event loop writes at once")
            continue
        if only_held_back and not missing.where_writes_are_held_back:
            continue
        violations = await guards.violations_without(missing)
        print(f"{name}: {len(violations)} times {missing.notices!r}", flush=True)
        unnoticed += not violations
    return unnoticed


if __name__ == "__main__":
    sys.exit(main())
