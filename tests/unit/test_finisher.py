"""The finisher: what it takes, what it holds, how long it takes, and the one line that it logs."""

import asyncio
import gc
import json
import logging
import shlex
import traceback
import weakref
from contextlib import suppress
from types import SimpleNamespace, TracebackType
from typing import Any

import pytest
from kit import servers
from kit.servers import serve, unused_port
from kit.support import (
    APPLE,
    GOOGLE,
    ID_TOKEN,
    PROJECT,
    STATE,
    Answer,
    Answering,
    answering_in_memory,
    as_json,
    only,
    session,
)
from yarl import URL

from descope_native import (
    AiohttpTransport,
    ConnectError,
    DescopeNativeError,
    FinishResult,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    Outcome,
    RejectedError,
    RequestTimeout,
    Retry,
    TransportClosed,
    UnexpectedResponse,
)

REGIONAL = "Puse12aAc4T2V93bddihGEx2Ryhc8e5Z"
KEY = "K2secretmanagementkey"
NEVER = Answer(never=True)


class NoTransport:
    """A transport that must not be used."""

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        raise AssertionError(f"sent to {request.url}")


# --- where it sends to


@pytest.mark.parametrize(
    ("project_id", "base_url"),
    [
        (REGIONAL, "https://api.use1.descope.com"),
        (REGIONAL + "foobar", "https://api.use1.descope.com"),
        ("Puse", "https://api.descope.com"),
        ("Puse1ar", "https://api.descope.com"),
        (PROJECT, "https://api.descope.com"),
        ("P" + "x" * 30, "https://api.descope.com"),
        ("P" + "x" * 31, "https://api.xxxx.descope.com"),
    ],
)
def test_a_long_project_id_names_its_region(project_id: str, base_url: str) -> None:
    """The rule of the official SDKs, by their own examples."""
    assert repr(NativeOAuthFinisher(project_id, NoTransport())) == f"<NativeOAuthFinisher {base_url}>"


async def sent_to(project_id: str, **options: Any) -> URL:
    transport = InMemoryTransport(lambda request: HttpResponse(200, (), session().body))
    await NativeOAuthFinisher(project_id, transport, **options).finish(**GOOGLE)
    url: URL = only(transport.requests).url
    return url


@pytest.mark.parametrize(
    ("project_id", "base_url", "url"),
    [
        (PROJECT, None, "https://api.descope.com/v1/auth/oauth/native/finish"),
        (REGIONAL, None, "https://api.use1.descope.com/v1/auth/oauth/native/finish"),
        (REGIONAL, "https://auth.example.com", "https://auth.example.com/v1/auth/oauth/native/finish"),
        (PROJECT, "https://auth.example.com/", "https://auth.example.com/v1/auth/oauth/native/finish"),
        (
            PROJECT,
            "https://auth.example.com:8443/a/b/",
            "https://auth.example.com:8443/a/b/v1/auth/oauth/native/finish",
        ),
        (
            PROJECT,
            URL("https://auth.example.com/a"),
            "https://auth.example.com/a/v1/auth/oauth/native/finish",
        ),
        (PROJECT, "https://a.example/X//", "https://a.example/X/v1/auth/oauth/native/finish"),
        (PROJECT, "https://a.example//p", "https://a.example//p/v1/auth/oauth/native/finish"),
        (PROJECT, "https://a.example/a%20b%2Fc", "https://a.example/a%20b%2Fc/v1/auth/oauth/native/finish"),
        (PROJECT, "https://a.example/@b", "https://a.example/@b/v1/auth/oauth/native/finish"),
        (PROJECT, "HTTPS://AUTH.example.com", "https://auth.example.com/v1/auth/oauth/native/finish"),
        (PROJECT, "http://localhost:8080", "http://localhost:8080/v1/auth/oauth/native/finish"),
        (PROJECT, "http://api.localhost", "http://api.localhost/v1/auth/oauth/native/finish"),
        (PROJECT, "http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/auth/oauth/native/finish"),
        (PROJECT, "http://127.9.9.9", "http://127.9.9.9/v1/auth/oauth/native/finish"),
        (PROJECT, "http://[::1]:8080", "http://[::1]:8080/v1/auth/oauth/native/finish"),
    ],
)
async def test_the_request_goes_to_this_address(
    project_id: str, base_url: str | URL | None, url: str
) -> None:
    """An explicit base URL wins over the region, and its path is kept."""
    assert str(await sent_to(project_id, base_url=base_url)) == url


BAD_BASE_URLS: list[Any] = [
    " ",
    "api.descope.com",
    "/v1",
    "//api.descope.com",
    "ftp://api.descope.com",
    "file:///etc/passwd",
    "https://",
    "https:///path",
    "https://user@api.descope.com",
    "https://user:secret@api.descope.com",
    "https://@api.descope.com",
    URL("https://a:secret@c.example/p"),
    "https://:secret@api.descope.com",
    "https://api.descope.com?x=1",
    "https://api.descope.com/?",
    "https://api.descope.com#x",
    "https://api.descope.com/#",
    "https://api.descope.com\r\nX: 1",
    "https://api.descope.com\\@evil.example",
    "https://api.desc ope.com",
    " https://api.descope.com",
    "https://api.descöpe.com",
    "https://api.descope.com:99999",
    "https://api.descope.com:port",
    "https://[::1",
    "http://api.descope.com",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://evil-localhost",
    "http://10.0.0.1",
    "http://0.0.0.0",
    "http://[::2]",
    b"https://api.descope.com",
    5,
    ["https://api.descope.com"],
]


@pytest.mark.parametrize("base_url", BAD_BASE_URLS, ids=repr)
def test_an_unsafe_base_url_is_refused(base_url: Any) -> None:
    """The code goes to one origin, over TLS or within this machine; the refusal quotes nothing."""
    with pytest.raises(InvalidRequestError, match="base_url") as caught:
        NativeOAuthFinisher(PROJECT, NoTransport(), base_url=base_url)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert "secret" not in str(caught.value)
    assert "evil" not in str(caught.value)


async def test_plain_http_off_loopback_is_for_those_who_insist() -> None:
    """A stand-in in a test cluster has no certificate."""
    url = await sent_to(PROJECT, base_url="http://fake-descope:8080", allow_http=True)
    assert str(url.origin()) == "http://fake-descope:8080"
    for unsafe in ("ftp://fake-descope", "http://user@fake-descope"):
        with pytest.raises(InvalidRequestError, match="base_url"):
            NativeOAuthFinisher(PROJECT, NoTransport(), base_url=unsafe, allow_http=True)


BAD_PROJECT_IDS: list[Any] = [
    "",
    " ",
    "P2 abc",
    "P2abc ",
    "P2\r\nX: 1",
    "P2abc\n",
    "P2\tabc",
    "P2:abc",
    "P2/abc",
    "P2@evil.example",
    "Pa@b/" + "x" * 40,
    "P" + ".ev/" + "x" * 40,
    "P" + "a.b." + "x" * 40,
    "P" + "a-b-" + "x" * 40,
    "P2äbc",
    "P2\x00",
    "P2\x7f",
    "P2(abc)",
    "P2{abc}",
    "P\u0662abc",
    None,
    5,
    b"P2abc",
    ["P2abc"],
]


@pytest.mark.parametrize("project_id", BAD_PROJECT_IDS, ids=repr)
async def test_an_unsafe_project_id_is_refused(project_id: Any) -> None:
    """It ends up in a host name and in a header, so it must not end either of them."""
    with pytest.raises(InvalidRequestError, match="project_id"):
        NativeOAuthFinisher(project_id, NoTransport())
    with pytest.raises(InvalidRequestError, match="project_id"):
        await NativeOAuthFinisher.open(project_id).__aenter__()


@pytest.mark.parametrize("project_id", ["P", "P2!#$%&'*+.^_`|~-", "x" * 31, REGIONAL * 10])
def test_a_project_id_is_any_token_of_any_length(project_id: str) -> None:
    """The vendor names no form, so none is asked for."""
    NativeOAuthFinisher(project_id, NoTransport())


@pytest.mark.parametrize(
    "key", [" ", "two words", "k\r\n", "k\n", "kéy", "k\x00", "k\x7f", 5, b"k", ["k"], False], ids=repr
)
def test_an_unsafe_management_key_is_refused(key: Any) -> None:
    """It ends up in a header."""
    with pytest.raises(InvalidRequestError, match="auth_management_key"):
        NativeOAuthFinisher(PROJECT, NoTransport(), auth_management_key=key)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 10**400, True, "5", None])
def test_a_timeout_that_is_no_time_is_refused(timeout: Any) -> None:
    """As it is for a single call; the finisher itself must have one."""
    with pytest.raises(InvalidRequestError, match="timeout"):
        NativeOAuthFinisher(PROJECT, NoTransport(), timeout=timeout)


@pytest.mark.parametrize(
    "arguments",
    [
        {"project_id": "P 2"},
        {"project_id": PROJECT, "base_url": "nowhere"},
        {"project_id": PROJECT, "timeout": 0},
        {"project_id": f"{KEY} for a project"},  # as whoever swaps two settings gives it
        {"project_id": PROJECT, "base_url": f"{KEY} for a URL"},
        {"project_id": PROJECT, "auth_management_key": f"{KEY} with blanks"},
    ],
)
@pytest.mark.parametrize("by", ["the class", "open"])
async def test_a_refusal_keeps_no_key(arguments: dict[str, Any], by: str) -> None:
    """No frame of ours in its traceback has the key among its locals."""
    arguments = {"auth_management_key": KEY, **arguments}

    async def make() -> None:
        if by == "the class":
            NativeOAuthFinisher(transport=NoTransport(), **arguments)
        else:
            await NativeOAuthFinisher.open(**arguments).__aenter__()

    with pytest.raises(InvalidRequestError) as caught:
        await make()
    traceback: TracebackType | None = caught.tb
    while traceback is not None:
        if traceback.tb_frame.f_globals["__name__"].startswith("descope_native"):
            assert KEY not in repr(traceback.tb_frame.f_locals)
        traceback = traceback.tb_next
    assert caught.value.__context__ is None


# --- what it holds


def test_the_repr_shows_where_it_sends_to_and_no_key() -> None:
    """Enough to tell two finishers apart in a log."""
    finisher = NativeOAuthFinisher(
        PROJECT, NoTransport(), base_url="https://a.example/x", auth_management_key=KEY
    )
    assert repr(finisher) == "<NativeOAuthFinisher https://a.example>"
    refused = NativeOAuthFinisher.__new__(NativeOAuthFinisher)  # which a traceback may show
    assert repr(refused) == "<NativeOAuthFinisher without an endpoint>"


async def test_it_keeps_nothing_of_a_call(answering: Answering) -> None:
    """No user, no token, no state: what it holds after a call is what it held before."""
    async with answering(session()) as service:
        before = repr({name: repr(value) for name, value in vars(service.finisher).items()})
        await service.finish()
        assert repr({name: repr(value) for name, value in vars(service.finisher).items()}) == before


async def test_calls_at_once_do_not_mix() -> None:
    """Fifty people at once each get the session that was made for them."""

    async def handle(request: HttpRequest) -> HttpResponse:
        state = json.loads(request.body)["stateId"]
        for _ in range(len(state) + sum(map(ord, state)) % 7):
            await asyncio.sleep(0)
        return HttpResponse(200, (), as_json({"sessionJwt": state}))

    finisher = NativeOAuthFinisher(PROJECT, InMemoryTransport(handle))
    states = [f"state-{number}" for number in range(50)]
    results = await asyncio.gather(
        *(finisher.finish(provider="google", state_id=state, id_token="t") for state in states)
    )
    assert [result.session_jwt for result in results] == states


async def test_any_object_with_send_is_a_transport() -> None:
    """There is nothing to inherit from, nothing to close and nothing to register with."""

    class Mine:
        async def send(self, request: HttpRequest, /) -> HttpResponse:
            return HttpResponse(200, [("x", "y")], session().body)

    assert (await NativeOAuthFinisher(PROJECT, Mine()).finish(**GOOGLE)).session_jwt == "s.e.s"


# --- opened by itself


async def test_open_opens_and_closes_a_transport_of_its_own() -> None:
    """Between the two it works over a real socket; afterwards a call is refused and nothing is left."""

    async with serve(servers.answering()) as server:
        async with NativeOAuthFinisher.open(PROJECT, base_url=server.url()) as finisher:
            assert (await finisher.finish(**GOOGLE)).session_jwt == servers.TOKEN
        with pytest.raises(TransportClosed) as caught:
            await finisher.finish(**GOOGLE)
    assert caught.value.outcome is Outcome.NOT_SENT


async def test_open_takes_what_the_class_takes() -> None:
    """Each option reaches the finisher that comes out."""
    async with (
        serve(servers.answering(session(cookieMaxAge="1").as_http())) as server,
        NativeOAuthFinisher.open(
            PROJECT,
            base_url=URL(server.url()),
            auth_management_key=KEY,
            timeout=30,
            retry=None,
            strict=True,
            allow_http=False,
        ) as finisher,
    ):
        with pytest.raises(UnexpectedResponse, match="cookieMaxAge"):
            await finisher.finish(**GOOGLE)
    assert f"Bearer {PROJECT}:{KEY}".encode() in server.received


async def test_a_retry_and_a_plain_address_are_handed_on_by_open() -> None:
    """They are meant for the finisher that comes out."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with pytest.raises(InvalidRequestError, match="base_url"):
        await NativeOAuthFinisher.open(PROJECT, base_url="http://cluster").__aenter__()
    async with NativeOAuthFinisher.open(PROJECT, base_url="http://cluster", allow_http=True) as finisher:
        assert repr(finisher) == "<NativeOAuthFinisher http://cluster>"
    url = f"http://localhost:{unused_port()}"
    async with NativeOAuthFinisher.open(PROJECT, base_url=url, retry=Retry(sleep=sleep)) as finisher:
        with pytest.raises(ConnectError):
            await finisher.finish(**GOOGLE)
    assert len(slept) == 2


@pytest.mark.parametrize(
    ("project_id", "given", "base_url"),
    [
        (PROJECT, None, "https://api.descope.com"),
        (REGIONAL, None, "https://api.use1.descope.com"),
        (REGIONAL, "https://auth.example.com/a/", "https://auth.example.com/a/"),
    ],
)
def test_a_client_tells_where_the_service_is(project_id: str, given: str | None, base_url: str) -> None:
    """For what else talks to it, as a check of sessions does."""
    finisher = NativeOAuthFinisher(project_id, NoTransport(), base_url=given)
    assert (finisher.base_url, finisher.project_id) == (URL(base_url), project_id)


async def test_an_unopened_finisher_says_so() -> None:
    """Whoever forgets `async with` is told, and nothing was sent."""
    opening: Any = NativeOAuthFinisher.open(PROJECT)
    with pytest.raises(AttributeError):
        await opening.finish(**GOOGLE)


# --- how long it takes


async def test_a_call_ends_at_its_deadline(answering: Answering) -> None:
    """A service that never answers: the phase is named, and the code may be spent."""
    async with answering(NEVER) as service:
        started = asyncio.get_running_loop().time()
        with pytest.raises(RequestTimeout) as caught:
            await service.finish(**GOOGLE, timeout=0.1)
        elapsed = asyncio.get_running_loop().time() - started
    assert 0.1 <= elapsed < 5  # of the 15 that it would have had
    assert caught.value.phase == "wait"
    assert caught.value.outcome is Outcome.UNKNOWN
    assert not caught.value.safe_to_retry
    assert len(service.received) == 1


async def test_the_calls_own_timeout_goes_before_the_finishers(answering: Answering) -> None:
    """In either direction."""
    async with answering(NEVER, session(), timeout=0.05) as service:
        with pytest.raises(RequestTimeout, match=r"0\.0[45]"):
            await service.finish()
        assert await service.finish(**GOOGLE, timeout=60)


async def test_the_transport_is_told_what_is_left() -> None:
    """All of the call's seconds, 15 unless told, but what building the request took."""
    transport = InMemoryTransport(lambda request: HttpResponse(200, (), session().body))
    await NativeOAuthFinisher(PROJECT, transport, timeout=7).finish(**GOOGLE)
    await NativeOAuthFinisher(PROJECT, transport).finish(**GOOGLE)
    seven, fifteen = (request.timeout for request in transport.requests)
    assert 6.5 < seven <= 7
    assert 14.5 < fifteen <= 15


# --- cancelled, and closed


async def test_cancellation_passes_through_untouched(answering: Answering) -> None:
    """In the middle of a call, at once, as itself, and the next call is clean."""
    async with answering(NEVER, session()) as service:
        call = asyncio.create_task(service.finish())
        await service.arrived.wait()
        call.cancel("by the caller")
        with pytest.raises(asyncio.CancelledError, match="by the caller"):
            await call
        assert call.cancelled()
        assert (await service.finish()).session_jwt == "s.e.s"


async def test_closing_ends_the_calls_in_flight(answering: Answering) -> None:
    """With an error that says what is proved, and without cancelling anybody's task."""
    async with answering(NEVER) as service:
        call = asyncio.create_task(service.finish())
        await service.arrived.wait()
        await service.transport.close()
        with pytest.raises(TransportClosed) as caught:
            await call
        assert caught.value.outcome is Outcome.UNKNOWN
        assert not caught.value.safe_to_retry
        with pytest.raises(TransportClosed) as refused:
            await service.finish()
        assert refused.value.outcome is Outcome.NOT_SENT
    assert len(service.received) == 1


@pytest.mark.parametrize(
    "answer", [HttpResponse(400), HttpResponse(503), HttpResponse(200, (), b"{}")], ids=repr
)
async def test_what_a_failed_call_held_is_free_at_once(answer: HttpResponse) -> None:
    """No circle keeps a request, and with it a code, until the garbage collector comes by."""
    sent: list[weakref.ref[HttpRequest]] = []

    class Network:
        async def send(self, request: HttpRequest, /) -> HttpResponse:
            sent.append(weakref.ref(request))
            return answer

    finisher = NativeOAuthFinisher(PROJECT, Network())
    gc.collect()
    gc.disable()
    try:
        with suppress(DescopeNativeError):
            await finisher.finish(**GOOGLE)
        assert only(sent)() is None
    finally:
        gc.enable()


# --- the one line


def the_line(caplog: pytest.LogCaptureFixture) -> tuple[int, dict[str, str | None]]:
    """Level and facts of the one line; what the text tells stands in the record as well."""
    record = only(record for record in caplog.records if record.name == "descope_native")
    operation, *facts = shlex.split(record.getMessage())
    assert operation == "finish"
    line: dict[str, str | None] = dict.fromkeys(("error", "status", "trace_id"))
    line |= dict(fact.split("=", 1) for fact in facts)
    assert line == {
        name: None if (fact := vars(record)[f"descope_{name}"]) is None else str(fact) for name in line
    }
    return record.levelno, line


RAY = ("cf-ray", "8f1e2d3c4b5a6978-FRA")


@pytest.mark.parametrize(
    ("answer", "level", "facts"),
    [
        (
            Answer(200, [RAY], session().body),
            logging.INFO,
            {"outcome": "session", "status": "200", "phase": "read", "attempts": "1", "trace_id": RAY[1]},
        ),
        (
            session(),
            logging.INFO,
            {"outcome": "session", "status": "200", "phase": "read", "attempts": "1", "trace_id": None},
        ),
        (
            Answer(401, [RAY]),
            logging.WARNING,
            {
                "outcome": "rejected",
                "error": "RejectedError",
                "status": "401",
                "phase": "read",
                "trace_id": RAY[1],
            },
        ),
        (
            Answer(503),
            logging.WARNING,
            {
                "outcome": "unknown",
                "error": "ServerError",
                "status": "503",
                "phase": "read",
                "trace_id": None,
            },
        ),
        (
            Answer(200, [RAY], b"<html>"),
            logging.ERROR,
            {
                "outcome": "unknown",
                "error": "UnexpectedResponse",
                "status": "200",
                "phase": "read",
                "trace_id": RAY[1],
            },
        ),
        (
            NEVER,
            logging.WARNING,
            {
                "outcome": "unknown",
                "error": "RequestTimeout",
                "status": None,
                "phase": "wait",
                "trace_id": None,
            },
        ),
    ],
    ids=["session", "no trace id", "rejected", "server error", "unexpected", "timeout"],
)
async def test_a_call_logs_one_line(
    answering: Answering, caplog: pytest.LogCaptureFixture, answer: Answer, level: int, facts: dict[str, str]
) -> None:
    """Outcome, status, phase, elapsed time, attempts and trace id; nothing of the request or the person."""
    caplog.set_level(logging.DEBUG)
    async with answering(answer, timeout=0.2) as service:
        with suppress(DescopeNativeError):
            await service.finish()
    logged, line = the_line(caplog)
    assert logged == level
    assert line.items() >= facts.items()
    elapsed = float(line["elapsed"] or "-1")
    assert 0 <= elapsed == round(elapsed, 3) < 1
    for secret in (STATE, ID_TOKEN, "s.e.s", PROJECT):
        assert secret not in caplog.text


async def test_a_cancelled_call_logs_its_line_too(
    answering: Answering, caplog: pytest.LogCaptureFixture
) -> None:
    """With what is proved: the code had been sent."""
    caplog.set_level(logging.DEBUG)
    async with answering(NEVER) as service:
        call = asyncio.create_task(service.finish())
        await service.arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    level, line = the_line(caplog)
    assert level == logging.WARNING
    assert (line["outcome"], line["error"], line["phase"]) == ("unknown", "CancelledError", "wait")


async def test_a_call_cancelled_before_anything_was_sent_says_so(
    answering: Answering, caplog: pytest.LogCaptureFixture
) -> None:
    """In the turn of the loop in which it starts nothing has left yet."""
    caplog.set_level(logging.DEBUG)
    async with answering(session()) as service:
        call = asyncio.create_task(service.finish())
        asyncio.get_running_loop().call_soon(call.cancel)
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not service.received
    assert the_line(caplog)[1]["outcome"] == "not_sent"


async def test_a_call_that_is_refused_logs_its_line_too(
    answering: Answering, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever counts lines counts calls; and nothing of what was refused is in it."""
    caplog.set_level(logging.DEBUG)
    async with answering() as service:
        with pytest.raises(InvalidRequestError):
            await service.finisher.finish(provider="google", state_id="canary", code="canary", id_token="c")
    level, line = the_line(caplog)
    assert level == logging.WARNING
    assert line.items() >= {"outcome": "not_sent", "error": "InvalidRequestError", "attempts": "0"}.items()
    assert "canary" not in caplog.text


async def test_a_mistake_in_a_handler_logs_its_line_too(caplog: pytest.LogCaptureFixture) -> None:
    """It passes as it is, and the request may have been acted on."""
    caplog.set_level(logging.DEBUG)

    def handler(_: HttpRequest) -> HttpResponse:
        raise KeyError("canary")

    with pytest.raises(KeyError):
        await NativeOAuthFinisher(PROJECT, InMemoryTransport(handler)).finish(**GOOGLE)
    level, line = the_line(caplog)
    assert level == logging.ERROR
    assert (line["outcome"], line["error"], line["phase"]) == ("unknown", "KeyError", "wait")
    assert "canary" not in caplog.text


async def test_a_refused_connection_logs_the_phase(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody was reached, and no status is made up."""

    def refuse(_: HttpRequest) -> HttpResponse:
        raise ConnectError("refused", "nobody there")

    with pytest.raises(ConnectError):
        await NativeOAuthFinisher(PROJECT, InMemoryTransport(refuse)).finish(**APPLE)
    level, line = the_line(caplog)
    assert level == logging.WARNING
    assert (line["outcome"], line["error"]) == ("not_sent", "ConnectError")
    assert line["status"] is None


async def test_a_quiet_logger_gets_nothing(caplog: pytest.LogCaptureFixture, answering: Answering) -> None:
    """Whoever set the level to ERROR hears neither of sessions nor of refusals."""
    caplog.set_level(logging.ERROR, logger="descope_native")
    async with answering(session(), Answer(401)) as service:
        await service.finish()
        with pytest.raises(RejectedError):
            await service.finish()
    assert not caplog.records


@pytest.mark.parametrize(
    "transport",
    [None, object(), "https://localhost", SimpleNamespace(send=None), AiohttpTransport.open()],
    ids=range(5),
)
def test_what_is_no_transport_is_refused_when_it_is_wired(transport: Any) -> None:
    """Not at the first sign-in; above all the context manager that somebody forgot to enter."""
    with pytest.raises(InvalidRequestError, match="transport must have send"):
        NativeOAuthFinisher(PROJECT, transport)


@pytest.mark.parametrize("retry", [3, True, "3", Retry])
def test_what_is_no_retry_is_refused_when_it_is_wired(retry: Any) -> None:
    """A number of attempts is not enough."""
    with pytest.raises(InvalidRequestError, match="retry must be a Retry"):
        NativeOAuthFinisher(PROJECT, NoTransport(), retry=retry)


async def test_a_handler_may_change_the_headers_it_was_given() -> None:
    """The next request has all of its own."""

    def answer(request: HttpRequest) -> HttpResponse:
        assert isinstance(request.headers, dict)
        return HttpResponse(
            200 if request.headers.pop("Authorization", None) else 401,
            (),
            session().body,
        )

    finisher = NativeOAuthFinisher(PROJECT, InMemoryTransport(answer))
    for _ in range(2):
        assert (await finisher.finish(**GOOGLE)).session_jwt


def test_nothing_is_logged_where_nobody_asked_for_it() -> None:
    """Python prints the warnings of a logger without a handler; a library has one that does nothing."""
    handlers = logging.getLogger("descope_native").handlers
    assert logging.NullHandler in map(type, handlers)


class Failing(logging.Handler):
    """An application's, with a mistake in it."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise OSError("no space left")


async def test_a_log_handler_that_fails_costs_nobody_a_session() -> None:
    """Nor an error: what happened to the code is what the caller has to know."""
    log = logging.getLogger("descope_native")
    level, handler = log.level, Failing()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        async with answering_in_memory(session(), Answer(400)) as service:
            assert (await service.finish()).session_jwt == "s.e.s"
            with pytest.raises(RejectedError):
                await service.finish()
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


async def test_a_session_that_is_refused_is_in_no_frame() -> None:
    """Strictness raises with the tokens in reach, and a collector may look further than a repr."""
    async with answering_in_memory(session(firstSeen=1), strict=True) as service:
        with pytest.raises(UnexpectedResponse) as caught:
            await service.finish()
    held = [
        value
        for frame, _ in traceback.walk_tb(caught.value.__traceback__)
        if frame.f_globals["__name__"].startswith("descope_native")
        for value in frame.f_locals.values()
    ]
    assert held
    assert not [value for value in held if isinstance(value, FinishResult)]
