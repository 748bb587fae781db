"""`python -m tests.fuzz --examples 100000 [--seed N] [--only "Retry-After"]`: long runs by hand."""

import argparse
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from hypothesis import HealthCheck, given, seed, settings  # noqa: E402 -- see above
from targets import PURE, Exchange, raw_answers  # noqa: E402 -- see above


def plain(target: Callable[..., None]) -> Callable[..., None]:
    """As a function: hypothesis does not take bound methods."""

    def promise(**inputs: Any) -> None:
        target(**inputs)

    return promise


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--examples", type=int, default=100_000, help="of each target")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--only", choices=["raw answer", *PURE])
    arguments = parser.parse_args()
    long = settings(
        max_examples=arguments.examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    with Exchange() as exchange:
        targets = {"raw answer": (exchange.raw_answer, {"packets": raw_answers()}), **PURE}
        for name, (target, inputs) in targets.items():
            if arguments.only in {None, name}:
                started = time.monotonic()
                seed(arguments.seed)(long(given(**inputs)(plain(target))))()
                seconds = time.monotonic() - started
                figures = f"{arguments.examples} examples, seed {arguments.seed}, {seconds:.0f} s"
                print(f"{name}: {figures}", flush=True)


if __name__ == "__main__":
    main()
