"""What docs/deploys.md says of calls in flight at SIGTERM, tried with the real servers."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from test_apps import (
    APPS,
    Answer,
    accepting,
    as_body,
    check_problem,
    check_session_cookies,
    imported,
    posting_with_aiohttp,
)

from descope_native.testing import FakeDescope, Fault

pytestmark = pytest.mark.apps

GUIDE = (Path(__file__).parents[2] / "docs" / "deploys.md").read_text(encoding="utf-8")
SERVERS = {
    "uvicorn": "uvicorn {app} --port {port} --timeout-graceful-shutdown {grace}",
    "gunicorn with uvicorn's worker": (
        "gunicorn -k uvicorn_worker.UvicornWorker {app} -b localhost:{port} --graceful-timeout {grace}"
    ),
    "gunicorn": "gunicorn -k asgi {app} -b localhost:{port} --graceful-timeout {grace}",
}
every_server = pytest.mark.parametrize("server", SERVERS)
every_gunicorn = pytest.mark.parametrize("server", [name for name in SERVERS if "gunicorn" in name])


@attrs.frozen
class Stopped:
    """How a server ended that was told to stop with one call in flight."""

    answer: Answer | None
    log: str
    seconds: float


async def stopped(
    server: str, *, app: str = "fastapi_app:app", grace: int, delay: float, tmp_path: Path
) -> Stopped:
    """Run a server, let the service take `delay` seconds for a call, and send SIGTERM meanwhile."""
    for needed in ("fastapi", server.partition(" ")[0]):
        pytest.importorskip(needed)
    fake = FakeDescope()
    with socket.create_server(("localhost", 0)) as probe:
        port = probe.getsockname()[1]
    async with (
        fake.serve() as base_url,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *SERVERS[server].format(app=app, port=port, grace=grace).split()),
            cwd=APPS,
            env={
                **os.environ,
                "HOME": str(tmp_path),  # gunicorn makes a socket there
                "PYTHONPATH": os.pathsep.join([str(APPS), str(tmp_path), *filter(None, sys.path)]),
                "DESCOPE_PROJECT_ID": fake.project_id,
                "DESCOPE_BASE_URI": base_url,
                "SIGN_IN_TIMEOUT": "60",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        post = posting_with_aiohttp(session, f"http://localhost:{port}/sign-in")
        try:
            async with asyncio.timeout(60):
                await accepting(port, process)
                warm = await post(as_body(fake.sign_in("google", email="first@example.com")))
                assert warm.status == 200, warm.body
                fake.fail_next(Fault(delay=delay))
                in_flight = asyncio.create_task(answer_or_none(post(as_body(fake.sign_in("google")))))
                while len(fake.calls) < 2:
                    await asyncio.sleep(0.01)
                process.terminate()
                told = time.monotonic()
                output, _ = await process.communicate()
                seconds = time.monotonic() - told
                return Stopped(await in_flight, output.decode(), seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


async def answer_or_none(asked: Any) -> Answer | None:
    try:
        answer: Answer = await asked
    except aiohttp.ClientError:
        return None
    return answer


@every_server
async def test_a_call_ends_within_a_longer_graceful_timeout(server: str, tmp_path: Path) -> None:
    """The app has its session, and the server ends as soon as it has, without a traceback."""
    end = await stopped(server, grace=30, delay=1.5, tmp_path=tmp_path)
    assert end.answer
    check_session_cookies(end.answer)
    assert end.seconds < 20
    assert "Traceback" not in end.log
    assert "Unclosed" not in end.log


async def test_a_call_is_cancelled_after_uvicorns_shorter_graceful_timeout(tmp_path: Path) -> None:
    """What the guide warns of: an answer that does not say what to do, and a traceback."""
    logged = "import logging\nlogging.basicConfig(level=logging.INFO)\nfrom fastapi_app import app\n"
    (tmp_path / "logged.py").write_text(logged)
    end = await stopped("uvicorn", app="logged:app", grace=1, delay=50, tmp_path=tmp_path)
    assert end.answer
    assert (end.answer.status, end.answer.cookies) == (500, [])
    assert end.answer.headers["Content-Type"].startswith("text/plain")
    assert "CancelledError" in end.log
    (line,) = re.findall(r"descope_native:finish .*error=.*", end.log)
    assert "outcome=unknown" in line


async def test_what_uvicorn_cancels_is_answered_where_the_guides_middleware_is(tmp_path: Path) -> None:
    """The app is told to start over, and the log has no traceback."""
    end = await stopped("uvicorn", app="answer_when_cut:app", grace=1, delay=50, tmp_path=tmp_path)
    assert end.answer
    check_problem(end.answer, 502, "start_over")
    assert "Traceback" not in end.log
    assert end.seconds < 20


@every_gunicorn
async def test_a_worker_is_killed_after_gunicorns_shorter_graceful_timeout(
    server: str, tmp_path: Path
) -> None:
    """The connection goes away, with no answer and no traceback."""
    end = await stopped(server, app="answer_when_cut:app", grace=1, delay=50, tmp_path=tmp_path)
    assert end.answer is None
    assert "Traceback" not in end.log
    assert end.seconds < 20


async def test_the_middleware_hands_on_what_is_not_cancelled() -> None:
    """And a cancellation that comes after the answer has begun, or at the lifespan, stays one."""
    module = imported("answer_when_cut", "fastapi")
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    def inner(*messages: str) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            for message in messages:
                await send({"type": message})
            raise asyncio.CancelledError

        return module.AnswerWhenCut(app)

    for scope, messages in (("http", ["http.response.start"]), ("lifespan", [])):
        with pytest.raises(asyncio.CancelledError):
            await inner(*messages)({"type": scope}, None, send)
    assert sent == ["http.response.start"]


def test_the_guide_quotes_the_file_and_the_options_that_were_tried() -> None:
    """Its commands are those above, and its middleware is the one above."""
    quoted = dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", GUIDE, re.DOTALL))
    assert list(quoted) == ["tests/apps/answer_when_cut.py"]
    for name, text in quoted.items():
        assert text == (Path(__file__).parents[2] / name).read_text(encoding="utf-8")
    commands = re.findall(r"^\$ (.*)$", GUIDE, re.MULTILINE)
    tried = [
        command.format(app="fastapi_app:app", port=0, grace=20)
        .replace(" --port 0", "")
        .replace(" -b localhost:0", "")
        for command in SERVERS.values()
    ]
    assert commands == tried
