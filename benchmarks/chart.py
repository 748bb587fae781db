"""The chart and, printed, the table of docs/performance.md, from the JSON that a run has written.

python -m benchmarks.chart benchmarks/results.json docs/chart.svg
"""

import json
import sys
from html import escape
from pathlib import Path
from typing import Any, Final

PANELS: Final = (
    ("finish", "finish()", "One call over a reused connection"),
    ("decode", "bytes → FinishResult", "Reading the answer"),
)

WIDTH: Final = 480  # readable on a phone
LABELS: Final = 190
BAR: Final = 18
STEP: Final = 27

# An image cannot see its page, but it does see whether the reader prefers a dark one.
STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; font-size: 14px; }
.note { fill: #57606a; font-size: 11px; }
.peer { fill: #afb8c1; }
.ours { fill: #1a7f5a; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .note { fill: #9198a1; }
  .peer { fill: #57606a; }
  .ours { fill: #3fb98a; }
}
"""


def chart(report: dict[str, Any]) -> str:
    parts: list[str] = []
    top = 24
    for subject, ours, title in PANELS:
        costs = medians(report, subject)
        parts.append(f'<text class="title" x="0" y="{top}">{escape(title)}</text>')
        top += 12
        most = max(costs.values())
        for name, cost in sorted(costs.items(), key=lambda item: item[1]):
            parts += bar(name, cost, most, top, "ours" if name == ours else "peer")
            top += STEP
        top += 26
    machine = report["machine"]
    versions = f"Python {machine['python']}, aiohttp {machine['libraries']['aiohttp']}"
    for note in (
        "CPU time of the client process in µs, medians; less is better.",
        f"{versions}, {machine['cpu']}, {machine['date']}.",
    ):
        parts.append(f'<text class="note" x="0" y="{top - 6}">{escape(note)}</text>')
        top += 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top + 4}" '
        f'viewBox="0 0 {WIDTH} {top + 4}" role="img" aria-label="CPU time per call, against peers">'
        f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def medians(report: dict[str, Any], subject: str) -> dict[str, float]:
    """What each candidate of the panel costs, in µs."""
    costs: dict[str, float] = {}
    for line in report["ratios"]:
        if line["subject"] != subject or line["unit"] != "µs" or line["measure"].startswith("in memory"):
            continue
        costs |= line["medians"]
    return costs


def bar(name: str, cost: float, most: float, top: int, kind: str) -> list[str]:
    length = round((WIDTH - LABELS - 60) * cost / most, 1)
    middle = top + BAR - 5
    return [
        f'<text x="{LABELS - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{kind}" x="{LABELS}" y="{top}" width="{length}" height="{BAR}" rx="3"/>',
        f'<text x="{LABELS + length + 6}" y="{middle}">{cost:.0f}</text>',
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


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    figures = json.loads(source.read_text(encoding="utf-8"))
    target.write_text(chart(figures), encoding="utf-8")
    print(table(figures))
