"""The stock instrumentation of aiohttp's client traces our calls, and no span holds a secret."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from kit.servers import Connection, serve
from kit.support import APPLE, PROJECT, Answer, as_json

from descope_native import AppleUser, DescopeNativeError, NativeOAuthFinisher
from descope_native.testing import FakeDescope, Fault, Proof
from descope_native.transports.aiohttp import AiohttpTransport

KEY = "K2-canary-key-of-the-project"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl"
NAME = "Canaria"


@pytest.fixture
def exporter() -> Any:
    name = "opentelemetry.sdk.trace.export.in_memory_span_exporter"
    return pytest.importorskip(name).InMemorySpanExporter()


@pytest.fixture
def provider(exporter: Any) -> Iterator[Any]:
    provider = pytest.importorskip("opentelemetry.sdk.trace").TracerProvider()
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def instrumentation() -> Any:
    return pytest.importorskip("opentelemetry.instrumentation.aiohttp_client")


@pytest.fixture
def instrumented(instrumentation: Any, provider: Any, exporter: Any) -> Iterator[Any]:
    """The instrumentation is on, and its spans go to the exporter."""
    instrumentor = instrumentation.AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    instrumentor.uninstrument()


def told(exporter: Any) -> str:
    """All that the spans say, as an exporter would send it."""
    return "\n".join(span.to_json() for span in exporter.get_finished_spans())


def secrets_of(proof: Proof) -> list[str]:
    return [text for text in (proof.state_id, proof.code, proof.id_token, proof.nonce) if text]


async def test_an_owned_transport_makes_one_span_for_one_call(instrumented: Any) -> None:
    """Instrumented before ``open`` is entered, a call is one client span with method, URL and status."""
    fake = FakeDescope()
    proof = fake.sign_in("google")
    async with fake.serve() as url, NativeOAuthFinisher.open(fake.project_id, base_url=url) as finisher:
        result = await finisher.finish(**proof.as_arguments())
    (span,) = instrumented.get_finished_spans()
    assert span.kind.name == "CLIENT"
    assert span.attributes["http.method"] == "POST"
    assert span.attributes["http.url"] == f"{url}/v1/auth/oauth/native/finish"
    assert span.attributes["http.status_code"] == 200
    assert result.refresh_jwt
    for secret in (*secrets_of(proof), result.session_jwt, result.refresh_jwt, fake.project_id):
        assert secret not in told(instrumented)


async def test_a_borrowed_session_makes_one_span_for_one_call(instrumented: Any) -> None:
    """What traces the session's own requests traces ours, once."""
    fake = FakeDescope()
    async with fake.serve() as url, aiohttp.ClientSession() as session:
        finisher = NativeOAuthFinisher(fake.project_id, AiohttpTransport(session), base_url=url)
        for _ in range(2):
            await finisher.finish(**fake.sign_in("google").as_arguments())
    assert len(instrumented.get_finished_spans()) == 2


async def test_a_session_that_is_traced_by_hand_makes_one_span(
    instrumentation: Any, provider: Any, exporter: Any
) -> None:
    """``create_trace_config`` traces one session without patching any class."""
    config = instrumentation.create_trace_config(tracer_provider=provider)
    fake = FakeDescope()
    async with fake.serve() as url, aiohttp.ClientSession(trace_configs=[config]) as session:
        finisher = NativeOAuthFinisher(fake.project_id, AiohttpTransport(session), base_url=url)
        await finisher.finish(**fake.sign_in("google").as_arguments())
    assert len(exporter.get_finished_spans()) == 1


async def test_what_was_opened_before_instrumenting_is_not_traced(
    instrumentation: Any, provider: Any, exporter: Any
) -> None:
    """A session gets its tracing when it is made, so an open finisher stays as it is."""
    instrumentor = instrumentation.AioHttpClientInstrumentor()
    fake = FakeDescope()
    async with fake.serve() as url, NativeOAuthFinisher.open(fake.project_id, base_url=url) as finisher:
        instrumentor.instrument(tracer_provider=provider)
        try:
            await finisher.finish(**fake.sign_in("google").as_arguments())
        finally:
            instrumentor.uninstrument()
    assert not exporter.get_finished_spans()


async def test_the_trace_reaches_the_service(instrumented: Any) -> None:
    """The span's id goes out in ``traceparent``, so that two ends of a call can be put together."""
    fake = FakeDescope()
    async with fake.serve() as url, NativeOAuthFinisher.open(fake.project_id, base_url=url) as finisher:
        await finisher.finish(**fake.sign_in("google").as_arguments())
    (call,) = fake.calls
    assert "traceparent" in {name.lower() for name, _ in call.headers}


async def test_captured_headers_can_be_sanitized(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Whoever captures headers names the three that are secret, and they are blacked out."""
    prefix = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS"
    monkeypatch.setenv(f"{prefix}_CLIENT_REQUEST", ".*")
    monkeypatch.setenv(f"{prefix}_CLIENT_RESPONSE", ".*")
    monkeypatch.setenv(f"{prefix}_SANITIZE_FIELDS", "authorization,x-descope-project-id,set-cookie")
    exporter = request.getfixturevalue("instrumented")
    fake = FakeDescope(tokens="cookies", auth_management_key=KEY)
    async with (
        fake.serve() as url,
        NativeOAuthFinisher.open(fake.project_id, base_url=url, auth_management_key=KEY) as finisher,
    ):
        result = await finisher.finish(**fake.sign_in("google").as_arguments())
    (span,) = exporter.get_finished_spans()
    assert span.attributes["http.request.header.authorization"] == ("[REDACTED]",)
    assert span.attributes["http.response.header.set_cookie"] == ("[REDACTED]",) * 2
    for secret in (KEY, fake.project_id, result.session_jwt, result.refresh_jwt):
        assert str(secret) not in told(exporter)


FAULTS = {
    "rejected": Fault(status=400, body=as_json({"errorCode": "E061301", "errorMessage": TOKEN})),
    "server error": Fault(status=502, headers={"Set-Cookie": f"DS={TOKEN}"}, body=TOKEN.encode()),
    "redirect": Fault(status=307, headers={"Location": f"https://elsewhere.example/?token={TOKEN}"}),
    "dropped": Fault(drop="after"),
    "cut": Fault(drop="halfway"),
    "late": Fault(delay=5),
    "no session": Fault(fields={"sessionJwt": "", "refreshJwt": ""}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_failed_call_is_one_span_without_a_secret(instrumented: Any, fault: Fault) -> None:
    """Attributes, events, exceptions and status descriptions tell what failed, never for whom."""
    fake = FakeDescope(auth_management_key=KEY)
    fake.fail_next(fault)
    proof = fake.sign_in("apple", name=f"{NAME} Lovelace")
    async with (
        fake.serve() as url,
        NativeOAuthFinisher.open(
            fake.project_id, base_url=url, auth_management_key=KEY, timeout=0.5
        ) as finisher,
    ):
        with pytest.raises(DescopeNativeError):
            await finisher.finish(**proof.as_arguments())
    assert len(instrumented.get_finished_spans()) == 1
    for secret in (*secrets_of(proof), NAME, KEY, TOKEN, fake.project_id):
        assert secret not in told(instrumented)


MALFORMED = {
    "status line": b"HTTP/1.1 OK DS=%b\r\n\r\n",
    "header name": b"HTTP/1.1 200 OK\r\nSet Cookie: DS=%b\r\n\r\n",
    "header value": b"HTTP/1.1 200 OK\r\nSet-Cookie: DS=%b\x00\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nSet-Cookie=DS=%b\r\n\r\n",
    "not HTTP": b'{"sessionJwt": "%b"}\r\n\r\n',
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n",
    "too long": b"HTTP/1.1 200 OK\r\nSet-Cookie: DS=%b" + b"x" * 10_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_answer_is_not_quoted_in_a_span(instrumented: Any, answer: bytes) -> None:
    """aiohttp's errors quote the bytes that they could not read, and those may hold a token."""

    async def script(connection: Connection) -> None:
        await connection.request()
        connection.send(answer.replace(b"%b", TOKEN.encode()))
        connection.finish()

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(script))
        finisher = await stack.enter_async_context(
            NativeOAuthFinisher.open(PROJECT, base_url=server.url(), auth_management_key=KEY, timeout=2)
        )
        with pytest.raises(DescopeNativeError):
            await finisher.finish(**APPLE, user=AppleUser(given_name=NAME))
    assert instrumented.get_finished_spans()
    for secret in (TOKEN, KEY, APPLE["code"], APPLE["state_id"], NAME):
        assert secret not in told(instrumented)


async def test_a_proxys_password_is_in_no_span(instrumented: Any) -> None:
    """aiohttp's error for a proxy that refuses has its URL, password included."""

    async def refuse(connection: Connection) -> None:
        await connection.request()
        connection.send(Answer(407).as_http())
        connection.finish()

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(refuse))
        proxy = f"http://someone:canary-password@localhost:{server.port}"
        transport = await stack.enter_async_context(AiohttpTransport.open(proxy=proxy))
        finisher = NativeOAuthFinisher(PROJECT, transport, auth_management_key=KEY)
        with pytest.raises(DescopeNativeError):
            await finisher.finish(**APPLE)
    assert instrumented.get_finished_spans()
    for secret in ("canary-password", KEY, APPLE["code"]):
        assert secret not in told(instrumented)
