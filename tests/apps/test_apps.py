"""The applications in apps/: each with the network swapped for a stand-in, and each under a real server."""

import asyncio
import base64
import contextlib
import importlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import aiohttp
import aiohttp.web
import attrs
import pytest
from aiohttp.test_utils import TestServer
from kit.support import PROJECT

from descope_native import InMemoryTransport, NativeOAuthFinisher
from descope_native.testing import FakeDescope, Fault, Proof

APPS = Path(__file__).parent


@attrs.frozen
class Answer:
    """What the phone gets from an application."""

    status: int
    cookies: list[str]
    body: bytes
    headers: Mapping[str, str]

    def tokens(self) -> dict[str, str]:
        """Name to token of the cookies that were set."""
        return dict(cookie.split(";")[0].split("=") for cookie in self.cookies)


class Post(Protocol):
    """Send a body to an application."""

    async def __call__(self, body: bytes, content_type: str = "application/json") -> Answer: ...


def as_body(proof: Proof) -> bytes:
    return json.dumps(proof.as_arguments()).encode()


def claims(token: str) -> Any:
    """What a JWT says, read without the library or a JWT package."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def check_session_cookies(answer: Answer) -> None:
    assert answer.status == 200
    summary = json.loads(answer.body)
    assert (summary.pop("first_seen"), set(summary)) == (True, {"email", "roles", "attributes"})
    tokens = answer.tokens()
    assert {name: claims(token)["drn"] for name, token in tokens.items()} == {"DS": "DS", "DSR": "DSR"}
    for cookie in answer.cookies:
        attributes = {attribute.strip().lower() for attribute in cookie.split(";")[1:]}
        assert {"httponly", "secure", "samesite=lax", "path=/"} <= attributes
        assert any(attribute.startswith("max-age=") for attribute in attributes)


def check_problem(answer: Answer, status: int, *steps: str) -> None:
    """A problem document (RFC 9457), told without the library, and no cookie beside it."""
    assert (answer.status, answer.cookies) == (status, [])
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    problem = json.loads(answer.body)
    assert set(problem) == {"type", "title", "status", "detail", "code", "next"}
    assert (problem["status"], problem["next"] in steps) == (status, True), problem


# --- in this process, each with its framework's own way to put something else in a place


@asynccontextmanager
async def asgi(app: Any) -> AsyncIterator[Post]:
    httpx = pytest.importorskip("httpx")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as client:
        yield posting_with_httpx(client)


def posting_with_httpx(client: Any) -> Post:
    async def post(body: bytes, content_type: str = "application/json") -> Answer:
        headers = {"Content-Type": content_type.encode()}  # httpx itself takes ASCII only
        response = await client.post("/sign-in", content=body, headers=headers)
        cookies = response.headers.get_list("set-cookie")
        return Answer(response.status_code, cookies, response.content, response.headers)

    return post


@asynccontextmanager
async def fastapi(finisher: NativeOAuthFinisher) -> AsyncIterator[Post]:
    module = imported("fastapi_app", "fastapi")
    module.app.dependency_overrides[module.get_finisher] = lambda: finisher
    async with asgi(module.app) as post:
        yield post
    module.app.dependency_overrides.clear()


@asynccontextmanager
async def starlette(finisher: NativeOAuthFinisher) -> AsyncIterator[Post]:
    module = imported("starlette_app", "starlette")
    module.app.state.finisher = finisher
    async with asgi(module.app) as post:
        yield post


@asynccontextmanager
async def aiohttp_web(finisher: NativeOAuthFinisher) -> AsyncIterator[Post]:
    module = imported("aiohttp_app", "aiohttp")
    app = module.create_app([])
    app.cleanup_ctx.clear()
    app[module.FINISHER] = finisher
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        yield posting_with_aiohttp(session, str(server.make_url("/sign-in")))


def posting_with_aiohttp(session: aiohttp.ClientSession, url: str, coding: str = "identity") -> Post:
    async def post(body: bytes, content_type: str = "application/json") -> Answer:
        headers = {"Content-Type": content_type, "Content-Encoding": coding}
        async with session.post(url, data=io.BytesIO(body), headers=headers) as response:
            cookies = response.headers.getall("Set-Cookie", [])
            return Answer(response.status, cookies, await response.read(), response.headers)

    return post


@asynccontextmanager
async def litestar(finisher: NativeOAuthFinisher) -> AsyncIterator[Post]:
    module = imported("litestar_app", "litestar")

    async def get_finisher() -> NativeOAuthFinisher:
        return finisher

    app = module.Litestar(
        route_handlers=[module.sign_in],
        dependencies={"finisher": module.Provide(get_finisher)},
        exception_handlers=module.app.exception_handlers,
    )
    async with asgi(app) as post:
        yield post


@asynccontextmanager
async def quart(finisher: NativeOAuthFinisher) -> AsyncIterator[Post]:
    app = imported("quart_app", "quart").app
    app.extensions["finisher"] = finisher
    client = app.test_client(use_cookies=False)

    async def post(body: bytes, content_type: str = "application/json") -> Answer:
        response = await client.post("/sign-in", data=body, headers={"Content-Type": content_type})
        cookies = response.headers.getlist("Set-Cookie")
        return Answer(response.status_code, cookies, await response.get_data(), response.headers)

    yield post


@asynccontextmanager
async def sanic(finisher: NativeOAuthFinisher) -> AsyncIterator[Post]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest.importorskip("sanic").Sanic, "test_mode", True)  # lets a name be used again
        patch.setenv("DESCOPE_PROJECT_ID", PROJECT)
        sys.modules.pop("sanic_app", None)  # an app of Sanic's starts once
        app = imported("sanic_app", "sanic").app
        async with lifespan(app), asgi(app) as post:
            app.ctx.finisher = finisher
            yield post


@asynccontextmanager
async def django(finisher: NativeOAuthFinisher) -> AsyncIterator[Post]:
    module = imported("django_app", "django")

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await module.django({**scope, "state": {"finisher": finisher}}, receive, send)

    async with asgi(with_state) as post:
        yield post


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """Start and stop an ASGI application as a server does."""
    steps: asyncio.Queue[str] = asyncio.Queue()
    done: asyncio.Queue[str] = asyncio.Queue()

    async def receive() -> dict[str, str]:
        return {"type": await steps.get()}

    async def send(message: dict[str, str]) -> None:
        await done.put(message["type"])

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(app(scope, receive, send))
        await steps.put("lifespan.startup")
        assert await done.get() == "lifespan.startup.complete"
        yield
        await steps.put("lifespan.shutdown")
        assert await done.get() == "lifespan.shutdown.complete"


def imported(module: str, framework: str) -> Any:
    pytest.importorskip(framework)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(APPS)
        return importlib.import_module(module)


InProcess = Callable[[NativeOAuthFinisher], AbstractAsyncContextManager[Post]]
every_framework = pytest.mark.parametrize(
    "app",
    [fastapi, starlette, aiohttp_web, litestar, quart, sanic, django],
    ids=lambda app: app.__name__,
)


@asynccontextmanager
async def swapped(app: InProcess, fake: FakeDescope) -> AsyncIterator[Post]:
    finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake), timeout=0.2)
    async with app(finisher) as post:
        yield post


@every_framework
async def test_a_sign_in_sets_both_tokens_as_cookies(app: InProcess) -> None:
    """Each framework turns the result into two safe cookies, whichever way the tokens came."""
    for tokens in ("body", "cookies"):
        fake = FakeDescope(tokens=tokens)
        async with swapped(app, fake) as post:
            check_session_cookies(await post(as_body(fake.sign_in("apple", name="Ada Lovelace"))))


FAULTS = {
    "late": (Fault(delay=5), 504, "start_over"),
    "broken": (Fault(status=503), 502, "start_over"),
    "busy": (Fault(status=429, headers={"Retry-After": "1"}), 503, "wait"),
    "refused": (Fault(status=400), 401, "start_over"),
    "not looked at": (Fault(status=425), 503, "send_again"),
    "lost": (Fault(drop="before"), 502, "start_over"),
}


@every_framework
@pytest.mark.parametrize(("fault", "status", "step"), FAULTS.values(), ids=FAULTS)
async def test_a_failed_sign_in_is_answered_as_everywhere(
    app: InProcess, fault: Fault, status: int, step: str
) -> None:
    """One mapping serves every framework: its status, headers and problem document, and no cookie."""
    fake = FakeDescope()
    fake.fail_next(fault)
    async with swapped(app, fake) as post:
        answer = await post(as_body(fake.sign_in("google")))
    check_problem(answer, status, step)
    assert answer.headers.get("Retry-After") == dict(fault.headers).get("Retry-After")


EMPTY: list[dict[str, str | None]] = [
    {"code": ""},
    {"code": None, "user": None},
    {"user": ""},
    {"user": "null"},
    {"user": "{}"},
    {"user": '{"name": {"firstName": "", "lastName": null}}'},
]


@every_framework
async def test_what_is_empty_is_not_given(app: InProcess) -> None:
    """An app that fills in every key, and has nothing for some, gets its session."""
    fake = FakeDescope()
    async with swapped(app, fake) as post:
        for number, empty in enumerate(EMPTY):
            proof = fake.sign_in("apple", email=f"user{number}@example.com", implicit=True)
            answer = await post(json.dumps({**proof.as_arguments(), **empty}).encode())
            check_session_cookies(answer)
        answer = await post(json.dumps({**fake.sign_in("apple").as_arguments(), "id_token": ""}).encode())
        check_session_cookies(answer)


FRAMEWORKS = ("fastapi", "starlette", "aiohttp", "litestar", "quart", "sanic", "django")
ATTRIBUTES = {"plan": "pro", "seats": [1, {"free": None}], "nested": {"deep": {"er": True}}}


async def json_of(framework: str, value: Any) -> Any:
    """What an endpoint sends that returns the value, by the framework's own JSON encoder."""
    if framework == "aiohttp":
        return json.loads(aiohttp.web.json_response(value).text or "")
    if framework == "django":
        module = imported("django_app", "django")
        return json.loads(module.JsonResponse(value).content)
    if framework == "starlette":
        return json.loads(imported("starlette_app", "starlette").JSONResponse(value).body)
    if framework == "sanic":
        return json.loads(pytest.importorskip("sanic").json(value).body)
    if framework == "quart":
        results = imported("quart_app", "quart").Quart("results")
        results.add_url_rule("/", view_func=lambda: value)
        return await (await results.test_client().get("/")).get_json()

    async def endpoint() -> dict[str, Any]:
        return cast("dict[str, Any]", value)

    app: Any
    if framework == "fastapi":
        app = imported("fastapi_app", "fastapi").FastAPI()
        app.get("/")(endpoint)
    else:
        litestar = pytest.importorskip("litestar")
        app = litestar.Litestar([litestar.get("/")(endpoint)])
    httpx = pytest.importorskip("httpx")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://localhost") as client:
        return (await client.get("/")).json()


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_parts_of_a_result_are_json_to_the_framework(framework: str) -> None:
    """Free-form attributes, claims and flags are sent as they are, with no conversion in between."""
    fake = FakeDescope()
    fake.fail_next(Fault(fields={"claims": ATTRIBUTES}))
    proof = fake.sign_in("google", user={"customAttributes": ATTRIBUTES})
    finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake))
    result = await finisher.finish(**proof.as_arguments())
    assert result.user
    parts = {
        "attributes": result.user.custom_attributes,
        "claims": result.claims,
        "oauth": result.user.oauth,
    }
    sent = await json_of(framework, parts)
    assert sent == {"attributes": ATTRIBUTES, "claims": ATTRIBUTES, "oauth": {"google": True}}
    assert await json_of(framework, result.claims) == ATTRIBUTES  # itself the whole answer


SETTINGS = (
    "DESCOPE_PROJECT_ID",
    "DESCOPE_BASE_URI",
    "DESCOPE_AUTH_MANAGEMENT_KEY",
    "DESCOPE_ALLOW_HTTP",
    "SIGN_IN_TIMEOUT",
)
STARTED = """
import asyncio, importlib, sys
from aiohttp import web
from test_apps import lifespan

async def main(name, framework):
    module = importlib.import_module(name)
    if framework == "aiohttp":
        runner = web.AppRunner(module.create_app([]))
        await runner.setup()
        await runner.cleanup()
    else:
        async with lifespan(getattr(module, "application" if framework == "django" else "app")):
            pass

asyncio.run(main(*sys.argv[1:]))
"""


def start(framework: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Start and stop an application in a process of its own, since it reads its settings once."""
    pytest.importorskip(framework)
    others = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    paths = os.pathsep.join([str(APPS), str(APPS.parent), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-c", STARTED, f"{framework}_app", framework],
        env={**others, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_empty_setting_is_not_given(framework: str) -> None:
    """A compose file's ${SIGN_IN_TIMEOUT:-} is empty, and the application starts with its default."""
    done = start(framework, {**dict.fromkeys(SETTINGS, ""), "DESCOPE_PROJECT_ID": PROJECT})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("environment", [{}, {"DESCOPE_PROJECT_ID": ""}], ids=["missing", "empty"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_setting_that_is_needed_is_named(framework: str, environment: dict[str, str]) -> None:
    """Whoever starts the application without it reads which variable to set."""
    done = start(framework, environment)
    assert done.returncode != 0
    assert "DESCOPE_PROJECT_ID is not set" in done.stderr + done.stdout


# --- under real servers


@attrs.frozen
class Server:
    """What must be installed, and how the application is run."""

    needs: str
    command: str


SERVERS = {
    "fastapi": Server("fastapi uvicorn", "uvicorn fastapi_app:app --port {port} --workers 2"),
    "starlette": Server("starlette hypercorn", "hypercorn starlette_app:app --bind localhost:{port}"),
    "aiohttp.web": Server("aiohttp", "aiohttp.web -H localhost -P {port} aiohttp_app:create_app"),
    "litestar": Server(
        "litestar granian", "granian --interface asgi --port {port} --workers 2 litestar_app:app"
    ),
    "quart": Server("quart hypercorn", "hypercorn quart_app:app --bind localhost:{port} --workers 2"),
    "sanic": Server("sanic", "sanic sanic_app:app --port {port} --workers 2"),
    "django": Server("django uvicorn", "uvicorn --lifespan on django_app:application --port {port}"),
}


@asynccontextmanager
async def running(server: Server, environment: dict[str, str]) -> AsyncIterator[str]:
    """Start the server, wait until it listens, give its URL; it must end cleanly when asked to."""
    with socket.create_server(("localhost", 0)) as probe:
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *server.command.format(port=port).split(),
        cwd=APPS,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(APPS), *filter(None, sys.path)]),
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    output = b""
    try:
        async with asyncio.timeout(30):
            await accepting(port, process)
        assert process.returncode is None
        yield f"http://localhost:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(10):
                output, _ = await process.communicate()
                print(output.decode())
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what a hanging server would leave behind
    assert b"Traceback" not in output
    assert b"Unclosed" not in output  # what aiohttp says of a session that nobody closed


async def accepting(port: int, process: asyncio.subprocess.Process) -> None:
    """Wait until somebody listens; with several workers, no server says so in a line of its own."""
    while process.returncode is None:
        try:
            _, writer = await asyncio.open_connection("localhost", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            await writer.wait_closed()
            return


@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
async def test_an_application_works_under_a_real_server(server: Server) -> None:
    """Over HTTP, configured by the environment, with several workers where the server has them."""
    for needed in server.needs.split():
        pytest.importorskip(needed)
    fake = FakeDescope()
    async with fake.serve() as base_url:
        environment = {
            "DESCOPE_PROJECT_ID": fake.project_id,
            "DESCOPE_BASE_URI": base_url,
            "SIGN_IN_TIMEOUT": "2",
        }
        async with (
            running(server, environment) as url,
            aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=20)
            ) as session,
        ):
            post = posting_with_aiohttp(session, f"{url}/sign-in")
            proofs = [fake.sign_in("google", email=f"user{number}@example.com") for number in range(8)]
            answers = await asyncio.gather(*(post(as_body(proof)) for proof in proofs))
            for answer in answers:
                check_session_cookies(answer)
            assert len({claims(answer.tokens()["DS"])["sub"] for answer in answers}) == len(proofs)

            again = await post(as_body(proofs[0]))
            assert (again.status, again.cookies) == (401, [])
            assert (await post(b"{")).status in {400, 422}
            assert [call.status for call in fake.calls] == [200] * len(proofs) + [400]

            fake.fail_next(Fault(delay=60))
            late = await post(as_body(fake.sign_in("google")))
            assert (late.status, late.cookies) == (504, [])
