"""A phone whose connection drops after its code has arrived, and that sends it again to another worker."""

import asyncio
import json
import re
from pathlib import Path

import aiohttp
import pytest
from kit.support import only
from store_servers import StoreServer
from test_apps import Server, as_body, claims, posting_with_aiohttp, running

from descope_native.testing import FakeDescope, Fault

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "worker %(process)d: %(message)s"}},
    "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"descope_native": {"level": "INFO", "handlers": ["stdout"]}},
}


async def post_and_hang_up(url: str, body: bytes, when: asyncio.Event) -> None:
    """What a phone does in a tunnel: its request is out, and nobody is there for the answer."""
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    writer.write(head.encode() + b"\r\n\r\n" + body)
    await when.wait()
    writer.transport.abort()


@pytest.mark.apps
async def test_a_phone_that_lost_its_connection_gets_its_session_from_another_worker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """FastAPI under uvicorn with two workers: every submit gets the one session, of one call."""
    log = tmp_path / "log.json"
    log.write_text(json.dumps(LOGGING))
    uvicorn = Server("", f"uvicorn resubmits_app:app --port {{port}} --workers 2 --log-config {log}")
    fake, arrived = FakeDescope(), asyncio.Event()
    fake.fail_when(lambda _: arrived.set() is None, Fault(delay=0.5))
    async with fake.serve() as base_url, StoreServer("valkey") as store:
        environment = {
            "DESCOPE_PROJECT_ID": fake.project_id,
            "DESCOPE_BASE_URI": base_url,
            "REDIS_URL": f"unix://{store.socket}",
        }
        fresh = aiohttp.TCPConnector(force_close=True)  # or all would reach one worker
        async with running(uvicorn, environment) as url, aiohttp.ClientSession(connector=fresh) as session:
            post = posting_with_aiohttp(session, f"{url}/sign-in")
            proof = fake.sign_in("apple", email="ada@example.com")
            await post_and_hang_up(url, as_body(proof), arrived)
            answers = [await post(as_body(proof)) for _ in range(2)]
            answers += await asyncio.gather(*(post(as_body(proof)) for _ in range(60)))
    assert {answer.status for answer in answers} == {200}
    assert claims(only({answer.tokens()["DS"] for answer in answers}))["drn"] == "DS"
    assert [call.status for call in fake.calls] == [200]
    told = re.findall(
        r"^worker (\d+): finish .*outcome=session .*single_flight=(\w+)",
        capsys.readouterr().out,
        re.MULTILINE,
    )
    led = only(worker for worker, how in told if how == "led")
    assert len(told) == len(answers) + 1
    assert any(worker != led for worker, _ in told)
