"""Which module may import which: every arrow points one way."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import descope_native

PACKAGE = Path(descope_native.__file__).parent

# By module, or by package for all that is in it: what it may import of ours. A module stands below all that
# it may import, so the table cannot go round in a circle.
ARROWS: dict[str, set[str]] = {
    "_version": set(),
    "_numbers": set(),
    "_clock": set(),
    "_tokens": set(),
    "_providers": set(),
    "errors": set(),
    "transports": {"errors"},
    "transports._lifecycle": {"_clock", "_numbers", "errors", "transports"},
    "transports._aiohttp": {"_clock", "errors", "transports", "transports._lifecycle"},
    "transports.aiohttp": {
        *("_clock", "_numbers", "errors", "transports", "transports._aiohttp", "transports._lifecycle")
    },
    "transports.memory": {"errors", "transports", "transports._lifecycle"},
    "transports.httpx": {"_clock", "_numbers", "errors", "transports", "transports._lifecycle"},
    "transports.recording": {
        *("_providers", "errors", "transports", "transports._lifecycle", "transports.memory")
    },
    "models": {"_tokens", "errors"},
    "converters": {"_tokens", "models"},
    "_service": {"_tokens", "_version", "converters", "errors", "models", "transports"},
    "events": {"errors", "models"},
    "http_answer": {"errors"},
    "single_flight": {"_clock", "_numbers", "errors"},
    "retrying": {"_clock", "_numbers", "errors"},
    "_call": {
        *("_clock", "_numbers", "_providers", "_service", "errors", "events", "http_answer", "models"),
        "retrying",
        *("single_flight", "transports", "transports._lifecycle", "transports.aiohttp"),
    },
    "finisher": {"_call", "_service", "errors", "models"},
    "starter": {"_call", "_service", "errors", "models"},
    "cookies": {"_tokens", "models"},
    "testing": {"errors", "single_flight", "transports", "transports._aiohttp"},
    "": {
        *("_version", "errors", "events", "finisher", "models", "retrying", "starter", "transports"),
        *("single_flight", "transports.aiohttp", "transports.memory"),
    },
    "_cli": {"", "converters", "testing", "transports.recording"},
    "__main__": {"", "_cli"},
}
PACKAGES = ("_cli", "_service", "single_flight", "testing", "transports._aiohttp")

# Who may know a library. attrs and yarl are everybody's.
OUTSIDE: dict[str, set[str]] = {
    "aiohttp": {"transports.aiohttp", "transports._aiohttp", "testing"},
    "httpx2": {"transports.httpx"},
    "cattrs": {"converters"},
    "tenacity": {"retrying"},
    "cryptography": {"single_flight"},
    "joserfc": {"testing"},
    "trustme": {"testing"},
    "attrs": set(ARROWS),
    "yarl": set(ARROWS),
}


def part_of(module: str) -> str:
    """The row of the table that a module belongs to."""
    return next((name for name in PACKAGES if f"{module}.".startswith(f"{name}.")), module)


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts).removesuffix("__init__").rstrip(".")
        yield name, ast.parse(path.read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    """The modules that a module names in any import, also within functions and for type checkers only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


def test_imports_follow_the_arrows() -> None:
    """A module imports nothing of ours but what the table allows."""
    wrong = [
        f"{name or 'descope_native'} imports {target or 'descope_native'}"
        for name, tree in modules()
        for module in imported(tree)
        if module.split(".")[0] == "descope_native"
        if (target := part_of(module.removeprefix("descope_native").removeprefix("."))) != part_of(name)
        if target not in ARROWS.get(part_of(name), ())
    ]
    assert wrong == [], "a new module needs a row in ARROWS"


def test_the_arrows_go_round_in_no_circle() -> None:
    """Whoever reads the modules in the table's order meets nothing that was not explained before."""
    above: set[str] = set()
    for name, targets in ARROWS.items():
        assert targets <= above, name
        above.add(name)


def test_each_third_party_is_known_to_few() -> None:
    """Only one module knows the network's library, one the converter's, one the retrying one."""
    wrong = [
        f"{name or 'descope_native'} imports {library}"
        for name, tree in modules()
        for library in {module.split(".")[0] for module in imported(tree)}
        if library not in sys.stdlib_module_names and library != "descope_native"
        if part_of(name) not in OUTSIDE[library]
    ]
    assert wrong == []


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after this code."""
    code = f"{code}\nimport sys; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_neither_the_network_nor_the_testing_kit() -> None:
    """Nor any extra: whoever brings a transport pays for no other."""
    loaded = loaded_by("import descope_native")
    assert "descope_native.finisher" in loaded
    assert not {"aiohttp", "tenacity", "joserfc", "trustme", "httpx2"} & loaded
    assert not {name for name in loaded if name.startswith("descope_native.testing")}
    assert "descope_native.transports.aiohttp" not in loaded


def test_the_transport_is_loaded_by_its_name() -> None:
    """`descope_native.AiohttpTransport` is there for whoever asks, and brings aiohttp."""
    loaded = loaded_by("import descope_native; descope_native.AiohttpTransport")
    assert {"aiohttp", "descope_native.transports.aiohttp"} <= loaded


@pytest.mark.parametrize("module", sorted(name for name, _ in modules() if name not in {"", "__main__"}))
def test_each_module_can_be_imported_first(module: str) -> None:
    """No order of imports is needed."""
    assert f"descope_native.{module}" in loaded_by(f"import descope_native.{module}")
