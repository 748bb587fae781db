"""The gate: `nox` runs all of it. `nox --list` says what else there is."""

import itertools
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final

import nox
from packaging.requirements import Requirement
from packaging.version import Version

ROOT: Final = Path(__file__).parent
DIST: Final = ROOT / "dist"

PYPROJECT: Final = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS: Final = nox.project.python_versions(PYPROJECT)
NAME: Final[str] = PYPROJECT["project"]["name"]
EXTRAS: Final[dict[str, list[str]]] = PYPROJECT["project"]["optional-dependencies"]
DECLARED: Final = [*PYPROJECT["project"]["dependencies"], *itertools.chain(*EXTRAS.values())]

# Chosen by folder. These need more than the tests group, and have sessions of their own.
APPS: Final = "tests/apps"
OTHER_CLIENTS: Final = "tests/other_clients"
SITE: Final = "tests/site"
REAL_SERVERS: Final = "tests/real_servers"
ELSEWHERE: Final = tuple(f"--ignore={folder}" for folder in (APPS, OTHER_CLIENTS, SITE, REAL_SERVERS))
# What the transports are tested by: also on another event loop, parser, and aiohttp.
TRANSPORT_TESTS: Final = ("tests/contract", "tests/transports")
GROUND_TRUTH: Final = "tests/transports/test_ground_truth.py"
# Each file's tests in their order, and four files at a time: most tests wait, and two cores have room.
BY_FILE: Final = ("-n", "4", "--dist", "loadfile")
BY_TEST: Final = ("-n", "4", "--dist", "worksteal")  # where few of them take long
FAST: Final = ("-m", "not slow and not apps")

nox.needs_version = ">=2025.11.12"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"  # an interpreter that is not here is skipped, or with CI=true fails
nox.options.reuse_venv = "yes"


def group(name: str) -> tuple[str, ...]:
    """The requirements of a dependency group."""
    return tuple(nox.project.dependency_groups(PYPROJECT, name))


def install_wheel(session: nox.Session, *requirements: str, extras: bool = True) -> None:
    """Install the built wheel, never the tree, and what else the session needs, in one resolution."""
    (wheel,) = DIST.glob("*.whl")
    with_extras = f"{wheel}[{','.join(EXTRAS)}]" if extras else str(wheel)
    is_reused = (Path(session.bin) / "descope-native").exists()
    # Not compiled: most of what comes along is never imported.
    session.install("--no-compile", with_extras, *requirements)
    if is_reused:  # it may have an older build of the same version
        session.install("--no-compile", "--no-deps", "--force-reinstall", str(wheel))


def run_tests(session: nox.Session, *arguments: str, command: tuple[str, ...] = ("python",)) -> int:
    """Run pytest and count what it skipped.

    The tree is kept out of reach: without a safe path, it would be first on sys.path.
    """
    report = Path(session.create_tmp()) / "report.xml"
    pytest = (*command, "-m", "pytest", f"--junit-xml={report}", *arguments, *session.posargs)
    session.run(*pytest, env={"PYTHONSAFEPATH": "1"})
    return sum(map(int, re.findall(r'<testsuite [^>]*skipped="(\d+)"', report.read_text(encoding="utf-8"))))


def run_all_tests(session: nox.Session, *arguments: str, command: tuple[str, ...] = ("python",)) -> None:
    """Run pytest where a skipped test would mean that something was not tested anywhere."""
    if skipped := run_tests(session, *arguments, command=command):
        session.error(f"{skipped} tests were skipped, and no other session runs them")


def run_fast_tests(session: nox.Session, *chosen: str, command: tuple[str, ...] = ("python",)) -> None:
    """Run the tests that every interpreter is to pass, or those that are chosen of them."""
    session.env["HARNESS_CALLS"] = "2000"
    run_all_tests(session, *BY_FILE, *FAST, *(chosen or ELSEWHERE), command=command)


@nox.session
def lint(session: nox.Session) -> None:
    """Look for what ruff knows to be wrong."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel, and check what a package index would."""
    session.install(*group("build"))
    shutil.rmtree(DIST, ignore_errors=True)
    session.run("validate-pyproject", "pyproject.toml")
    session.run("python", "-m", "build", "--outdir", str(DIST))
    files = [str(file) for file in DIST.iterdir()]
    session.run("twine", "check", "--strict", *files)
    session.run("check-wheel-contents", str(DIST))


@nox.session(requires=["build"])
def types(session: nox.Session) -> None:
    """Check the annotations as their authors meet them, and as their users do."""
    install_wheel(session, *group("types"))
    session.run("mypy")
    session.run("pyright")
    session.chdir(session.create_tmp())  # or the tree would be looked at, not what was installed
    session.run("pyright", "--ignoreexternal", "--verifytypes", NAME)


@nox.session
def api(session: nox.Session) -> None:
    """Look for what would break users of the last release."""
    git = ("git", "describe", "--tags", "--abbrev=0")
    tag = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 -- our own words
    if not tag:
        session.log("no release yet, so there is no API to break")
        return
    session.install(*group("api"))
    session.run("griffe", "check", NAME, "--against", tag)


@nox.session(python=PYTHONS, requires=["build"])
def wheel(session: nox.Session) -> None:
    """Try the built wheel as a user would, with nothing else installed."""
    install_wheel(session, extras=False)
    session.chdir(session.create_tmp())
    session.run("python", "-W", "error", "-c", f"import {NAME}; print({NAME}.__version__, {NAME}.__file__)")
    session.run("python", "-m", NAME, "demo")
    session.run("descope-native", "--help", silent=True)


@nox.session(requires=["build"])
def apps(session: nox.Session) -> None:
    """Run the applications for each web framework, under their real servers too."""
    install_wheel(session, *group("apps"))
    # Cookies are set with each framework that is there.
    run_all_tests(session, *BY_FILE, APPS, "tests/unit/test_cookies.py")


@nox.session(name="other-clients", requires=["build"])
def other_clients(session: nox.Session) -> None:
    """Let clients that somebody else wrote judge the stand-in; those for Node where npm is there."""
    install_wheel(session, *group("other-clients"))
    # pytest-asyncio is for the tests that these tests write; our own need no plugin.
    run = run_all_tests if shutil.which("npm") else run_tests
    run(session, *BY_FILE, "-p", "no:asyncio", OTHER_CLIENTS)


@nox.session(name="tests-slow", requires=["build"])
def tests_slow(session: nox.Session) -> None:
    """Run the tests that take long, and all calls of the harness; one interpreter is enough for them."""
    install_wheel(session, *group("tests"), *group("bench"))
    run_all_tests(session, *BY_TEST, "-m", "slow or harness", *ELSEWHERE)


@nox.session(name="tests-lowest", python=PYTHONS[0], requires=["build"])
def tests_lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions that pyproject.toml allows."""
    lowest = Path(session.create_tmp()) / "lowest.txt"
    lowest.write_text("\n".join(floor(Requirement(item)) for item in DECLARED))
    install_wheel(session, "--constraint", str(lowest), *group("tests"))
    run_fast_tests(session, *ELSEWHERE, "--ignore=tests/repository")


def floor(requirement: Requirement) -> str:
    """The lowest version that a requirement allows."""
    (version,) = (spec.version for spec in requirement.specifier if spec.operator == ">=")
    return f"{requirement.name}=={version}"


@nox.session(python=PYTHONS[1:], requires=["build"])
def tests(session: nox.Session) -> None:
    """Run the tests against the built wheel; on the newest interpreter they must reach every branch.

    The oldest one has them in `tests-lowest`, and those between have what does not take long.
    """
    install_wheel(session, *group("tests"))
    if session.posargs:
        run_fast_tests(session)
        return
    if session.python != PYTHONS[-1]:
        run_fast_tests(session, "tests/unit")
        return
    session.env["COVERAGE_FILE"] = str(Path(session.create_tmp()).resolve() / "coverage")
    session.run("coverage", "erase")  # each process records into a file of its own
    run_fast_tests(session, command=("coverage", "run"))
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(name="tests-transports", requires=["build"])
def tests_transports(session: nox.Session) -> None:
    """Run the tests of the transports on the event loop that most servers run, with aiohttp's parser in
    Python, as where it has no wheel, and on each older minor version of aiohttp that is allowed.

    The harness runs on uvloop in `harness-loops`.
    """
    install_wheel(session, *group("tests"), "pip")
    session.env["TEST_LOOP"] = "uvloop"
    run_fast_tests(session, f"--ignore={GROUND_TRUTH}", *TRANSPORT_TESTS)
    del session.env["TEST_LOOP"]
    session.env["AIOHTTP_NO_EXTENSIONS"] = "1"
    run_fast_tests(session, *TRANSPORT_TESTS)
    del session.env["AIOHTTP_NO_EXTENSIONS"]
    (allowed,) = (item for item in map(Requirement, DECLARED) if item.name == "aiohttp")
    told = session.run("python", "-m", "pip", "index", "versions", "aiohttp", silent=True)
    (listed,) = re.findall(r"^Available versions: (.+)$", str(told), re.MULTILINE)
    newest: dict[tuple[int, int], Version] = {}
    for version in sorted(map(Version, allowed.specifier.filter(listed.split(", ")))):
        newest[version.major, version.minor] = version
    *older, last = newest.values()
    session.log(f"aiohttp {last} is what the other sessions run on; older ones: {older or 'none'}")
    for version in older:
        session.install(f"aiohttp=={version}")
        run_fast_tests(session, *TRANSPORT_TESTS)


@nox.session(name="real-servers", default=False, requires=["build"])
def real_servers(session: nox.Session) -> None:
    """Call through nginx, HAProxy, Apache and Caddy, where the system has them, at their idle limit."""
    install_wheel(session, *group("tests"))
    run_tests(session, "-s", REAL_SERVERS)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure, against peers that are pinned. For a smoke run: `nox -s bench -- --quick`."""
    session.install(f"{ROOT}[{','.join(EXTRAS)}]", *group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session(default=False, requires=["build"])
def soak(session: nox.Session) -> None:
    """Run the ground-truth harness for long: `nox -s soak -- --calls 500000 --seed 1`."""
    install_wheel(session, *group("tests"))
    session.run("python", str(ROOT / "tests" / "harness"), *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session(default=False, requires=["build"])
def fuzz(session: nox.Session) -> None:
    """Fuzz for long all that reads what cannot be trusted: `nox -s fuzz -- --examples 100000 --seed 1`."""
    install_wheel(session, *group("tests"))
    session.run("python", str(ROOT / "tests" / "fuzz"), *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """Plant mistakes and see whether tests notice. Takes hours, unless told where to plant and what to run:

    nox -s mutation -- descope_native/errors.py tests/unit/test_errors.py
    """
    target, *chosen = session.posargs or [NAME]
    session.install(*DECLARED, *group("mutation"))  # not the package: its tree is what gets the mistakes
    work = Path(session.create_tmp()) / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(ROOT, work, ignore=shutil.ignore_patterns(".*", "build", "dist"))
    session.chdir(work)
    command = shlex.join(["python", "-m", "pytest", "-x", "-q", *FAST, *ELSEWHERE, *chosen])
    Path("cosmic-ray.toml").write_text(
        f"[cosmic-ray]\nmodule-path = {target!r}\ntest-command = {command!r}\ntimeout = 300.0\n"
        "[cosmic-ray.distributor]\nname = 'local'\n"
    )
    session.run("cosmic-ray", "init", "cosmic-ray.toml", "session.sqlite")
    session.run("cosmic-ray", "--verbosity=INFO", "baseline", "cosmic-ray.toml")
    session.run("cr-filter-pragma", "session.sqlite", success_codes=[0, 1])
    session.run("cosmic-ray", "exec", "cosmic-ray.toml", "session.sqlite")
    session.run("cr-report", "--surviving-only", "--show-diff", "session.sqlite")
    session.run("cr-rate", "session.sqlite")


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Plant a random sample of mistakes, and run for each the tests of its subject only:

    nox -s mutants -- --count 300 --seed 1 --record mutants.jsonl
    """
    session.install(*DECLARED, *group("mutation"))
    session.run("python", str(ROOT / "tests" / "mutants.py"), *session.posargs)


@nox.session(requires=["build"])
def docs(session: nox.Session) -> None:
    """Build the guides and the API reference into build/site; a warning is an error."""
    install_wheel(session, *group("docs"))
    session.run("mkdocs", "build", "--quiet", "--strict", "--site-dir", str(ROOT / "build" / "site"))
    run_all_tests(session, SITE)


@nox.session(name="harness-loops", python=PYTHONS[-1], requires=["build"])
def harness_loops(session: nox.Session) -> None:
    """Run the ground-truth harness on the newest uvloop, and on one that keeps its writes back.

    6,000 calls on each, with and without eager tasks. The guards that are for the latter are switched off;
    `tests-slow` does so with the others.
    """
    install_wheel(session, *group("tests"))
    harness = ("python", str(ROOT / "tests" / "harness"), "--loop", "uvloop")
    calls = ("--tls-share", "0.4", "--calls", "3000", *session.posargs)
    runs = (calls, (*calls, "--eager"))
    for uvloop, arguments in (("uvloop>=0.23", runs), ("uvloop==0.21.0", (*runs, ("--guards", "held-back")))):
        session.install(uvloop)
        for each in arguments:
            session.run(*harness, *each, env={"PYTHONSAFEPATH": "1"})
