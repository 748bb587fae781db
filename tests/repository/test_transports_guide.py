"""The guide on transports says what is true: its blocks are run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from descope_native.testing import FakeDescope

GUIDE = (Path(__file__).parents[2] / "docs" / "transports.md").read_text(encoding="utf-8")
BLOCKS: dict[str, str] = dict(re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", GUIDE, re.DOTALL))


def names_in(block: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(BLOCKS[block], names)
    return names


def test_a_transport_of_ones_own_takes_less_than_sixty_lines() -> None:
    """From an empty file to a green contract."""
    assert len(BLOCKS["my_transport"].splitlines()) < 60


def test_the_guides_own_test_passes(tmp_path: Path) -> None:
    """Its two files, in a folder of their own, under pytest as it comes."""
    for name in ("my_transport", "test_my_transport"):
        (tmp_path / f"{name}.py").write_text(BLOCKS[name], encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d\d passed in", done.stdout, re.MULTILINE), done.stdout


async def test_a_sign_in_goes_over_httpx() -> None:
    """The example's one function, against the stand-in."""
    fake = FakeDescope()
    proof = fake.sign_in("google")
    finish = names_in("httpx")["finish_over_httpx"]
    async with fake.serve() as base_url:
        assert await finish(fake.project_id, base_url, **proof.as_arguments())


async def test_a_sign_in_is_recorded_and_played(tmp_path: Path) -> None:
    """The example's two functions: the file of the one is what the other plays."""
    fake = FakeDescope()
    proof = fake.sign_in("google")
    names = names_in("record")
    file = str(tmp_path / "sign-in.jsonl")
    async with fake.serve() as base_url:
        await names["record"](file, fake.project_id, base_url, **proof.as_arguments())
    assert await names["replay"](file) is True


def test_every_block_is_run() -> None:
    """But for the one line that shows the method's shape."""
    every = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert [block for block in every if block not in BLOCKS.values()] == [
        "async def send(self, request: HttpRequest, /) -> HttpResponse: ...\n"
    ]


def test_no_line_is_longer_than_a_screen() -> None:
    """120 characters, commands included."""
    assert [line for line in GUIDE.splitlines() if len(line) > 120] == []
