"""Random faults, deadlines, cancellations, kills and outages over a fleet of worker processes.

`HARNESS_CALLS` makes it longer, `HARNESS_SEED` repeats a run; `python tests/single_flight/fleet.py` prints
figures.
"""

import os
import re
import secrets

import pytest
from fleet import run
from store_servers import PROGRAMS

pytestmark = pytest.mark.slow

SUBMITS = int(os.environ.get("HARNESS_CALLS", "20000"))
SEED = int(os.environ.get("HARNESS_SEED", str(secrets.randbits(32))))


@pytest.mark.parametrize("store", PROGRAMS)
async def test_no_code_is_sent_twice_whatever_happens(store: str) -> None:
    """And whoever gets a session gets that proof's; only documented errors; all in time; nothing readable."""
    figures = await run(SUBMITS * 3 // 4 // len(PROGRAMS), SEED, store=store)
    print(figures)
    assert figures.violations == []
    assert {"session", "CancelledError ", "RequestTimeout unknown"} <= figures.ends.keys()


async def test_nor_where_a_store_that_is_away_is_no_reason_to_refuse() -> None:
    """The default: as long as the store is there, the promises are the same."""
    figures = await run(
        SUBMITS // 4, SEED, store="valkey", when_store_fails="send", store_timeout=60, has_outages=False
    )
    print(figures)
    assert figures.violations == []


async def test_nor_anything_else_where_the_store_is_away_and_a_proof_goes_out_unguarded() -> None:
    """The default. A code may be sent again then; all other promises hold, and every call ends in time."""
    figures = await run(SUBMITS // 4, SEED, store="valkey", when_store_fails="send")
    print(figures)
    assert figures.violations == []
    assert figures.outages


@pytest.mark.slow
@pytest.mark.parametrize(
    ("without", "expected"),
    [
        ("claim", "a spent code was sent again"),
        ("cancellation", "a session that was given did not reach a caller"),
        ("outcome", "a spent code was sent again"),
        ("seal", "a secret is in the store"),
    ],
)
async def test_each_guard_that_is_missing_is_noticed(without: str, expected: str) -> None:
    """With one guard away the same troubles break the same promises, so a clean run means something."""
    for batch in range(5):  # how soon two workers meet is up to the machine
        figures = await run(2000, SEED + batch, store="valkey", has_outages=False, without=without)
        print(figures)
        if any(re.search(expected, violation) for violation in figures.violations):
            return
    pytest.fail(f"10,000 submits without {expected!r}")
