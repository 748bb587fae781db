"""What is told of each call: to the log, and to whoever counts."""

import asyncio
import logging
import pickle
from typing import Any

import pytest
from kit.support import GOOGLE, PROJECT, as_json

from descope_native import (
    CallEvent,
    ConnectError,
    ConnectionLost,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    NativeOAuthStarter,
    ProjectRejectedError,
    RateLimitedError,
    RejectedError,
    Retry,
    ServerError,
    TLSError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)

SESSION = as_json({"sessionJwt": "s.e.s"})


def finisher(handler: Any, **options: Any) -> tuple[NativeOAuthFinisher, list[CallEvent]]:
    events: list[CallEvent] = []
    transport = InMemoryTransport(handler)
    return NativeOAuthFinisher(PROJECT, transport, on_call=events.append, **options), events


async def test_a_cancelled_call_is_counted_too() -> None:
    """With the phase it had reached and the seconds that it spent there."""
    arrived = asyncio.Event()

    async def never(_: HttpRequest) -> HttpResponse:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    finishing, events = finisher(never)
    call = asyncio.create_task(finishing.finish(**GOOGLE))
    await arrived.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (event,) = events
    assert (event.outcome, event.error, event.phase) == ("unknown", "CancelledError", "wait")
    assert event.phases.keys() >= {"pool", "wait"}
    assert all(seconds >= 0 for seconds in event.phases.values())


async def test_an_event_does_not_change() -> None:
    """It may be kept, shared and put into a set, with the seconds in it."""
    finishing, events = finisher(lambda _: HttpResponse(200, (), SESSION))
    await finishing.finish(**GOOGLE)
    (event,) = events
    with pytest.raises(TypeError):
        event.phases["pool"] = 0.0
    assert len({event, pickle.loads(pickle.dumps(event))}) == 1


def refusing(_: object) -> bool:
    raise RuntimeError("a filter of somebody's")


@pytest.mark.parametrize(
    "failure",
    [
        ValueError("metrics"),
        asyncio.CancelledError(),
        BaseExceptionGroup("metrics", [asyncio.CancelledError()]),
    ],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("filtering", [False, True], ids=["", "and a filter"])
async def test_what_a_callback_raises_costs_nobody_a_session(
    caplog: pytest.LogCaptureFixture, failure: BaseException, filtering: bool
) -> None:
    """Also where the log of it fails. The line of the call comes all the same."""

    def count(_: CallEvent) -> None:
        raise failure

    caplog.set_level(logging.INFO)
    logger = logging.getLogger("descope_native")
    if filtering:
        logger.addFilter(refusing)
    transport = InMemoryTransport(lambda _: HttpResponse(200, (), SESSION))
    try:
        result = await NativeOAuthFinisher(PROJECT, transport, on_call=count).finish(**GOOGLE)
    finally:
        logger.removeFilter(refusing)
    assert result.session_jwt == "s.e.s"
    told = [line.partition(" ")[0] for _, line in lines(caplog)]
    assert told == ([] if filtering else ["on_call", "finish"])


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit])
async def test_what_ends_the_program_comes_out_of_a_callback(failure: type[BaseException]) -> None:
    """It is no mistake in the metrics."""

    def count(_: CallEvent) -> None:
        raise failure

    transport = InMemoryTransport(lambda _: HttpResponse(200, (), SESSION))
    with pytest.raises(failure):
        await NativeOAuthFinisher(PROJECT, transport, on_call=count).finish(**GOOGLE)


async def test_a_callback_that_fails_does_not_hide_a_cancellation() -> None:
    """The caller's own comes out of the call, whatever the callback raises then."""
    arrived = asyncio.Event()

    async def never(_: HttpRequest) -> HttpResponse:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    def count(_: CallEvent) -> None:
        raise asyncio.CancelledError("metrics")

    call = asyncio.create_task(
        NativeOAuthFinisher(PROJECT, InMemoryTransport(never), on_call=count).finish(**GOOGLE)
    )
    await arrived.wait()
    call.cancel("caller")
    with pytest.raises(asyncio.CancelledError, match="caller"):
        await call


async def test_one_event_for_all_attempts() -> None:
    """A retried call is one call; what is told is the last attempt's."""
    left = [HttpResponse(429, (("Retry-After", "0"),)), HttpResponse(200, (("cf-ray", "8f1e-FRA"),), SESSION)]
    finishing, events = finisher(lambda _: left.pop(0), retry=Retry(initial=0.001))
    await finishing.finish(**GOOGLE)
    (event,) = events
    assert (event.outcome, event.attempts, event.status, event.trace_id) == ("session", 2, 200, "8f1e-FRA")
    assert (event.error, event.retry_after) == (None, None)


@pytest.mark.parametrize(
    ("provider", "told"),
    [
        ("apple", "apple"),
        ("google", "google"),
        ("Google", "custom"),
        ("acme-hr", "custom"),
        (["apple"], "custom"),
    ],
    ids=repr,
)
async def test_only_a_well_known_provider_is_named(provider: Any, told: str) -> None:
    """A custom one's name may be a customer's."""
    finishing, events = finisher(lambda _: HttpResponse(400))
    with pytest.raises((RejectedError, InvalidRequestError)):
        await finishing.finish(provider=provider, state_id="s", code="c")
    assert events[0].provider == told


@pytest.mark.parametrize("on_call", [5, "print", [print]])
def test_what_cannot_be_called_is_refused(on_call: Any) -> None:
    """When the client is made."""
    with pytest.raises(InvalidRequestError, match="on_call must be callable"):
        NativeOAuthFinisher(PROJECT, InMemoryTransport(lambda _: HttpResponse(200)), on_call=on_call)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(each.levelname, each.getMessage()) for each in caplog.records if each.name == "descope_native"]


async def test_each_reason_is_another_line(caplog: pytest.LogCaptureFixture) -> None:
    """Refused, no such host, a proxy's 407 and a certificate are told apart. Each says more."""
    failures = [
        ConnectError("refused", "x"),
        ConnectError("dns", "x"),
        ConnectError("proxy", "x", safe_to_retry=False),
        TLSError("expired"),
    ]

    def fail(_: HttpRequest) -> HttpResponse:
        raise failures.pop(0)

    finishing, _ = finisher(fail)
    for _ in range(4):
        with pytest.raises(ConnectError):
            await finishing.finish(**GOOGLE)
    told = [(level, line.rpartition(" reason=")[2]) for level, line in lines(caplog)]
    assert told == [
        ("WARNING", 'refused problem="x"'),
        ("WARNING", 'dns problem="x"'),
        ("ERROR", 'proxy problem="x"'),
        ("ERROR", 'tls problem="expired"'),
    ]


def of_a_person(rejection: RejectedError) -> RejectedError:
    rejection.had_persons_token = True
    return rejection


@pytest.mark.parametrize(
    ("error", "at_finish", "at_start"),
    [
        (ConnectError("proxy", "x", safe_to_retry=False), "ERROR", "ERROR"),
        (ConnectError("proxy", "x"), "WARNING", "WARNING"),
        (TransportError("connect", "x"), "ERROR", "ERROR"),
        (TransportError("wait", "x"), "ERROR", "ERROR"),
        (TransportClosed("connect", "x"), "WARNING", "WARNING"),
        (ConnectionLost("wait", "x"), "WARNING", "WARNING"),
        (ProjectRejectedError(401), "ERROR", "ERROR"),
        (RejectedError(400), "WARNING", "ERROR"),
        (of_a_person(RejectedError(400)), "WARNING", "WARNING"),
        (RateLimitedError(429), "WARNING", "WARNING"),
        (ServerError(503), "WARNING", "WARNING"),
        (UnexpectedResponse(200, "x"), "ERROR", "ERROR"),
        (UnexpectedResponse(200, "x", is_damaged=True), "ERROR", "ERROR"),
        (ZeroDivisionError(), "ERROR", "ERROR"),
    ],
    ids=repr,
)
async def test_what_somebody_has_to_mend_is_an_error(
    caplog: pytest.LogCaptureFixture, error: Exception, at_finish: str, at_start: str
) -> None:
    """A start that the service refuses is one: as a rule, its provider is not set up."""

    def fail(_: HttpRequest) -> HttpResponse:
        raise error

    transport = InMemoryTransport(fail)
    with pytest.raises(type(error)):
        await NativeOAuthFinisher(PROJECT, transport).finish(**GOOGLE)
    with pytest.raises(type(error)):
        await NativeOAuthStarter(PROJECT, transport).start(provider="google")
    assert [level for level, _ in lines(caplog)] == [at_finish, at_start]


async def test_a_refused_argument_is_an_error_only_where_no_request_can_hold_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The timeout is the program's; whoever posts a provider to an endpoint wakes nobody."""
    finishing, _ = finisher(lambda _: HttpResponse(200))
    for wrong in ({"timeout": -1}, {"provider": ""}, {"known_device_jwt": "\n"}, {"code": 5}):
        with pytest.raises(InvalidRequestError):
            await finishing.finish(**{**GOOGLE, **wrong})
    assert [level for level, _ in lines(caplog)] == ["ERROR", "WARNING", "WARNING", "WARNING"]


async def test_no_transport_can_break_the_line(caplog: pytest.LogCaptureFixture) -> None:
    """What somebody's transport puts into an error stays within one line."""

    def fail(_: HttpRequest) -> HttpResponse:
        raise ConnectError("odd\nERROR forged", "y\nERROR forged")  # type: ignore[arg-type]  # no reason of ours

    finishing, _ = finisher(fail)
    with pytest.raises(ConnectError):
        await finishing.finish(**GOOGLE)
    ((_, line),) = lines(caplog)
    assert line.endswith(r'reason=odd?ERROR forged problem="y\nERROR forged"')


async def test_a_refused_argument_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """By its name and with what is wrong, never with its value."""
    finishing, events = finisher(lambda _: HttpResponse(200))
    with pytest.raises(InvalidRequestError):
        await finishing.finish(provider="google", state_id="", code="canary")
    ((level, line),) = lines(caplog)
    assert level == "WARNING"
    assert line.endswith('argument=state_id problem="state_id is empty"')
    assert "canary" not in line
    assert events[0].problem == "state_id is empty"


async def test_drift_is_a_warning_once_for_each_place(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody should look at it, and nobody wants to be told a million times."""
    monkeypatch.setattr("descope_native._call._drift_paths", set())
    caplog.set_level(logging.INFO)
    odd: list[dict[str, Any]] = [
        {"cookieMaxAge": "x"},
        {"cookieMaxAge": "x"},
        {"cookieMaxAge": "x", "firstSeen": 5},
    ]
    answers = [HttpResponse(200, (), as_json({"sessionJwt": "s.e.s", **keys})) for keys in odd]
    finishing, events = finisher(lambda _: answers.pop(0))
    for _ in range(3):
        await finishing.finish(**GOOGLE)
    assert [level for level, _ in lines(caplog)] == ["WARNING", "INFO", "WARNING"]
    assert [each.drift for each in events] == [1, 1, 2]
    assert "drift=1 drift_path=cookieMaxAge" in lines(caplog)[0][1]


async def test_what_is_remembered_of_drift_is_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service whose answers are odd in ever new places fills no memory."""
    monkeypatch.setattr("descope_native._call._drift_paths", {str(number) for number in range(1000)})
    caplog.set_level(logging.INFO)
    finishing, _ = finisher(lambda _: HttpResponse(200, (), as_json({"sessionJwt": "s.e.s", "firstSeen": 5})))
    await finishing.finish(**GOOGLE)
    assert [level for level, _ in lines(caplog)] == ["INFO"]
