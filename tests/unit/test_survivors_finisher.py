"""What a finisher passes on, remembers of a call, and takes for granted."""

import asyncio
import logging
import sys
import traceback
from typing import Any

import attrs
import pytest
from kit.support import PROJECT, Answer, answering_in_memory, as_json, session
from yarl import URL

from descope_native import (
    AppleUser,
    FinishRequest,
    FinishResult,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    RejectedError,
    RequestTimeout,
    Retry,
    UnexpectedResponse,
)
from descope_native.models import FrozenDict


async def test_a_call_really_has_fifteen_seconds() -> None:
    """As its transport is told; and a finisher that `open` made takes the same and as little for granted."""
    transport = InMemoryTransport(lambda _: HttpResponse(200, (), as_json({"sessionJwt": "s.e.s"})))
    await NativeOAuthFinisher(PROJECT, transport).finish(provider="google", state_id="s", id_token="t")
    (request,) = transport.requests
    assert 14.5 < request.timeout <= 15.0
    async with NativeOAuthFinisher.open(PROJECT) as finisher:
        assert (vars(finisher)["_timeout"], vars(finisher)["_strict"]) == (15.0, False)
    with pytest.raises(InvalidRequestError):
        await NativeOAuthFinisher.open(PROJECT, base_url="http://cluster").__aenter__()


async def test_open_passes_on_what_it_is_given() -> None:
    """A plain address in a cluster and a retry are meant for the finisher that comes out."""
    retry = Retry()
    async with NativeOAuthFinisher.open(
        PROJECT, base_url="http://cluster", allow_http=True, retry=retry, strict=True, timeout=3
    ) as finisher:
        assert repr(finisher) == "<NativeOAuthFinisher http://cluster>"
        assert vars(finisher)["_retry"] is retry
        assert (vars(finisher)["_strict"], vars(finisher)["_timeout"]) == (True, 3.0)


def test_a_finisher_that_was_refused_has_a_repr() -> None:
    """A traceback that shows locals shows it."""
    unmade = NativeOAuthFinisher.__new__(NativeOAuthFinisher)
    assert repr(unmade) == "<NativeOAuthFinisher without an endpoint>"


async def test_a_call_cancelled_while_it_waits_to_retry_tells_what_its_attempt_proved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The service had said no, so the code is not in doubt."""
    waiting = asyncio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    with caplog.at_level(logging.INFO, "descope_native"):
        async with answering_in_memory(
            Answer(429, [("Retry-After", "1")]), retry=Retry(sleep=sleep)
        ) as service:
            call = asyncio.create_task(service.finish())
            call.add_done_callback(lambda _: waiting.set())
            await waiting.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
    (line,) = [record for record in caplog.records if record.name == "descope_native"]
    facts: Any = line
    assert (facts.descope_outcome, facts.descope_error) == ("rejected", "CancelledError")
    assert facts.descope_elapsed == round(facts.descope_elapsed, 3)


async def test_no_time_left_sends_nothing() -> None:
    """A handler would take the code before any clock is looked at."""

    def answer(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200)

    transport = InMemoryTransport(answer)
    request = HttpRequest(method="POST", url=URL("https://a"), headers={}, body=b"", timeout=0.0)
    with pytest.raises(RequestTimeout) as caught:
        await transport.send(request)
    await transport.close()
    assert caught.value.phase == "pool"
    assert transport.requests == []


async def test_a_call_in_memory_takes_no_time() -> None:
    """It gives way to the event loop, and does not sleep."""
    async with answering_in_memory(session(), timeout=0.9) as service:
        assert isinstance(await service.finish(), FinishResult)


@pytest.mark.parametrize("text", ["session", "refresh"])
async def test_all_other_tokens_make_no_session(text: str) -> None:
    """Nor is one that is there made doubtful by others that are not."""
    others = {"refreshJwt": "r.e.f", "externalToken": "e", "trustedDeviceJwt": "t"}
    tokens = others if text == "session" else {"sessionJwt": "s.e.s"}
    async with answering_in_memory(Answer(body=as_json(tokens)), strict=True) as service:
        if text == "refresh":
            assert (await service.finish()).session_jwt == "s.e.s"
        else:
            with pytest.raises(UnexpectedResponse, match=r"^the answer has no session in body or cookies \["):
                await service.finish()


async def test_a_list_that_is_none_is_told_with_its_place() -> None:
    """As an array that was expected, and what was there instead."""
    async with answering_in_memory(session(user={"userTenants": 1})) as service:
        (drift,) = (await service.finish()).drift
    assert (drift.path, drift.expected, drift.found) == ("user.userTenants", "array", "integer")


def test_objects_that_differ_have_hashes_that_differ() -> None:
    """Or a set of them would be as slow as a list."""
    assert len({hash(FrozenDict({"a": number})) for number in range(50)}) > 40
    assert hash(FrozenDict({"a": 1, "b": 2})) == hash(FrozenDict({"b": 2, "a": 1}))


async def test_the_time_of_a_call_is_logged_in_milliseconds(caplog: pytest.LogCaptureFixture) -> None:
    """In seconds, with three places after the point at most."""

    async def answer(_: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0.0203)
        return HttpResponse(200, (), as_json({"sessionJwt": "s.e.s"}))

    caplog.set_level(logging.INFO)
    await NativeOAuthFinisher(PROJECT, InMemoryTransport(answer)).finish(
        provider="google", state_id="s", id_token="t"
    )
    (record,) = caplog.records
    elapsed = vars(record)["descope_elapsed"]
    assert 0.02 <= elapsed < 5
    assert elapsed == round(elapsed, 3)
    assert f"elapsed={elapsed} " in record.getMessage()


def test_the_longest_time_is_the_largest_float() -> None:
    """More is refused: it could not be added to any clock."""
    longest = sys.float_info.max
    transport = InMemoryTransport(lambda _: HttpResponse(200))
    NativeOAuthFinisher(PROJECT, transport, timeout=longest)
    with pytest.raises(InvalidRequestError):
        NativeOAuthFinisher(PROJECT, transport, timeout=2 * int(longest))


def test_nothing_is_logged_where_nobody_asked_for_it() -> None:
    """Python prints the warnings of a logger without a handler; a library has one that does nothing."""
    handlers = logging.getLogger("descope_native").handlers
    assert logging.NullHandler in map(type, handlers)


@pytest.mark.parametrize("send", [None, 5, "send"])
def test_what_cannot_send_is_no_transport(send: object) -> None:
    """Whatever it has under that name."""

    class Odd:
        def __init__(self) -> None:
            self.send = send

    odd: Any = Odd()
    with pytest.raises(InvalidRequestError, match=r"transport must have send\(\)"):
        NativeOAuthFinisher(PROJECT, odd)


CANARY = "canary value"


@pytest.mark.parametrize("name", ["project_id", "base_url", "auth_management_key"])
@pytest.mark.parametrize("opened", [False, True], ids=["made", "opened"])
async def test_what_is_refused_is_in_no_frame(name: str, opened: bool) -> None:
    """Whoever swaps two settings gives a key for a project id; collectors record locals."""
    arguments: dict[str, Any] = {"project_id": PROJECT, name: CANARY}

    async def make() -> None:
        if opened:
            await NativeOAuthFinisher.open(**arguments).__aenter__()
        else:
            NativeOAuthFinisher(transport=InMemoryTransport(lambda _: HttpResponse(200)), **arguments)

    with pytest.raises(InvalidRequestError) as caught:
        await make()
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame for frame in frames if frame.f_globals["__name__"].startswith("descope_native")]
    assert ours
    assert not [frame for frame in ours if CANARY in str(frame.f_locals)]


async def test_a_failure_is_logged_in_full_where_only_warnings_are(caplog: pytest.LogCaptureFixture) -> None:
    """With the status and the trace id of the answer, as production has it set."""
    caplog.set_level(logging.WARNING, "descope_native")
    async with answering_in_memory(Answer(400, [("cf-ray", "8f1e-FRA")])) as service:
        with pytest.raises(RejectedError):
            await service.finish()
    (record,) = [record for record in caplog.records if record.name == "descope_native"]
    assert (vars(record)["descope_status"], vars(record)["descope_trace_id"]) == (400, "8f1e-FRA")
    assert " status=400 " in record.getMessage()
    assert record.getMessage().endswith(" trace_id=8f1e-FRA")


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
        async with answering_in_memory(Answer(body=as_json({"sessionJwt": "s.e.s"})), Answer(400)) as service:
            assert (await service.finish()).session_jwt == "s.e.s"
            with pytest.raises(RejectedError):
                await service.finish()
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


async def test_what_one_attempt_proved_says_nothing_of_the_next(caplog: pytest.LogCaptureFixture) -> None:
    """The service said no to the first; the second is cancelled on its way, and may have been a yes."""
    caplog.set_level(logging.INFO, "descope_native")
    no = Answer(429, [("cf-ray", "8f1e-FRA"), ("Retry-After", "0")])

    waited = asyncio.Event()

    async def sleep(_: float) -> None:
        service.arrived.clear()
        waited.set()

    async with answering_in_memory(no, Answer(never=True), retry=Retry(sleep=sleep)) as service:
        call = asyncio.create_task(service.finish())
        await waited.wait()
        await service.arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    (record,) = [record for record in caplog.records if record.name == "descope_native"]
    facts = vars(record)
    assert (facts["descope_outcome"], facts["descope_error"]) == ("unknown", "CancelledError")
    assert (facts["descope_status"], facts["descope_trace_id"], facts["descope_attempts"]) == (None, None, 2)


async def test_a_session_that_is_refused_is_in_no_frame() -> None:
    """Strictness raises with the tokens in reach, and a collector may look further than a repr."""
    async with answering_in_memory(session(firstSeen=1), strict=True) as service:
        with pytest.raises(UnexpectedResponse) as caught:
            await service.finish()
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame for frame in frames if frame.f_globals["__name__"].startswith("descope_native")]
    assert len(ours) > 2
    held = [value for frame in ours for value in frame.f_locals.values()]
    assert not [value for value in held if isinstance(value, FinishResult)]


TEXT = "must be text that is not blank, 65536 characters of UTF-8 at most"
TOKEN = "must be a token, 16384 characters at most, or None"
EXACTLY_ONE = "exactly one of code and id_token must be given"
NO_USER = "user must be an AppleUser or the JSON text of an object, 4096 characters and 64 brackets at most"
NO_USERS: list[Any] = [
    " ",
    "[]",
    '"a"',
    "{",
    '{"a": NaN}',
    5,
    {},
    b"{}",
    '{"a": "\ud800"}',
    "{}".ljust(4097),
    '{"a":' + "[" * 64 + "]" * 64 + "}",
]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        *(
            ({name: value}, f"{name} {TEXT}{', or None' if name == 'id_token' else ''}")
            for name in ("provider", "state_id", "id_token")
            for value in (" ", "\t\u2003", 5, b"s", ["s"], "s" * 65_537, "\ud800")
        ),
        ({"provider": ""}, "provider is empty"),
        ({"state_id": ""}, "state_id is empty"),
        ({"id_token": ""}, EXACTLY_ONE),
        ({"known_device_jwt": "a b"}, f"known_device_jwt {TOKEN}"),
        ({"trusted_device_jwt": "t" * 16_385}, f"trusted_device_jwt {TOKEN}"),
        ({"code": "s" * 65_537}, f"code {TEXT}, or None"),
        ({"provider": None}, f"provider {TEXT}"),
        ({"state_id": None}, f"state_id {TEXT}"),
        ({"id_token": None}, EXACTLY_ONE),
        ({"code": "c"}, EXACTLY_ONE),
        *(({"user": user}, NO_USER) for user in NO_USERS),
    ],
)
def test_a_request_is_refused_with_its_reason(changed: dict[str, Any], problem: str) -> None:
    """To the word, and without the value."""
    with pytest.raises(InvalidRequestError) as caught:
        FinishRequest(**({"provider": "google", "state_id": "s", "id_token": "t"} | changed))
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    "changed",
    [
        *({name: "s" * 65_536} for name in ("provider", "state_id", "id_token")),
        {"id_token": None, "code": "s" * 65_536},
        {"id_token": None, "code": "\u00e9"},
        {"known_device_jwt": "k" * 16_384, "trusted_device_jwt": "t" * 16_384},
        {"state_id": " s"},
        {"user": '{"a": 1}'},
        {"user": '{"a": 1}'.ljust(4096)},
        {"user": '{"a":' + "[" * 63 + "]" * 63 + "}"},
        {"user": AppleUser(given_name="a", middle_name="s" * 4096, family_name="\u00e9")},
    ],
)
def test_a_request_of_such_a_size_is_let_in(changed: dict[str, Any]) -> None:
    """The largest that there may be, and the oddest."""
    arguments: dict[str, Any] = {"provider": "google", "state_id": "s", "id_token": "t"} | changed
    request = FinishRequest(**arguments)
    assert {name: getattr(request, name) for name in arguments} == arguments


@pytest.mark.parametrize("part", ["given_name", "middle_name", "family_name"])
@pytest.mark.parametrize("value", [5, b"Ada", ["Ada"], "s" * 4097, "\ud800"], ids=range(5))
def test_a_part_of_a_name_is_refused_with_its_reason(part: str, value: Any) -> None:
    """To the word, and without the value."""
    with pytest.raises(InvalidRequestError) as caught:
        AppleUser(**{part: value})
    assert str(caught.value) == f"{part} must be a string, 4096 characters at most, or None"


def test_a_name_has_no_parts_unless_told() -> None:
    """None, which the wire leaves out; an empty one is sent as it is."""
    assert attrs.astuple(AppleUser()) == (None, None, None)
    request = FinishRequest(provider="google", state_id="s", id_token="t")
    assert (request.code, request.user) == (None, None)
    assert FinishRequest(provider="google", state_id="s", code="c").id_token is None
