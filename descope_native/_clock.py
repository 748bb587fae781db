"""The event loop that runs here, and its clock, by which every deadline is kept."""

import asyncio
import time


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of this thread. There is none in the child of a fork, even within a coroutine."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def now() -> float:
    """Seconds of the event loop's own clock. Looked up late, since tests freeze and move clocks."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:  # the transport says what is wrong with that
        return time.monotonic()
