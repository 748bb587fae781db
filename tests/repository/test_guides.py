"""README and guides say what is true: each block is run, or is the file that it claims to be.

What stands before a block of Python says which of them:

    nothing                 runs, after those before it on its page; what it prints is the ``text`` after it
    <!-- file: PATH -->     is that file, which has tests of its own
    <!-- pytest: NAME -->   is written to a file of this name, and pytest runs all of a page's files

``python tests/repository/test_guides.py`` puts the files of today into the guides.
"""

import ast
import contextlib
import io
import itertools
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from test_http_answer import TABLE
from yarl import URL

from descope_native import (
    AiohttpTransport,
    CallEvent,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    NativeOAuthFinisher,
    errors,
)
from descope_native.testing import FakeDescope
from descope_native.transports.httpx import HttpxTransport

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FENCE: Final = re.compile(r"(?:^<!-- (\w+): (\S+) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: Final[list[str]] = list(PROJECT["optional-dependencies"])


@attrs.frozen
class Block:
    """One fenced block."""

    page: Path
    line: int
    kind: str | None
    name: str | None
    language: str
    text: str
    prints: str | None  # the text block that comes next, with nothing between


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    found = list(FENCE.finditer(text))
    for this, after in itertools.zip_longest(found, found[1:]):
        follows = after is not None and after[3] == "text" and not text[this.end() : after.start()].strip()
        prints = after[4] if after is not None and follows else None
        line = text.count("\n", 0, this.start(3))
        yield Block(page, line, this[1], this[2], this[3], this[4], prints)


BLOCKS: Final = [block for page in PAGES for block in blocks(page)]
PYTHON: Final = [block for block in BLOCKS if block.language == "python"]


def having(wanted: Callable[[Block], bool]) -> list[Any]:
    """The pages with such a block."""
    pages = dict.fromkeys(block.page for block in BLOCKS if wanted(block))
    return [pytest.param(page, id=page.stem) for page in pages]


each_page = pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in PAGES])


def test_every_block_is_of_a_kind_that_is_tried() -> None:
    """No Python is beyond the reach of these tests, and nothing else is shown but consoles and plain text."""
    assert {block.language for block in BLOCKS} == {"python", "console", "text"}
    assert {block.kind for block in PYTHON} == {None, "file", "pytest"}
    assert all(block.kind is None for block in BLOCKS if block.language != "python")


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, id=f"{block.page.stem}-{block.name}") for block in PYTHON if block.kind == "file"],
)
def test_a_file_is_quoted_to_the_letter(block: Block) -> None:
    """What a guide shows of a file is that file, which has tests of its own."""
    assert block.text == (ROOT / str(block.name)).read_text(encoding="utf-8")


# --- what runs as it stands


class Response:
    """What a framework's response does with cookies."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    def set_cookie(self, name: str, value: str, **attributes: object) -> None:
        self.cookies[name] = value


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDescope:
    """Answers instead of the real service, whatever transport is opened; other hosts are called as ever."""
    fake = FakeDescope()
    memory = InMemoryTransport(fake)

    def route(transport: type[AiohttpTransport | HttpxTransport]) -> None:
        over_network = transport.send

        async def send(self: Any, request: HttpRequest, /) -> HttpResponse:
            if request.url.host == "api.descope.com":
                return await memory.send(request)
            return await over_network(self, request)

        monkeypatch.setattr(transport, "send", send)

    async def warm(self: AiohttpTransport, url: URL) -> None:
        assert url.host == "api.descope.com"

    monkeypatch.setattr(AiohttpTransport, "warm", warm)
    route(AiohttpTransport)
    route(HttpxTransport)
    return fake


async def run(page: Path, fake: FakeDescope) -> dict[str, Any]:
    """The names that a page has in the end. Each block has a sign-in of its own to finish."""
    finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake))
    signed_in = await finisher.finish(**fake.sign_in("google", email="grace@example.com").as_arguments())
    names: dict[str, Any] = {
        "project_id": fake.project_id,
        "refresh_jwt": signed_in.refresh_jwt,
        "response": Response(),
    }
    for block in PYTHON:
        if block.page != page or block.kind is not None:
            continue
        proof = fake.sign_in("google")
        names |= {"state_id": proof.state_id, "id_token": proof.id_token}
        code = compile("\n" * block.line + block.text, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            coroutine = eval(code, names)
            if coroutine is not None:
                await coroutine
        assert printed.getvalue() == (block.prints or "")
    return names


@pytest.mark.parametrize("page", having(lambda block: block.language == "python" and block.kind is None))
async def test_the_blocks_of_a_page_run(
    page: Path, fake: FakeDescope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they stand, one after the other, against the stand-in; and they print what the page says."""
    monkeypatch.chdir(tmp_path)
    await run(page, fake)


async def test_the_readmes_example_signs_a_person_in(fake: FakeDescope) -> None:
    """Start, dialog and finish, in fifteen lines at most."""
    sign_in = (await run(README, fake))["sign_in"]

    async def show_dialog(client_id: str, nonce: str) -> str | None:
        return fake.phone({"client_id": client_id, "nonce": nonce}, email="ada@example.com").id_token

    result = await sign_in(fake.project_id, show_dialog)
    assert result.user.email == "ada@example.com"
    (block,) = (block for block in PYTHON if block.page == README and block.kind is None)
    assert len(block.text.splitlines()) <= 15


async def test_the_cookies_of_the_guide_are_set(fake: FakeDescope) -> None:
    """Both of them, by their names."""
    names = await run(ROOT / "docs" / "cookies-and-tokens.md", fake)
    assert names["response"].cookies.keys() == {"DS", "DSR"}


async def test_a_proof_that_is_submitted_three_times_goes_out_once(fake: FakeDescope) -> None:
    """What the guide on resubmits says of its first example."""
    await run(ROOT / "docs" / "resubmits.md", fake)
    finishes = [call.status for call in fake.calls if call.path.endswith("/native/finish")]
    assert finishes == [200] * 2  # before the page, and for its example


@pytest.mark.parametrize("page", having(lambda block: block.kind == "pytest"))
def test_the_tests_of_a_page_pass(page: Path, tmp_path: Path) -> None:
    """Its files, in a folder of their own, under pytest as it comes; warnings are errors."""
    tests = 0
    for block in PYTHON:
        if block.page == page and block.kind == "pytest":
            (tmp_path / str(block.name)).write_text(block.text, encoding="utf-8")
            tests += block.text.count("def test_")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # none is needed, and each costs time
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"^(\d+) passed in", done.stdout, re.MULTILINE)
    assert passed, done.stdout
    assert int(passed[1]) >= tests


def test_a_transport_of_ones_own_takes_less_than_sixty_lines() -> None:
    """From an empty file to a green contract."""
    (block,) = (block for block in PYTHON if block.name == "my_transport.py")
    assert len(block.text.splitlines()) < 60


# --- commands

STAND_IN: Final = ROOT / "docs" / "testing.md"
FLOW: Final = ROOT / "docs" / "flow.md"
DEPLOYS: Final = ROOT / "docs" / "deploys.md"


def commands(page: Path) -> list[str]:
    consoles = [block.text for block in blocks(page) if block.language == "console"]
    return re.findall(r"^\$ (.+)$", "".join(consoles), re.MULTILINE)


def programs() -> Iterator[tuple[Path, list[str]]]:
    """What the consoles start, without the folder of a virtual environment."""
    for page in PAGES:
        for command in commands(page):
            for part in command.split(" && "):
                yield page, shlex.split(part.replace(".venv/bin/", ""), comments=True)


def is_an_install(words: list[str]) -> bool:
    """From a clone, from the URL that it was cloned from, or the extras of what is there."""
    match words:
        case ["pip", "install", "-e", package, "--group", "tests"]:
            return package == f".[{','.join(sorted(EXTRAS))}]"
        case ["pip", "install", "." | "git+$URL" | "nox"] | ["python3", "-m", "venv", ".venv"]:
            return True
        case ["pip", "install", package]:
            return package in {f"descope_native[{extra}]" for extra in EXTRAS}
        case _:
            return False


def is_in_the_repository(words: list[str]) -> bool:
    """A session of nox, a module that can be run, or a test."""
    match words:
        case ["nox"] | ["nox", "-l"]:
            return True
        case ["nox", "-s", session, *_]:
            session = session.removesuffix("-3.13")
            noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
            return bool(re.search(rf'^def {session}\(session|name="{session}"', noxfile, re.MULTILINE))
        case ["python" | ".venv/bin/python", "-m", "pytest", test]:
            file, _, name = test.partition("::")
            return f"def {name}" in (ROOT / file).read_text(encoding="utf-8")
        case ["python", "-m", module, *_]:
            path = ROOT / module.replace(".", "/")
            return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
        case ["python", script, *_]:
            return (ROOT / script).is_file()
        case _:
            return False


@pytest.mark.parametrize(
    ("page", "words"),
    [pytest.param(page, words, id=f"{page.stem}: {' '.join(words)}") for page, words in programs()],
)
def test_a_command_is_one_that_there_is(page: Path, words: list[str]) -> None:
    """Commands that need neither a network nor long are run; of others it is looked at what they name."""
    if page in {STAND_IN, FLOW}:
        return  # run as one script: below, and in tests/apps/test_fastapi_start.py
    if page == DEPLOYS:
        tried = (ROOT / "tests" / "apps" / "test_deploys.py").read_text(encoding="utf-8")
        assert [word for word in words if word.startswith("--") and word not in tried] == []
    elif words[0] == "descope-native":
        command = [sys.executable, "-m", "descope_native", words[1], "--help"]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        assert [word for word in words if word.startswith("--") and word not in told] == []
    else:
        assert is_an_install(words) or is_in_the_repository(words)


def test_a_console_shows_commands_only() -> None:
    """So that no line in it is beyond these tests."""
    lines = [line for block in BLOCKS if block.language == "console" for line in block.text.splitlines()]
    assert [line for line in lines if not line.startswith("$ ")] == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_stand_in_is_used_from_a_shell_as_the_guide_says(tmp_path: Path) -> None:
    """Its console, as one script; only the port is one that is free."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    script = "\n".join(["set -em", *commands(STAND_IN)]).replace("8787", str(port))
    program = tmp_path / "descope-native"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m descope_native "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f"ready: http://localhost:{port} project {FakeDescope().project_id}" in done.stdout
    assert '"stateId"' in done.stdout
    assert '"idToken"' in done.stdout


# --- what is said of the code


def rows(page: Path) -> list[tuple[str, str]]:
    """The rows of a table that begin with a name in backticks: that name, and the rest."""
    return re.findall(r"^\| `(\w+)`(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_table_of_errors_is_complete() -> None:
    """Every error that a caller can meet has its row, and no row names anything else."""
    abstract = {"DescopeNativeError", "ResponseError"}
    raised = {
        name
        for name in errors.__all__
        if isinstance(cls := getattr(errors, name), type) and issubclass(cls, errors.DescopeNativeError)
    }
    assert {name for name, _ in rows(README)} == raised - abstract


def test_the_table_of_errors_says_what_the_app_is_told() -> None:
    """The steps are those of `answer_for`, which the applications answer with."""
    said: dict[str, set[str]] = {}
    for name, rest in rows(README):
        said.setdefault(name, set()).update(re.findall(r"`([a-z]\w+)`", rest.split("|")[3]))
    meant: dict[str, set[str]] = {}
    for error, (_, _, step) in TABLE:
        if not error.spends_nothing:  # the table is finish's
            meant.setdefault(type(error).__name__, set()).add(step)
    assert said == {name: meant[name] for name in said}


def test_the_site_has_the_readmes_example_and_its_table() -> None:
    """For who reads the site only; to the letter, so that nobody keeps two of each."""
    readme = README.read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| error \|.*?\n(?=\n)", readme, re.DOTALL | re.MULTILINE)
    assert table in (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    example = next(block.text for block in PYTHON if block.page == README)
    assert example in [block.text for block in PYTHON if block.page.name == "index.md"]


def test_the_guide_to_errors_has_each_code_and_step() -> None:
    """Its table of answers has each combination that there is, and no other."""
    guide = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    said = set(re.findall(r"\| (\d{3}) \| `(\w+)` \| `(\w+)` \|", guide))
    assert said == {(str(status), code, step) for _, (status, code, step) in TABLE}


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    """Each stands one level below its base."""
    guide = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    tree = guide.partition("## The tree\n\n```text\n")[2].partition("```")[0]
    above: list[str] = []
    for line in tree.splitlines():
        indent, name = re.fullmatch(r"([│├└─ ]*)(\w+)\b.*", line).groups()  # type: ignore[union-attr]
        del above[len(indent) // 4 :]
        bases = [base.__name__ for base in getattr(errors, name).__bases__]
        assert not above or above[-1] in bases
        above.append(name)


def test_every_extra_can_be_installed_as_the_readme_says() -> None:
    """The README names those that pyproject.toml has."""
    named = set(re.findall(r"'descope_native\[(\w+)\]'", README.read_text(encoding="utf-8")))
    assert named == set(EXTRAS)


def test_continuous_integration_runs_the_readmes_own_command() -> None:
    """The last of its commands is the whole gate, and it is what .ci/run calls."""
    assert commands(README)[-1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_facts_of_a_log_line_are_all_named() -> None:
    """The guide to operations lists the attributes of a record, which are those of a `CallEvent`."""
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    facts = {f"descope_{field.name}" for field in attrs.fields(CallEvent)} - {"descope_phases"}
    assert set(re.findall(r"`(descope_\w+)`", guide)) - {"descope_native"} == facts


def test_the_table_of_figures_and_the_chart_are_those_of_the_run_that_is_kept(tmp_path: Path) -> None:
    """Nobody has to believe a number that a script did not write."""
    figures = ROOT / "benchmarks" / "results.json"
    command = [sys.executable, "-m", "benchmarks.chart", str(figures), str(tmp_path / "chart.svg")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    table = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert table.stdout in (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    kept = (ROOT / "docs" / "chart.svg").read_text(encoding="utf-8")
    assert (tmp_path / "chart.svg").read_text(encoding="utf-8") == kept


# --- how it is written


def test_the_readme_is_short() -> None:
    """One screen of why, one example, one test, one table, links: 150 lines."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


@each_page
def test_no_line_is_wider_than_a_screen(page: Path) -> None:
    """120 characters; the changelog has one line for each change."""
    if page.name != "CHANGELOG.md":
        assert [line for line in page.read_text(encoding="utf-8").splitlines() if len(line) > 120] == []


def without_code(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub and MkDocs both make them."""
    titles = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """To a file that is there and a heading that it has."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", without_code(page)):
        path, _, anchor = target.partition("#")
        file = page if not path else (page.parent / path).resolve()
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@each_page
def test_headings_can_be_linked_to(page: Path) -> None:
    """No two of one page are the same, but for the versions' own in the changelog."""
    titles = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    assert len(anchors(page)) == len(titles)


def test_nothing_is_claimed_that_cannot_be_kept() -> None:
    """A code is sent at most once per call; nobody can promise that it arrives."""
    package = [*(ROOT / "descope_native").rglob("*.py"), ROOT / "pyproject.toml", ROOT / "mkdocs.yml"]
    claims = re.compile(r"exactly[ -]once", re.IGNORECASE)
    assert [path for path in [*PAGES, *package] if claims.search(path.read_text(encoding="utf-8"))] == []


def fill() -> None:
    """Put the files of today into the guides."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in blocks(page):
            if block.kind == "file":
                begin = f"<!-- file: {block.name} -->\n```{block.language}\n"
                file = (ROOT / str(block.name)).read_text(encoding="utf-8")
                text = text.replace(begin + block.text, begin + file)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    fill()
