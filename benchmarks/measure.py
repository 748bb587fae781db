"""Interleaved rounds, ratios with their spread, goals and verdicts.

The machine drifts, and so does what else runs on it. So all candidates take turns within one run, each
round gives one ratio, and what is printed is the median of those with its quartiles.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import attrs

Costs = dict[str, list[float]]
"""What each candidate cost, round by round."""

PEERS: Final = ("descope", "httpx", "pydantic")
LIBRARIES: Final = ("aiohttp", "attrs", "cattrs", "yarl", "multidict", *PEERS)


@attrs.frozen
class Ratio:
    """One line of the table."""

    subject: str
    measure: str
    value: float
    low: float
    high: float
    goal: float | None
    sense: Literal["<=", ">="]
    medians: dict[str, float]
    """What the two cost, in this unit."""
    unit: str

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        reached = self.value <= self.goal if self.sense == "<=" else self.value >= self.goal
        return "reached" if reached else "missed"


@attrs.frozen
class Settings:
    quick: bool = False
    report: dict[str, Any] = attrs.Factory(dict)
    """What a subject leaves here is written beside its ratios."""

    def rounds(self, usual: int) -> int:
        return 3 if self.quick else usual

    def times(self, usual: int) -> int:
        return max(usual // 50, 2) if self.quick else usual


def interleaved(title: str, candidates: Mapping[str, Callable[[], float]], rounds: int) -> Costs:
    """Let each candidate measure itself once per round, in turning order."""
    costs: Costs = {name: [] for name in candidates}
    names = list(candidates)
    for name in names:
        candidates[name]()  # a first time for caches, connections and the interpreter's own warming up
    for number in range(rounds):
        progress(title, number + 1, rounds)
        for name in names:
            costs[name].append(candidates[name]())
        names.append(names.pop(0))
    return costs


def cpu_per_call(call: Callable[[], object], times: int) -> Callable[[], float]:
    """A candidate that costs CPU seconds of this process, per call."""

    def measure() -> float:
        start = time.process_time()
        for _ in range(times):
            call()
        return (time.process_time() - start) / times

    return measure


def ratio(
    subject: str,
    measure: str,
    costs: Costs,
    over: tuple[str, str],
    goal: float | None = None,
    sense: Literal["<=", ">="] = "<=",
    unit: str = "µs",
) -> Ratio:
    """The first of ``over`` divided by the second, round by round."""
    top, bottom = over
    ratios = [a / b for a, b in zip(costs[top], costs[bottom], strict=True)]
    low, value, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    medians = {name: statistics.median(costs[name]) * _UNITS[unit] for name in over}
    return Ratio(subject, measure, value, low, high, goal, sense, medians, unit)


_UNITS: Final = {"µs": 1e6, "ms": 1e3, "calls/s": 1, "B": 1, "MiB": 2.0**-20}


def progress(title: str, number: int, rounds: int) -> None:
    """One line that is written over, or, where that cannot be, one at the start."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{title}: round {number} of {rounds} ", end="", file=sys.stderr, flush=True)
        if number == rounds:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    elif number == 1:
        print(f"{title}: {rounds} rounds", file=sys.stderr, flush=True)


def table(ratios: list[Ratio]) -> str:
    rows = [("subject", "ratio of", "median", "quartiles", "goal", "verdict", "medians")]
    rows += [
        (
            r.subject,
            r.measure,
            f"{r.value:.3g}",
            f"{r.low:.3g} – {r.high:.3g}",
            "" if r.goal is None else f"{r.sense} {r.goal:g}",
            r.verdict,
            " ÷ ".join(f"{median:.4g}" for median in r.medians.values()) + f" {r.unit}",
        )
        for r in ratios
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def machine() -> dict[str, Any]:
    """What the figures came from."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
        "date": time.strftime("%Y-%m-%d"),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed(peer: str) -> bool:
    """Whether a peer is there to measure against; what it would have been measured for is left out if not."""
    return _version(peer) is not None


def main(*subjects: Callable[[Settings], list[Ratio]]) -> None:
    """Run subjects, print their table, and write it for machines where asked to."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table to this file as well")
    arguments = parser.parse_args()
    ratios: list[Ratio] = []
    settings = Settings(quick=arguments.quick)
    for subject in subjects:
        ratios += subject(settings)
    facts = machine()
    print(table(ratios))
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    print(f"\n{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}, {libraries}")
    if missing := [peer for peer in PEERS if not installed(peer)]:
        print(f"Not installed, so not measured against: {', '.join(missing)}")
    if arguments.json:
        save(arguments.json, ratios, {**settings.report, "machine": facts, "quick": arguments.quick})


def save(path: Path, ratios: list[Ratio], report: dict[str, Any]) -> None:
    """Write a run. What another run has written of other subjects stays."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"ratios": []}
    measured = {line.subject for line in ratios}
    lines = [line for line in kept["ratios"] if line["subject"] not in measured]
    lines += [{**attrs.asdict(line), "verdict": line.verdict} for line in ratios]
    report = {**kept, **report, "ratios": lines}
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
