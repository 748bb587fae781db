"""Random faults over `HttpxTransport`, judged by what the servers really received.

`HARNESS_CALLS` and `HARNESS_SEED` are those of the harness, with fewer calls unless told, since each opens
a connection. What this transport does not promise is not
asked for: nothing is reused, and no server speaks before it is asked. Tasks are not eager: anyio, which
httpx2 stands on, knows asyncio's own eager task factory and no other.
"""

import os
import secrets

import pytest
from harness.run import run

from descope_native.transports.httpx import HttpxTransport

pytestmark = pytest.mark.slow

CALLS = int(os.environ.get("HARNESS_CALLS", "2000"))
SEED = int(os.environ.get("HARNESS_SEED", str(secrets.randbits(32))))


@pytest.mark.parametrize("part", range(6))
async def test_no_fault_makes_httpx_lie(part: int) -> None:
    """2,000 calls in all, a third over TLS: what is said of each agrees with the servers' record."""
    calls = round(CALLS / 6)
    figures = await run(
        calls,
        SEED + part,
        tls=part % 3 == 2,
        reuse=False,
        open_transport=HttpxTransport.open,
        patience=1.5,
    )
    print(figures)
    assert figures.violations == []
    assert figures.calls == calls
    assert len(figures.ends) > 5  # the faults were not all of one kind
