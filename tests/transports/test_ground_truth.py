"""Random faults, deadlines and cancellations, judged by what the servers really received.

`HARNESS_CALLS` makes it longer, `HARNESS_SEED` repeats a run; `python -m tests.harness` prints figures.
"""

import os
import secrets
import sys
from typing import Any

import pytest
from harness import guards
from harness.run import run

pytestmark = pytest.mark.harness

CALLS = int(os.environ.get("HARNESS_CALLS", "20000"))
SEED = int(os.environ.get("HARNESS_SEED", str(secrets.randbits(32))))


@pytest.mark.parametrize("eager", [False, True] if sys.version_info >= (3, 12) else [False])
@pytest.mark.parametrize(
    ("share", "options"),
    [
        (0.2, {}),
        (0.1, {"tls": True}),
        (0.05, {"reuse": False}),
        (0.05, {"tls": True, "reuse": False}),
        (0.1, {"tls": True, "keep_warm": True, "idle": 0.2}),
    ],
    ids=["plain", "TLS", "fresh connections", "fresh connections over TLS", "kept warm, idle limit"],
)
async def test_no_fault_makes_an_error_lie_a_token_stray_or_a_code_go_twice(
    share: float, options: dict[str, Any], eager: bool
) -> None:
    """20,000 calls in all: the label agrees with the servers' record, and nothing is left over or told."""
    if sys.version_info < (3, 12):
        share *= 2  # there are no eager tasks
    ends: set[str] = set()
    for patience in (
        0.3,
        1.2,
        4.8,
    ):  # on a busy machine, in less, calls end by their deadline and no other way
        calls = round(CALLS * share)
        figures = await run(calls, SEED, eager=eager, patience=patience, **options)
        print(figures)
        assert figures.violations == []
        assert figures.calls == calls
        ends |= figures.ends.keys()
        if len(ends) > 5:
            break
    assert len(ends) > 5  # the faults were not all of one kind, even in the 100 calls of a short run


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, missing in guards.MISSING.items() if not missing.where_writes_are_held_back]
)
async def test_the_harness_notices_each_guard_that_is_missing(name: str) -> None:
    """With one guard away the same faults break the same promises, so a clean run means something.

    Two guards are for loops that hold writes back: `nox -s harness-loops` switches these off.
    """
    assert await guards.violations_without(guards.MISSING[name])
