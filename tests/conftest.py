"""How async tests are run, and over what the contract suite runs."""

import asyncio
import importlib
import inspect
import os
import signal

import hypothesis
import pytest
from kit.support import Answering, answering_in_memory, answering_over_aiohttp

hypothesis.settings.register_profile(
    "here",
    deadline=None,
    database=None,
    print_blob=True,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "100")),
)
hypothesis.settings.load_profile("here")

# nox -s tests-transports says which; None is asyncio's own.
LOOP = os.environ.get("TEST_LOOP")
LOOP_FACTORY = importlib.import_module(LOOP).new_event_loop if LOOP else None

# A shell starts what is to run in the background with SIGINT ignored, and a child of ours would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test on an event loop of its own, which it must leave without a task."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def run() -> None:
        async with asyncio.timeout(300):  # a test that hangs is a test that fails
            await pyfuncitem.obj(**arguments)
        for _ in range(10):  # what was closed just now may take a few turns of the loop to end
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"the test left {len(left)} tasks behind: {left}"

    with asyncio.Runner(debug=False, loop_factory=LOOP_FACTORY) as runner:
        runner.run(run())
    return True


@pytest.fixture(params=["memory", "aiohttp"])
def answering(request: pytest.FixtureRequest) -> Answering:
    """`async with answering(Answer(...), ...) as service:`, over each transport in turn."""
    return {"memory": answering_in_memory, "aiohttp": answering_over_aiohttp}[request.param]
