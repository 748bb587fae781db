"""The chart and, printed, the tables of docs/performance.md, from the JSON that a run has written.

python -m benchmarks.chart benchmarks/results.json docs/chart.svg
"""

import json
import sys
from html import escape
from pathlib import Path
from statistics import median
from typing import Any, Final

OURS: Final = ("ours, keep_warm", "ours")
NAMES: Final = {
    "ours, keep_warm": "keep_warm",
    "ours": "descope_native",
    "official SDK": "official SDK",
}

WIDTH: Final = 480  # readable on a phone
LABELS: Final = 118
ROW: Final = 30
HEAD: Final = 62
MOST: Final = 4.0
"""Round trips that fill a cell."""

# An image cannot see its page, but it does see whether the reader prefers a dark one.
STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; font-size: 14px; }
.note { fill: #57606a; font-size: 11px; }
.back { fill: #eaeef2; }
.peer { fill: #afb8c1; }
.ours { fill: #7cc9a8; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .note { fill: #9198a1; }
  .back { fill: #21262d; }
  .peer { fill: #4d5763; }
  .ours { fill: #1a7f5a; }
}
"""


def chart(report: dict[str, Any]) -> str:
    """Round trips of one call: a row for each client, a column for each gap."""
    links = sorted({line["link"] for line in report["felt"]})
    link = links[len(links) // 2]
    lines = [line for line in report["felt"] if line["link"] == link]
    first = {line["client"]: line for line in report["first"] if line["link"] == link}
    gaps = sorted({line["gap"] for line in lines})
    names = list(dict.fromkeys(line["client"] for line in lines))
    names.sort(key=lambda name: OURS.index(name) if name in OURS else len(OURS))
    cell = (WIDTH - LABELS) / (len(gaps) + 1)
    parts = [
        text("What a person waits for", 0, 18, "title"),
        text(f"round trips of a sign-in, {link * 1000:g} ms each, over TLS", 0, 36, "note"),
        text("after idling", LABELS + cell, 54, "note"),
    ]
    for column, title in enumerate(["first call", *(f"{gap:g} s" for gap in gaps)]):
        parts.append(text(title, LABELS + (column + 0.5) * cell - 2, HEAD + 10, "note", anchor="middle"))
    for row, name in enumerate(names):
        top = HEAD + 18 + row * ROW
        parts.append(text(NAMES.get(name, name), LABELS - 8, top + 17, anchor="end"))
        of_gap = {line["gap"]: median(line["round_trips"]) for line in lines if line["client"] == name}
        values = [median(first[name]["round_trips"]), *(of_gap[gap] for gap in gaps)]
        kind = "ours" if name in OURS else "peer"
        for column, value in enumerate(values):
            parts += bar(value, LABELS + column * cell, top, cell - 4, kind)
    bottom = HEAD + 18 + len(names) * ROW + 16
    facts = report["machine"]
    libraries = ", ".join(f"{name} {facts['libraries'][name]}" for name in ("aiohttp", "httpx", "descope"))
    parts.append(
        text(
            "Medians; less is better. First call: of a new process, its imports not counted.",
            0,
            bottom,
            "note",
        )
    )
    parts.append(text(f"Python {facts['python']}, {libraries}, {facts['date']}.", 0, bottom + 16, "note"))
    height = bottom + 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Round trips per sign-in, by idle time">'
        f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def text(words: str, x: float, y: float, kind: str = "", *, anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def bar(value: float, left: float, top: float, width: float, kind: str) -> list[str]:
    length = width * min(value / MOST, 1)
    return [
        f'<rect class="back" x="{left:.1f}" y="{top}" width="{width:.1f}" height="{ROW - 6}" rx="3"/>',
        f'<rect class="{kind}" x="{left:.1f}" y="{top}" width="{length:.1f}" height="{ROW - 6}" rx="3"/>',
        text(f"{value:.1f}", left + width / 2, top + 17, anchor="middle"),
    ]


def table(report: dict[str, Any]) -> str:
    """The measures that have a goal, in Markdown."""
    rows = ["| measure | goal | measured | |", "|---|---|---|---|"]
    for line in report["ratios"]:
        if line["goal"] is not None:
            sense = {"<=": "≤", ">=": "≥"}[line["sense"]]
            measured = f"{line['value']:.2f} ({line['low']:.2f} to {line['high']:.2f})"
            rows.append(f"| {line['measure']} | {sense} {line['goal']:g} | {measured} | {line['verdict']} |")
    return "\n".join(rows)


def first_answers(report: dict[str, Any]) -> str:
    """What a new process takes until its first answer, the slowest first."""
    links = sorted({line["link"] for line in report["first"]})
    link = links[len(links) // 2]
    seconds = {line["client"]: median(line["seconds"]) for line in report["first"] if line["link"] == link}
    names = sorted(seconds, key=lambda name: -seconds[name])
    figures = ", ".join(f"{NAMES.get(name, name)} {seconds[name]:.2f} s" for name in names)
    measure = f"First answer of a new process, imports included, with round trips of {link * 1000:g} ms:"
    return f"{measure}\n{figures}."


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    figures = json.loads(source.read_text(encoding="utf-8"))
    target.write_text(chart(figures), encoding="utf-8")
    print(table(figures), first_answers(figures), sep="\n\n")
