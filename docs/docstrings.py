"""What the API pages make of our docstrings; a griffe extension, for mkdocstrings."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import griffe

NAME: Final = re.compile(r"(?<![`\w\[])`([A-Za-z_][\w.]*)`(?![`\]])")
ATTRIBUTES: Final = re.compile(r"^Attributes:\n((?:(?: {4}.*)?(?:\n|\Z))+)", re.MULTILINE)
ITEM: Final = re.compile(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Links names in backticks, puts what is said of an attribute beside it, shows `open` as it is used."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        for thing in list(members_of(pkg)):
            if isinstance(thing, griffe.Class):
                move_attributes(thing)
            elif isinstance(thing, griffe.Function):
                show_context_manager(thing)
            elif isinstance(thing, griffe.Attribute) and str(thing.value).startswith("attrs.field("):
                thing.value = None
        for thing in members_of(pkg):
            if thing.docstring:
                thing.docstring.value = NAME.sub(linker(thing, pkg), thing.docstring.value)


def members_of(parent: griffe.Object) -> Iterator[griffe.Object]:
    for member in parent.members.values():
        if isinstance(member, griffe.Object):
            yield member
            yield from members_of(member)


def move_attributes(cls: griffe.Class) -> None:
    """From the section in the class's docstring to the attributes themselves, where they are all there."""
    section = cls.docstring and ATTRIBUTES.search(cls.docstring.value)
    if not section:
        return
    said = {name.strip(): text for names, text in ITEM.findall(section[1]) for name in names.split(",")}
    if said.keys() <= cls.members.keys():
        for name, text in said.items():
            sentence = re.sub(r"\n +", "\n", text[0].upper() + text[1:])
            cls.members[name].docstring = griffe.Docstring(sentence, parent=cls.members[name])
        cls.docstring.value = ATTRIBUTES.sub("", cls.docstring.value)


def show_context_manager(function: griffe.Function) -> None:
    """What `opening` decorates is an async generator in its source only."""
    if any(str(decorator.value) == "opening" for decorator in function.decorators):
        function.labels.discard("async")
        function.returns = "AbstractAsyncContextManager[Self]"


def linker(thing: griffe.Object, package: griffe.Module) -> Callable[[re.Match[str]], str]:
    def link(found: re.Match[str]) -> str:
        name = found[1]
        first, dot, rest = name.partition(".")
        if first == package.name:
            path = name
        elif first in package.members:
            path = f"{package.name}.{name}"
        else:
            try:
                path = thing.resolve(first) + dot + rest
            except griffe.NameResolutionError:
                return f"`{name}`"
        return f"[`{name}`][{path}]"

    return link
