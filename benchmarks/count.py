"""How large the package and its tests are: `python benchmarks/count.py [CHECKOUT]`.

Needs nothing but Python, so that any two checkouts can be compared. A line of code has a token that is
neither a comment nor a docstring.
"""

import ast
import io
import statistics
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TELLING: Final = frozenset({
    *("EMPTY_PAYLOAD", "_loop", "certificate_error", "exception", "is_connected", "os_error"),
    *("proxy_headers", "raw_headers", "send_connection_reuseconn", "send_request_end"),
    *("send_request_exception", "send_request_start", "set_exception", "set_response_params"),
    *("should_close", "total_bytes", "trace_config_ctx", "write_headers"),
})  # fmt: skip
"""Undocumented attributes of aiohttp, as in tests/transports/test_internals.py."""


OURS: Final = ("self", "call")
"""What has attributes of these names of our own."""


def code_lines(source: str) -> set[int]:
    """The numbers of the lines of code."""
    beside = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    beside.add(tokenize.ENDMARKER)
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in beside
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def functions(path: Path) -> Iterator[tuple[int, str]]:
    """Each function's lines of code, and its name."""
    source = path.read_text(encoding="utf-8")
    lines = code_lines(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield len(lines & set(range(node.lineno, (node.end_lineno or 0) + 1))), f"{path.stem}.{node.name}"


def undocumented(path: Path) -> Iterator[str]:
    """What a module takes from within aiohttp, and which attributes it asks for, once for each place."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aiohttp."):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and node.attr in TELLING and ast.unparse(node.value) not in OURS:
            yield node.attr


def lines_in(files: list[Path]) -> str:
    sources = [file.read_text(encoding="utf-8") for file in files]
    total, code = sum(len(source.splitlines()) for source in sources), sum(map(len, map(code_lines, sources)))
    return f"{len(files):4} files, {total:6} lines, {code:6} of code"


def main(checkout: Path) -> None:
    """Print the figures of this checkout."""
    package = sorted((checkout / "descope_native").rglob("*.py"))
    beside = {"testing", "_cli", "__main__.py"}
    library = [file for file in package if beside.isdisjoint(file.parts)]
    transports = [file for file in library if "aiohttp" in str(file) and file.name != "internals.py"]
    found = sorted(name for file in transports for name in undocumented(file))
    measured = sorted(measure for file in library for measure in functions(file))
    print(f"package                  {lines_in(package)}")
    print(f"  library                {lines_in(library)}")
    print(f"  testing, command line  {lines_in([file for file in package if file not in library])}")
    median = statistics.median(size for size, _ in measured)
    print(f"functions of the library {len(measured):4}, median {median:g} lines")
    print("  longest               ", ", ".join(f"{name} {size}" for size, name in reversed(measured[-3:])))
    print(f"tests                    {lines_in(sorted((checkout / 'tests').rglob('*.py')))}")
    print(f"undocumented names of aiohttp outside internals.py: {len(found)} uses of {len(set(found))}")
    print("  " + ", ".join(sorted(set(found))))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]))
