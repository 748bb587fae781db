"""Are mistakes noticed? `python tests/mutants.py --count 300 --seed 1 --record mutants.jsonl` takes a sample.

Each mistake is planted in a copy of the tree, and the tests of its subject are run until one fails. A run
that was stopped goes on where its record ends.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator, operator_names

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = "descope_native"
CONTRACT: Final = ("tests/unit", "tests/contract")
NETWORK: Final = ("tests/transports", "tests/contract")

# The beginning of a module's path: the files that notice most, and the folders that hold all of its tests.
SUBJECTS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "testing/transport_contract": (("test_contract_kit",), ("tests/pluggable",)),
    "testing/store_contract": ((), ("tests/single_flight",)),
    "testing/": ((), ("tests/stand_in",)),
    "_cli/": ((), ("tests/cli",)),
    "__main__": ((), ("tests/cli",)),
    "transports/memory": (("test_memory",), NETWORK),
    "transports/recording": (("test_recording",), ("tests/pluggable",)),
    "transports/_lifecycle": (("test_memory", "test_lifecycle"), NETWORK),
    "transports/_aiohttp/framing": (("test_wire",), NETWORK),
    "transports/_aiohttp/internals": (("test_internals", "test_tracing", "test_reuse"), NETWORK),
    "transports/_aiohttp/wire": (("test_wire", "test_reuse"), NETWORK),
    "transports/_aiohttp/outgoing": (("test_tracing", "test_aiohttp", "test_reuse"), NETWORK),
    "transports/_aiohttp/failures": (("test_aiohttp",), NETWORK),
    "transports/aiohttp": (
        ("test_transport_arguments", "test_aiohttp", "test_reuse", "test_borrowed"),
        NETWORK,
    ),
    "transports/httpx": (("test_httpx",), ("tests/pluggable", *NETWORK)),
    "transports/_aiohttp/idle": (("test_idle", "test_reuse"), NETWORK),
    "transports/_aiohttp/warm": (("test_idle",), NETWORK),
    "transports/_aiohttp/proxies": (("test_proxy", "test_socks"), NETWORK),
    "transports/": (("test_seam",), ("tests/unit", *NETWORK)),
    "_service/endpoint": (("test_requests", "test_finisher"), CONTRACT),
    "_service/redaction": (("test_redaction",), CONTRACT),
    "_service/set_cookie": (("test_cookie_mode", "test_clocks"), CONTRACT),
    "_service/times": (("test_statuses", "test_clocks"), CONTRACT),
    "_service/proofs": ((), ("tests/single_flight",)),
    "_service/": (("test_bodies", "test_statuses", "test_answers"), CONTRACT),
    "_call": (("test_finisher", "test_retrying", "test_starter"), CONTRACT),
    "_tokens": (("test_answers", "test_cookies"), CONTRACT),
    "converters": (("test_converters", "test_answers"), CONTRACT),
    "models": (("test_models", "test_requests", "test_starter"), CONTRACT),
    "retrying": (("test_retrying",), CONTRACT),
    "cookies": (("test_cookies",), CONTRACT),
    "errors": (("test_errors",), CONTRACT),
    "http_answer": (("test_http_answer",), CONTRACT),
    "single_flight": ((), ("tests/single_flight",)),
    "": (("test_finisher", "test_starter"), (*CONTRACT, "tests/transports")),
}
SLOW: Final = ("test_ground_truth", "test_httpx_ground_truth", "test_soak")
ENVIRONMENT: Final = {
    "HYPOTHESIS_EXAMPLES": "30",
    "HARNESS_CALLS": "500",
    "PYTEST_XDIST_AUTO_NUM_WORKERS": "1",
}
PYTEST: Final = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not apps")

Mutant = dict[str, Any]


def mutants_of(tree: Path) -> Iterator[Mutant]:
    """All that cosmic-ray knows to plant without being told more."""
    operators = {
        name: operator() for name in operator_names() if not (operator := get_operator(name)).arguments()
    }
    for path in sorted((tree / PACKAGE).rglob("*.py")):
        nodes = list(ast_nodes(get_ast_from_path(path)))
        for name, operator in sorted(operators.items()):
            places = (start for node in nodes for start, _ in operator.mutation_positions(node))
            for occurrence, (line, _) in enumerate(places):
                module = str(path.relative_to(tree / PACKAGE))
                yield {"module": module, "operator": name, "occurrence": occurrence, "line": line}


def sample(tree: Path, record: Path, count: int, seed: int, only: str) -> list[Mutant]:
    """The same each time for one record, which remembers it."""
    remembered = record.with_suffix(".sample.json")
    if remembered.exists():
        chosen: list[Mutant] = json.loads(remembered.read_text(encoding="utf-8"))
    else:
        mutants = [each for each in mutants_of(tree) if each["module"].startswith(only)]
        chosen = random.Random(seed).sample(mutants, min(count, len(mutants)))
        remembered.write_text(json.dumps(chosen), encoding="utf-8")
    return chosen


def tests_of(tree: Path, module: str) -> Iterator[list[str]]:
    """First the files that notice most mistakes in a module, then all the others of its subject."""
    first, folders = next(subject for start, subject in SUBJECTS.items() if module.startswith(start))
    files = {
        file for folder in folders for file in (tree / folder).glob("test_*.py") if file.stem not in SLOW
    }
    near = sorted(file for file in files if file.stem.startswith(first))
    yield [str(file) for file in near]
    yield [str(file) for file in sorted(files.difference(near))]


@contextmanager
def planted(tree: Path, mutant: Mutant, moment: int) -> Iterator[bool]:
    """Its moment is the file's age, or Python would take what it has compiled of another mistake."""
    path = tree / PACKAGE / mutant["module"]
    operator = get_operator(mutant["operator"])()
    with use_mutation(path, operator, mutant["occurrence"]) as (before, after):
        os.utime(path, (moment, moment))
        yield after is not None and after != before
    os.utime(path, (moment + 1, moment + 1))


def is_killed(tree: Path, module: str) -> bool:
    """Whether a test of its subject fails, or takes for ever."""
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(tree)}
    for files in tests_of(tree, module):
        if not files:
            continue
        command = [sys.executable, *PYTEST, *files]
        try:
            done = subprocess.run(
                command, cwd=tree, env=environment, capture_output=True, check=False, timeout=400
            )
        except subprocess.TimeoutExpired:
            return True
        if done.returncode:
            return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/mutants.py")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path, default=Path("mutants.jsonl"))
    parser.add_argument("--only", default="", help="modules whose path begins so")
    arguments = parser.parse_args()
    seen: list[Mutant] = []
    if arguments.record.exists():
        seen = [json.loads(line) for line in arguments.record.read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        ignored = shutil.ignore_patterns(".*", "build", "dist", "__pycache__")
        shutil.copytree(ROOT, tree, ignore=ignored)
        chosen = sample(tree, arguments.record, arguments.count, arguments.seed, arguments.only)
        for number, mutant in enumerate(chosen[len(seen) :], len(seen)):
            started = time.monotonic()
            with planted(tree, mutant, 1_000_000_000 + 2 * number) as is_planted:
                outcome = "none"
                if is_planted:
                    outcome = "killed" if is_killed(tree, mutant["module"]) else "survived"
            seen.append({**mutant, "outcome": outcome, "seconds": round(time.monotonic() - started, 1)})
            with arguments.record.open("a", encoding="utf-8") as record:
                record.write(json.dumps(seen[-1]) + "\n")
    counted = Counter(each["outcome"] for each in seen)
    for each in seen:
        if each["outcome"] == "survived":
            print("{module}:{line} {operator} #{occurrence}".format(**each))
    total = counted["killed"] + counted["survived"]
    share = counted["killed"] / max(total, 1)
    print(f"{counted['killed']} of {total} noticed ({share:.1%}), seed {arguments.seed}")


if __name__ == "__main__":
    main()
