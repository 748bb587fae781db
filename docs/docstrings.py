"""Makes links of the names in single backticks, as docstrings have them; for mkdocstrings."""

import re
from typing import Any

import griffe

NAME = re.compile(r"(?<![`\w\[])`([A-Za-z_][\w.]*)`(?![`\]])")


class Links(griffe.Extension):
    """`Name` becomes a link where the name is one of ours, and stays code elsewhere."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = NAME.sub(lambda found: link(obj, found[1]), obj.docstring.value)


def link(obj: griffe.Object, name: str) -> str:
    if name.startswith("descope_native."):
        path = name
    else:
        try:
            path = obj.resolve(name)
        except griffe.NameResolutionError:
            return f"`{name}`"
    return f"[`{name}`][{path}]"
