"""The README says what is true: its blocks are run, or are the files they claim to be."""

import asyncio
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from test_http_answer import TABLE

from descope_native import FinishResult, NativeOAuthFinisher, errors
from descope_native.converters import make_converter
from descope_native.models import FrozenDict
from descope_native.testing import FakeDescope

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:<!-- (\w+): (\S+) -->\n)?```(\w+)\n(.*?)```", README, re.DOTALL)


def block(kind: str, name: str) -> str:
    (text,) = (text for k, n, _, text in BLOCKS if (k, n) == (kind, name))
    return str(text)


def test_every_python_block_is_run_or_is_a_file() -> None:
    """No Python in the README is beyond the reach of these tests."""
    assert all(kind in {"run", "file"} for kind, _, language, _ in BLOCKS if language == "python")


@pytest.mark.parametrize("name", [name for kind, name, _, _ in BLOCKS if kind == "file"])
def test_a_file_is_quoted_to_the_letter(name: str) -> None:
    """What the README shows of a file is that file, which has tests of its own."""
    assert block("file", name) == (ROOT / name).read_text(encoding="utf-8")


def test_the_example_prints_what_the_readme_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ten lines, run as they stand against a stand-in on a real socket."""
    printed = io.StringIO()
    fake = FakeDescope()
    tenants = [{"tenantId": f"T{n}", "tenantName": f"Tenant {n}"} for n in (1, 2)]
    proof = fake.sign_in("google", email="ada@example.com", user={"userTenants": tenants})
    really_open = NativeOAuthFinisher.open

    def run_against(base_url: str) -> None:
        def open_there(project_id: str, **settings: Any) -> Any:
            return really_open(project_id, base_url=base_url, **settings)

        monkeypatch.setattr(NativeOAuthFinisher, "open", open_there)
        names = {"project_id": fake.project_id, "state_id": proof.state_id, "id_token": proof.id_token}
        with contextlib.redirect_stdout(printed):
            exec(block("run", "example"), names)

    async def serve() -> None:
        async with fake.serve() as base_url:
            await asyncio.to_thread(run_against, base_url)

    asyncio.run(serve())
    (output,) = (text for _, _, language, text in BLOCKS if language == "text")
    assert printed.getvalue() == output


def test_the_readmes_own_tests_pass() -> None:
    """The tests that the README shows are tests."""
    names: dict[str, Any] = {}
    for name in ("test", "fixture", "fault"):
        exec(block("run", name), names)
    names["test_a_code_works_once"]()
    names["test_a_lost_answer_is_not_retried"](FakeDescope())
    assert "fake_descope" in names


def test_the_stand_in_is_reached_as_the_readme_says() -> None:
    """By its own project id."""
    assert f'open("{FakeDescope().project_id}", base_url="http://localhost:8787")' in README


def test_a_result_is_stored_and_read_back_as_the_readme_says() -> None:
    """Its two expressions give the same result again."""
    result = FinishResult(session_jwt="s.e.s", claims=FrozenDict({"a": ()}))
    names = {"json": json, "make_converter": make_converter, "FinishResult": FinishResult, "result": result}
    write, read = re.findall(r"`((?:json|make_converter)\S*\(.*?\))`", README)
    names["text"] = eval(write, names)
    assert eval(read, names) == result


def test_the_table_of_errors_is_complete() -> None:
    """Every error that a caller can meet has its row, and no row names anything else."""
    abstract = {"DescopeNativeError", "ResponseError"}
    raised = {
        name
        for name in errors.__all__
        if isinstance(cls := getattr(errors, name), type) and issubclass(cls, errors.DescopeNativeError)
    }
    rows = set(re.findall(r"^\| `(\w+)`", README, re.MULTILINE))
    assert rows == raised - abstract


def test_the_table_of_errors_says_what_the_app_is_told() -> None:
    """The steps are those of `answer_for`, which the applications above it answer with."""
    said: dict[str, set[str]] = {}
    for name, rest in re.findall(r"^\| `(\w+)`(.*)$", README, re.MULTILINE):
        said.setdefault(name, set()).update(re.findall(r"`(\w+)`", rest.split("|")[3]))
    meant: dict[str, set[str]] = {}
    for error, (_, _, step) in TABLE:
        if not error.spends_nothing:  # the table is finish's
            meant.setdefault(type(error).__name__, set()).add(step)
    assert said == {name: meant[name] for name in said}


def test_the_extras_exist() -> None:
    """`pip install 'descope_native[…]'` names extras that pyproject.toml has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(re.findall(r"descope_native\[(\w+)\]", README)) == set(project["optional-dependencies"])


def test_continuous_integration_runs_the_readmes_own_command() -> None:
    """The second of the two commands is the whole gate, and it is what .ci/run calls."""
    (command,) = re.findall(r"^\$ (python3 .*nox)$", README, re.MULTILINE)
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_links_into_the_repository_lead_somewhere() -> None:
    """No link to a file that is not there."""
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_table_of_figures_and_the_chart_are_those_of_the_run_that_is_kept(tmp_path: Path) -> None:
    """Nobody has to believe a number that a script did not write."""
    figures = ROOT / "benchmarks" / "results.json"
    command = [sys.executable, "-m", "benchmarks.chart", str(figures), str(tmp_path / "chart.svg")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    table = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert table.stdout in README
    kept = (ROOT / "benchmarks" / "chart.svg").read_text(encoding="utf-8")
    assert (tmp_path / "chart.svg").read_text(encoding="utf-8") == kept
