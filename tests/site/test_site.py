"""The site that `nox -s docs` has built, its warnings being errors, documents every public name."""

import importlib
import inspect
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SITE: Final = ROOT / "build" / "site"
PUBLIC: Final = (
    "descope_native",
    "descope_native.converters",
    "descope_native.cookies",
    "descope_native.errors",
    "descope_native.events",
    "descope_native.finisher",
    "descope_native.http_answer",
    "descope_native.models",
    "descope_native.retrying",
    "descope_native.single_flight",
    "descope_native.starter",
    "descope_native.testing",
    "descope_native.testing.store_contract",
    "descope_native.testing.transport_contract",
    "descope_native.transports",
    "descope_native.transports.aiohttp",
    "descope_native.transports.httpx",
    "descope_native.transports.memory",
    "descope_native.transports.recording",
)
WORDS: Final = {"__version__"}  # which the changelog explains


def documented() -> set[str]:
    """The names that the site's inventory has, which other sites link to (Sphinx's format, version 2)."""
    inventory = (SITE / "objects.inv").read_bytes()
    header = re.match(rb"(?:#.*\n){4}", inventory)
    assert header
    lines = zlib.decompress(inventory[header.end() :]).decode().splitlines()
    return {line.split()[0] for line in lines}


def public_names(module: str) -> Iterator[str]:
    """What a module says is public, and the methods of these classes, also of bases that are not public."""
    for name in set(importlib.import_module(module).__all__) - WORDS:
        yield f"{module}.{name}"
        thing: Any = getattr(importlib.import_module(module), name)
        if not inspect.isclass(thing):
            continue
        for cls in inspect.getmro(thing):
            if cls is thing or cls.__module__.startswith("descope_native._"):
                yield from (f"{module}.{name}.{member}" for member in methods(cls))


def methods(cls: type) -> list[str]:
    return [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_")
        if inspect.isfunction(value) or isinstance(value, property | classmethod)
    ]


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_documented(module: str) -> None:
    """By the name under which it is imported; those that are loaded late among them."""
    assert sorted(set(public_names(module)) - documented()) == []


def test_every_module_with_public_names_is_looked_at() -> None:
    """A new one is not forgotten here."""
    package = Path(str(importlib.import_module("descope_native").__file__)).parent
    having_names = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in package.rglob("*.py")
        if re.search(r"^__all__ = ", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {name for name in having_names if "._" not in name} == set(PUBLIC)


def test_nothing_is_fetched_from_elsewhere() -> None:
    """No page loads a font or a script from another host, so it reads without a network and tells nobody."""
    loads = re.compile(r'<(?:script|img|link)[^>]+(?:src|href)="(https?:[^"]+)', re.IGNORECASE)
    found = {url for page in SITE.rglob("*.html") for url in loads.findall(page.read_text(encoding="utf-8"))}
    assert found == set()
