"""The one clock that deadlines are kept by."""

import asyncio
import time


def now() -> float:
    """Seconds of the event loop's own clock. Looked up late, since tests freeze and move clocks."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:  # the transport says what is wrong with that
        return time.monotonic()
