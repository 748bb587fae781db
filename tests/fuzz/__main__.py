"""`python -m tests.fuzz --examples 100000 [--seed N] [--only "Retry-After"]`: long runs by hand."""

import argparse
import secrets
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from hypothesis import HealthCheck, given, seed, settings  # noqa: E402 -- see above
from targets import PURE, Exchange, raw_answers  # noqa: E402 -- see above


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

                def promise(target=target, **given_values):  # type: ignore[no-untyped-def]
                    target(**given_values)

                seed(arguments.seed)(long(given(**inputs)(promise)))()
                seconds = time.monotonic() - started
                print(f"{name}: {arguments.examples} examples, seed {arguments.seed}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
