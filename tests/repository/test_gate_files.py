"""What the files around the code promise each other."""

import itertools
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXCEPTION = re.compile(r"#.*\b(?:noqa|(?:type|pyright): ?ignore|pragma: no (?:cover|branch))")
MISUSE = re.compile(r"# type: ignore\[[\w, -]+\]")  # in a test, what is misused on purpose is the reason
REASON = re.compile(r" -- \w|\]  # \w")  # mypy wants a comment of its own for it
PATH_OF_A_MACHINE = re.compile(r"(?<![\w.])/(?:home|root|work|Users|tmp/\w+)/\w")


def texts(pattern: str) -> Iterator[tuple[Path, str]]:
    """The text files of the repository whose name matches."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not in a git checkout")
    for path in map(Path, listed.stdout.splitlines()):
        if path.match(pattern) and (ROOT / path).is_file():
            yield path, (ROOT / path).read_text(encoding="utf-8")


def requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}


def test_the_version_is_the_same_wherever_it_stands() -> None:
    """pyproject.toml, the package and the newest entry of the changelog name one version."""
    version = PYPROJECT["project"]["version"]
    assert f'"{version}"' in (ROOT / "descope_native" / "_version.py").read_text(encoding="utf-8")
    newest = re.search(r"^## \[?([\w.]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest
    assert newest[1] == version


def test_nothing_else_is_needed_at_run_time() -> None:
    """An application that installs the package gets these four, and what they bring."""
    assert requirement_names(PYPROJECT["project"]["dependencies"]) == {"aiohttp", "attrs", "cattrs", "yarl"}


def test_every_requirement_of_a_user_has_a_floor_and_no_ceiling() -> None:
    """A floor is what `tests-lowest` runs on; a ceiling in a library locks its users out of fixes.

    But for the next major release of what a transport is made of, since each works below its client.
    """
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    wanted = [*PYPROJECT["project"]["dependencies"], *itertools.chain(*extras)]
    allowed = re.compile(r"[\w.-]+>=[\d.]+|aiohttp>=3[\d.]+,<4|httpx2>=2[\d.]+,<3")
    assert [item for item in wanted if not allowed.fullmatch(item)] == []


def test_the_oldest_python_promised_is_the_oldest_tested() -> None:
    """The classifiers, which the nox sessions follow, begin where requires-python does."""
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(PYPROJECT["project"]["classifiers"]))
    assert PYPROJECT["project"]["requires-python"] == f">={pythons[0]}"


def test_the_gate_is_the_command_of_the_readme() -> None:
    """.ci/run ends with the very command that the README gives to people."""
    command = (ROOT / ".ci" / "run").read_text(encoding="utf-8").strip().splitlines()[-1]
    assert shlex.split(command)[-1] == ".venv/bin/nox"
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_gate_runs_with_the_environment_emptied(tmp_path: Path) -> None:
    """What finds the package index stays; what this shell says to Python and to the package does not."""
    program = tmp_path / "python3"
    program.write_text(f"#!/bin/sh\nenv >'{tmp_path}/env'\nexit 7\n")
    program.chmod(0o755)
    needed = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    kept = {"PIP_INDEX_URL": "https://a b.example/simple", "https_proxy": "http://p", "SSL_CERT_FILE": "c"}
    gone = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": "x",
        "DESCOPE_PROJECT_ID": "P",
        "NO_COLOR": "1",
        "PIPE": "x",
    }
    ended = subprocess.run(["bash", ROOT / ".ci" / "run"], env={**needed, **kept, **gone}, check=False)
    assert ended.returncode == 7
    found = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    by_the_shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert {name: found[name] for name in found.keys() - by_the_shell} == {
        **needed,
        **kept,
        "LC_ALL": "C.UTF-8",
        "CI": "true",
    }


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """What holds on one machine only has no place here."""
    found = [f"{path}: {match[0]}" for path, text in texts("*") for match in PATH_OF_A_MACHINE.finditer(text)]
    assert found == []


def test_every_exception_in_the_code_has_its_reason_beside_it() -> None:
    """A checker is told to look away only by somebody who says why."""
    found = [
        f"{path}:{number}"
        for path, text in texts("*.py")
        if path.name != Path(__file__).name
        for number, line in enumerate(text.splitlines(), 1)
        if not (path.parts[0] == "tests" and MISUSE.search(line))
        if EXCEPTION.search(line) and not REASON.search(line)
    ]
    assert found == []


def test_every_rule_switched_off_has_its_reason_beside_it() -> None:
    """The same for the rules that are off for whole files."""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if re.match(r'    "[A-Z]+\d*",', line)]
    assert len(rules) > 10
    assert [rule for rule in rules if not re.search(r"# \w", rule)] == []
