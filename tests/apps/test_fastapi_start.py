"""Start and finish in one backend: the whole story, and a stranger's sign-in that no device finishes."""

import asyncio
import base64
import http.cookies
import itertools
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import time_machine
from kit.servers import unused_port
from store_servers import StoreServer
from test_apps import (
    Answer,
    Server,
    check_problem,
    check_session_cookies,
    claims,
    imported,
    running,
)
from test_hostile_input import CHARSETS, NO_SIGN_IN, OTHER_TYPES, frames_of

from descope_native import DescopeNativeError
from descope_native.testing import FakeDescope, Fault

pytestmark = pytest.mark.apps

SECRET = "0123456789abcdef0123456789abcdef"
COOKIE = "__Host-sign-in"
FINISH = "/v1/auth/oauth/native/finish"


class Device:
    """A phone: it keeps its cookies as a browser does, and shows the dialog."""

    def __init__(self, client: Any, fake: FakeDescope) -> None:
        self.client, self.fake = client, fake

    async def post(self, path: str, content: bytes, content_type: str = "application/json") -> Answer:
        response = await self.client.post(
            path, content=content, headers={"Content-Type": content_type.encode()}
        )
        cookies = response.headers.get_list("set-cookie")
        return Answer(response.status_code, cookies, response.content, response.headers)

    async def start(self, provider: str = "google") -> dict[str, Any]:
        answer = await self.post("/sign-in/start", json.dumps({"provider": provider}).encode())
        assert answer.status == 200, answer.body
        started: dict[str, Any] = json.loads(answer.body)
        return started

    def show_dialog(self, started: dict[str, Any], **person: Any) -> bytes:
        """What the app posts when the person has signed in: the proof, and no state."""
        proof = self.fake.phone(started, **person)
        return json.dumps({"code": proof.code, "id_token": proof.id_token, "user": proof.user}).encode()

    async def finish(self, proof: bytes) -> Answer:
        return await self.post("/sign-in/finish", proof)


@asynccontextmanager
async def devices(
    fake: FakeDescope, monkeypatch: pytest.MonkeyPatch, *, count: int = 1
) -> AsyncIterator[list[Device]]:
    """The application with its lifespan, as a server runs it, and devices that it cannot tell apart."""
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("itsdangerous")
    module = imported("fastapi_start_app", "fastapi")
    async with fake.serve() as base_url:
        monkeypatch.setenv("DESCOPE_PROJECT_ID", fake.project_id)
        monkeypatch.setenv("DESCOPE_BASE_URI", base_url)
        monkeypatch.setenv("SIGN_IN_SECRET", SECRET)
        async with module.lifespan(module.app) as state:

            async def with_state(scope: Any, receive: Any, send: Any) -> None:
                await module.app({**scope, "state": dict(state)}, receive, send)

            def client() -> Any:
                transport = httpx.ASGITransport(with_state)
                return httpx.AsyncClient(transport=transport, base_url="https://localhost")

            yield [Device(client(), fake) for _ in range(count)]


def finishes(fake: FakeDescope) -> int:
    return sum(call.path == FINISH for call in fake.calls)


@pytest.mark.parametrize("provider", ["google", "apple"])
async def test_a_device_starts_and_finishes(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The phone gets what its dialog needs, hands the proof back, and has a session; the state is spent."""
    fake = FakeDescope()
    async with devices(fake, monkeypatch) as (device,):
        started = await device.start(provider)
        assert set(started) == {"client_id", "nonce", "implicit"}
        check_session_cookies(await device.finish(device.show_dialog(started)))
        other = device.show_dialog(started, email="other@example.com")
        check_start_over(await device.finish(other), 401)
        assert COOKIE not in device.client.cookies
        assert finishes(fake) == 2


async def test_a_second_tap_after_the_first_answer_gets_the_same_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cookie of the start is still there, and the proof goes out once."""
    fake = FakeDescope()
    async with devices(fake, monkeypatch) as (device,):
        proof = device.show_dialog(await device.start())
        first, second = await device.finish(proof), await device.finish(proof)
        check_session_cookies(second)
        assert second.cookies == first.cookies
        assert finishes(fake) == 1


def attrs_without_start(answer: Answer) -> Answer:
    """The answer, once it is seen that it ends the start."""
    ended = [cookie for cookie in answer.cookies if cookie.startswith(COOKIE)]
    assert len(ended) == 1
    others = [cookie for cookie in answer.cookies if cookie not in ended]
    return Answer(answer.status, others, answer.body, answer.headers)


def check_start_over(answer: Answer, status: int = 400) -> None:
    check_problem(attrs_without_start(answer), status, "start_over")


# --- the attack: a stranger signs in on their own device, and has the victim's hand the proof over


async def test_a_strangers_sign_in_is_not_finished_on_a_device_that_started_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The victim would go on in the stranger's account. Nothing is sent, so that no code is spent."""
    fake = FakeDescope()
    async with devices(fake, monkeypatch, count=2) as (stranger, victim):
        proof = stranger.show_dialog(await stranger.start(), email="stranger@example.com")
        check_start_over(await victim.finish(proof))
        assert finishes(fake) == 0
        assert "DS" not in victim.client.cookies
        assert (await stranger.finish(proof)).status == 200  # which shows that the proof was good


@pytest.mark.parametrize("provider", ["google", "apple"])
async def test_a_strangers_sign_in_is_not_finished_on_a_device_that_started_its_own(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id token of another start is refused here, by its nonce; a code by the service, by the same."""
    fake = FakeDescope()
    async with devices(fake, monkeypatch, count=2) as (stranger, victim):
        proof = stranger.show_dialog(await stranger.start(provider), email="stranger@example.com")
        await victim.start(provider)
        answer = await victim.finish(proof)
        if provider == "google":
            check_start_over(answer)
            assert finishes(fake) == 0
        else:
            check_start_over(answer, 401)
        assert "DS" not in victim.client.cookies


async def test_what_binds_a_start_cannot_be_planted_or_read_by_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its name and attributes are those that browsers keep to one host, to https, and from scripts."""
    fake = FakeDescope()
    async with devices(fake, monkeypatch) as (device,):
        answer = await device.post("/sign-in/start", b'{"provider": "google"}')
        (cookie,) = answer.cookies
        parsed = http.cookies.SimpleCookie(cookie)[COOKIE]
        assert (parsed["path"], parsed["domain"], parsed["max-age"]) == ("/", "", "600")
        assert parsed["secure"]
        assert parsed["httponly"]
        assert parsed["samesite"].lower() == "strict"
        check_start_over(await device.finish(b"{}"))


async def test_a_start_ends_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a client keeps the cookie for longer."""
    fake = FakeDescope(state_lifetime=10**9)
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        async with devices(fake, monkeypatch) as (device,):
            proof = device.show_dialog(await device.start())
            kept = device.client.cookies[COOKIE]
            clock.shift(599)
            fake.fail_next(Fault(status=425))
            check_problem(await device.finish(proof), 503, "send_again")
            clock.shift(2)
            device.client.cookies.clear()
            device.client.cookies.set(COOKIE, kept)
            check_start_over(await device.finish(proof))
            assert finishes(fake) == 1


async def test_a_cookie_that_was_made_up_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte of it is signed; so is what it is for."""
    itsdangerous = pytest.importorskip("itsdangerous")
    fake = FakeDescope()
    async with devices(fake, monkeypatch) as (device,):
        proof = device.show_dialog(await device.start())
        sealed = device.client.cookies[COOKIE]
        begun = json.loads(base64.urlsafe_b64decode(sealed.partition(".")[0] + "==="))
        foreign = [
            itsdangerous.URLSafeTimedSerializer(SECRET[::-1], salt="native sign-in").dumps(begun),
            itsdangerous.URLSafeTimedSerializer(SECRET, salt="sessions").dumps(begun),
            itsdangerous.URLSafeSerializer(SECRET, salt="native sign-in").dumps(begun),
        ]
        changed = [
            f"{sealed[:at]}{'A' if sealed[at] != 'A' else 'B'}{sealed[at + 1 :]}"
            for at in range(0, len(sealed) - 1, 7)
        ]
        odd = [
            "",
            ".",
            "..",
            "a.b.c",
            ".a.b",
            "\xff\xfe",
            "%00",
            "a" * 5000,
            f"{sealed}.",
            sealed[:-1],
            f".{sealed}",
        ]
        for value in (*foreign, *changed, *odd):
            device.client.cookies.clear()
            check_start_over(await with_cookie(device, value, proof))
        assert finishes(fake) == 0
        assert (
            await with_cookie(device, sealed, proof)
        ).status == 200  # which shows that only they were wrong


async def with_cookie(device: Device, value: str, proof: bytes) -> Answer:
    response = await device.client.post(
        "/sign-in/finish",
        content=proof,
        headers=[(b"Content-Type", b"application/json"), (b"Cookie", f"{COOKIE}={value}".encode("latin-1"))],
    )
    return Answer(
        response.status_code, response.headers.get_list("set-cookie"), response.content, response.headers
    )


# --- what goes wrong


async def test_what_may_be_sent_again_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is kept where the answer asks for the same request, and only there."""
    fake = FakeDescope()
    async with devices(fake, monkeypatch) as (device,):
        proof = device.show_dialog(await device.start())
        fake.fail_next(Fault(status=429, headers={"Retry-After": "1"}), Fault(status=425))
        check_problem(await device.finish(proof), 503, "wait")
        check_problem(await device.finish(proof), 503, "send_again")
        check_session_cookies(await device.finish(proof))

        proof = device.show_dialog(await device.start())
        fake.fail_next(Fault(drop="after"))
        check_start_over(await device.finish(proof), 502)
        assert COOKIE not in device.client.cookies


async def test_a_start_that_fails_may_be_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It spends nothing; but one that the service refuses it would refuse again."""
    fake = FakeDescope()
    async with devices(fake, monkeypatch) as (device,):
        for fault, step in ((Fault(status=503), "send_again"), (Fault(status=400), "give_up")):
            fake.fail_when(lambda request: request.url.path.endswith("/start"), fault)
            check_problem(await device.post("/sign-in/start", b'{"provider": "apple"}'), 503, step)
            fake.mend()


@pytest.mark.parametrize("missing", ["clientId", "nonce"])
async def test_a_start_that_the_phone_cannot_go_on_with_has_failed(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not answered with a null, and leaves nothing at the device."""
    fake = FakeDescope()
    async with devices(fake, monkeypatch) as (device,):
        fake.fail_when(lambda request: request.url.path.endswith("/start"), Fault(fields={missing: None}))
        check_problem(await device.post("/sign-in/start", b'{"provider": "google"}'), 503, "give_up")
        assert COOKIE not in device.client.cookies


async def test_no_body_of_a_stranger_is_a_500(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at the start nor at the finish; nobody is called for any of them."""
    fake = FakeDescope()
    async with devices(fake, monkeypatch) as (device,):
        await device.start()
        sealed, calls = device.client.cookies[COOKIE], len(fake.calls)
        bodies = [(body, "application/json") for body in NO_SIGN_IN.values() if b"state" not in body]
        bodies += [(b'{"provider": "google"}', kind) for kind in OTHER_TYPES]
        bodies += [(b"\xff", f"application/json; charset={charset}") for charset in CHARSETS]
        for path, (body, kind) in itertools.product(("/sign-in/start", "/sign-in/finish"), bodies):
            device.client.cookies.set(COOKIE, sealed, domain="localhost", path="/")
            answer = await device.post(path, body, kind)
            assert answer.status == 400, (path, body[:80], answer.body)
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert len(fake.calls) == calls


@pytest.mark.parametrize("step", ["start", "finish", "stranger", "cut"])
async def test_no_frame_of_the_application_keeps_a_secret_in_an_error(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the proof nor what the start gave is among the variables that a collector records."""
    fake = FakeDescope()
    module = imported("fastapi_start_app", "fastapi")
    answer_for = module.answer_for
    shown: list[str] = []

    def looking(error: DescopeNativeError) -> Any:
        shown.append(repr(error))
        shown.extend(repr(value) for frame in frames_of(error) for value in frame.f_locals.values())
        return answer_for(error)

    monkeypatch.setattr(module, "answer_for", looking)
    async with devices(fake, monkeypatch) as (device,):
        started = await device.start("apple")
        sealed = device.client.cookies[COOKIE]
        state_id = json.loads(base64.urlsafe_b64decode(sealed.partition(".")[0] + "==="))["state_id"]
        proof = device.show_dialog(started, name="Ada Lovelace")
        if step == "start":
            fake.fail_when(lambda request: True, Fault(status=503))
            await device.post("/sign-in/start", b'{"provider": "apple"}')
        elif step == "finish":
            fake.fail_next(Fault(status=503))
            await device.finish(proof)
        elif step == "stranger":
            await with_cookie(device, sealed[:-1], proof)
        else:
            await device.finish(proof[:-1])
    assert len(shown) > (1 if step != "cut" else 0)
    for secret in (state_id, started["nonce"], json.loads(proof)["code"], "Lovelace", sealed[:-2]):
        assert not [text for text in shown if secret in text]


@pytest.mark.parametrize("secret", [None, "", "too short"])
async def test_the_secret_is_asked_for_by_its_name(
    secret: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guessable one would let anybody make up starts; one for each worker would lose them."""
    pytest.importorskip("itsdangerous")
    module = imported("fastapi_start_app", "fastapi")
    monkeypatch.delenv("SIGN_IN_SECRET", raising=False)
    if secret is not None:
        monkeypatch.setenv("SIGN_IN_SECRET", secret)
    with pytest.raises(ValueError, match="SIGN_IN_SECRET must be 32 characters or more"):
        async with module.lifespan(module.app):
            pass


def test_the_endpoint_is_tested_as_the_guide_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start and finish, with its own starter and finisher replaced; without a server."""
    pytest.importorskip("itsdangerous")
    imported("endpoint_example", "fastapi").test_a_person_signs_in(monkeypatch)


# --- as it is run: two workers on uvloop, the stand-in as a command of its own, curl for the phone


async def curl(url: str, body: bytes, *options: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--max-time", "20", "-H", "Content-Type: application/json", "--data-binary", "@-"),
        *(*options, url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(body)
    assert process.returncode == 0, err
    return out


async def test_the_guide_is_followed_in_a_shell(tmp_path: Path) -> None:
    """Its console, as one script that says what curl was answered; only the ports are free ones."""
    for needed in ("fastapi", "uvicorn", "itsdangerous"):
        pytest.importorskip(needed)
    root = Path(__file__).parents[2]
    commands = re.findall(r"^\$ (.+)$", (root / "docs" / "flow.md").read_text(encoding="utf-8"), re.MULTILINE)
    stand_in, application = str(unused_port()), str(unused_port())
    script = "\n".join(["set -e", *commands, "kill $(jobs -p)", "cat jar"])
    script = script.replace("8787", stand_in).replace(":8000", f":{application}")
    script = script.replace("uvicorn ", f"uvicorn --port {application} ")
    script = script.replace("tests/apps", str(root / "tests" / "apps"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", script),
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await asyncio.wait_for(shell.communicate(), 60)
    assert shell.returncode == 0
    assert b'"email":"ada@example.com"' in told
    assert {b"DS", b"DSR"} <= {line.split(b"\t")[5] for line in told.splitlines() if line.count(b"\t") == 6}


async def test_the_whole_sign_in_works_under_uvicorn_with_curl_as_the_phone(tmp_path: Any) -> None:
    """Whichever worker has the finish takes what the other one started; the session is in curl's jar."""
    for needed in ("fastapi", "uvicorn", "uvloop", "itsdangerous"):
        pytest.importorskip(needed)
    fake = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "descope_native", "fake"), stdout=asyncio.subprocess.PIPE
    )
    assert fake.stdout is not None
    try:
        _, fake_url, _, project_id = (await asyncio.wait_for(fake.stdout.readline(), 30)).decode().split()
        environment = {
            "DESCOPE_PROJECT_ID": project_id,
            "DESCOPE_BASE_URI": fake_url,
            "SIGN_IN_SECRET": SECRET,
        }
        server = Server("fastapi", "uvicorn fastapi_start_app:app --port {port} --workers 2 --loop uvloop")
        async with (
            StoreServer("valkey") as store,
            running(server, {**environment, "REDIS_URL": f"unix://{store.socket}"}) as url,
        ):
            for number in range(6):  # the kernel deals connections out to the workers
                jar = tmp_path / f"jar{number}"
                keep = ("-c", str(jar), "-b", str(jar))
                started = await curl(f"{url}/sign-in/start", b'{"provider": "google"}', *keep)
                person = {"email": f"user{number}@example.com"}
                phone = json.dumps({**json.loads(started), "user": person}).encode()
                told = json.loads(await curl(f"{fake_url}/stand-in/phone", phone))
                proof = json.dumps({"id_token": told["idToken"]}).encode()
                stranger = await curl(f"{url}/sign-in/finish", proof)
                assert json.loads(stranger)["next"] == "start_over"
                for _ in range(2):  # the second tap gets what the first one got
                    assert json.loads(await curl(f"{url}/sign-in/finish", proof, *keep))["first_seen"] is True
                kept = dict(line.split("\t")[5:7] for line in jar.read_text().splitlines() if "\t" in line)
                assert [claims(kept[name])["drn"] for name in ("DS", "DSR")] == ["DS", "DSR"]
    finally:
        fake.terminate()
        await fake.communicate()
