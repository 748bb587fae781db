"""Which module may import which: every arrow points one way."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import descope_native

PACKAGE = Path(descope_native.__file__).parent

# The design's table, by module; what is a package within stands for all its modules.
ARROWS: dict[str, set[str]] = {
    "_version": set(),
    "_numbers": set(),
    "errors": set(),
    "transports": {"errors"},
    "transports._lifecycle": {"_clock", "_numbers", "errors", "transports"},
    "transports._aiohttp_failures": {"errors", "transports._aiohttp_wire"},
    "transports._aiohttp_outgoing": {"transports", "transports._aiohttp_wire"},
    "transports._aiohttp_wire": set(),
    "transports.aiohttp": {
        "_clock",
        "_numbers",
        "errors",
        "transports",
        "transports._aiohttp_failures",
        "transports._aiohttp_outgoing",
        "transports._aiohttp_wire",
        "transports._lifecycle",
    },
    "transports.memory": {"errors", "transports", "transports._lifecycle"},
    "_clock": set(),
    "_tokens": set(),
    "models": {"_tokens", "errors"},
    "converters": {"_tokens", "models"},
    "_redaction": {"models"},
    "_exchange": {"_redaction", "_tokens", "_version", "converters", "errors", "models", "transports"},
    "retrying": {"_clock", "_numbers", "errors"},
    "finisher": {
        "_clock",
        "_exchange",
        "_numbers",
        "errors",
        "models",
        "retrying",
        "transports",
        "transports._lifecycle",
        "transports.aiohttp",
    },
    "cookies": {"_tokens", "models"},
    "http_status": {"errors"},
    "testing": {"transports"},
    "": {
        "_version",
        "errors",
        "finisher",
        "models",
        "retrying",
        "transports",
        "transports.aiohttp",
        "transports.memory",
    },
    "__main__": {"", "converters", "testing"},
}

# Who knows a library that only few may know. attrs and yarl are everybody's.
OUTSIDE: dict[str, set[str]] = {
    "aiohttp": {
        "transports.aiohttp",
        "transports._aiohttp_failures",
        "transports._aiohttp_outgoing",
        "transports._aiohttp_wire",
        "testing",
    },
    "cattrs": {"converters"},
    "tenacity": {"retrying"},
    "joserfc": {"testing"},
}
EVERYBODYS = {"attrs", "yarl"}


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
    """Each module imports those that the table allows, and the table allows nothing that is not there."""
    found: dict[str, set[str]] = {}
    for name, tree in modules():
        part = "testing" if name.split(".")[0] == "testing" else name
        for module in imported(tree):
            if module.split(".")[0] == "descope_native":
                target = module.removeprefix("descope_native").removeprefix(".")
                target = "testing" if target.split(".")[0] == "testing" else target
                if target != part:
                    found.setdefault(part, set()).add(target)
        found.setdefault(part, set())
    assert found == ARROWS


def test_the_arrows_go_round_in_no_circle() -> None:
    """Whoever reads the modules in the table's order meets nothing that was not explained before."""
    # The finisher loads the network's transport within `open` only, so that importing it does not.
    left = {name: targets - {"transports.aiohttp"} for name, targets in ARROWS.items()}
    while left:
        free = {name for name, targets in left.items() if not targets & left.keys()}
        assert free, f"a circle among {left}"
        left = {name: targets for name, targets in left.items() if name not in free}


def test_each_third_party_is_known_to_few() -> None:
    """Only one module knows the network's library, one the converter's, one the retrying one."""
    known: dict[str, set[str]] = {}
    for name, tree in modules():
        part = "testing" if name.split(".")[0] == "testing" else name
        for module in imported(tree):
            top = module.split(".")[0]
            if top not in sys.stdlib_module_names and top != "descope_native":
                known.setdefault(top, set()).add(part)
    assert {library: parts for library, parts in known.items() if library not in EVERYBODYS} == OUTSIDE


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
    assert not {"aiohttp", "cattrs", "yarl", "tenacity", "joserfc"} & loaded
    assert not {name for name in loaded if name.startswith("descope_native.testing")}
    assert "descope_native.transports.aiohttp" not in loaded


def test_the_transport_is_loaded_by_its_name() -> None:
    """`descope_native.AiohttpTransport` is there for whoever asks, and brings aiohttp."""
    loaded = loaded_by("import descope_native; descope_native.AiohttpTransport")
    assert {"aiohttp", "descope_native.transports.aiohttp"} <= loaded


@pytest.mark.parametrize("module", sorted(set(ARROWS) - {"", "testing", "__main__"}))
def test_each_module_can_be_imported_first(module: str) -> None:
    """No order of imports is needed."""
    assert f"descope_native.{module}" in loaded_by(f"import descope_native.{module}")
