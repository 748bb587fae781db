"""What the package weighs: the time its import takes, and the memory its results keep."""

import gc
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any, Final

from benchmarks.answer import answer, as_body
from benchmarks.decode import our_decode
from benchmarks.measure import Ratio, Settings, installed, interleaved, main, ratio

OURS: Final = "import descope_native"
OFFICIAL: Final = "import descope"
DEPENDENCIES: Final = "import asyncio, attrs"
OURS_READY: Final = "ready to call: import, finisher and transport"
OFFICIAL_READY: Final = "import descope and make its client"

STATEMENTS: Final = {
    OURS: OURS,
    DEPENDENCIES: DEPENDENCIES,
    OURS_READY: "import descope_native as d; d.NativeOAuthFinisher('P2', d.AiohttpTransport)",
}
PEER: Final = {
    OFFICIAL: OFFICIAL,
    OFFICIAL_READY: "import descope as d; d.DescopeClientAsync('P2abcdefghijklmnopqrstuvwxyz')",
}

TIMED: Final = "import time; start = time.process_time(); {}; print(time.process_time() - start)"
LOADED: Final = "import sys, descope_native; sys.exit('aiohttp' in sys.modules)"


def weight(settings: Settings) -> list[Ratio]:
    assert subprocess.run([sys.executable, "-c", LOADED], check=False).returncode == 0, "aiohttp is loaded"
    statements = {**STATEMENTS, **(PEER if installed("descope") else {})}
    candidates = {name: importing(statement) for name, statement in statements.items()}
    costs = interleaved("import", candidates, settings.rounds(20))
    ratios = []
    if OFFICIAL in costs:
        ratios = [
            ratio("weight", f"{OURS} ÷ {OFFICIAL}", costs, (OURS, OFFICIAL), 0.4, unit="ms"),
            ratio(
                "weight", f"asyncio and attrs alone ÷ {OFFICIAL}", costs, (DEPENDENCIES, OFFICIAL), unit="ms"
            ),
            ratio(
                "weight", f"{OURS_READY} ÷ {OFFICIAL_READY}", costs, (OURS_READY, OFFICIAL_READY), unit="ms"
            ),
        ]
    body = as_body(answer())
    kept = {
        "a result": lambda: retained(lambda: our_decode(body), settings.times(1000)),
        "plain dicts": lambda: retained(lambda: json.loads(body), settings.times(1000)),
    }
    costs = interleaved("memory", kept, settings.rounds(5))
    name = "retained memory: a result ÷ plain dicts"
    return [*ratios, ratio("weight", name, costs, ("a result", "plain dicts"), 0.6, unit="B")]


def importing(statement: str) -> Callable[[], float]:
    """CPU seconds of an import, in an interpreter of its own."""
    command = [sys.executable, "-c", TIMED.format(statement)]
    return lambda: float(subprocess.run(command, check=True, capture_output=True).stdout)


def retained(make: Callable[[], Any], times: int) -> float:
    """Bytes that one of these keeps, its strings included."""
    kept: list[Any] = [None] * times
    gc.collect()
    tracemalloc.start()
    for index in range(times):
        kept[index] = make()
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / times


if __name__ == "__main__":
    main(weight)
