"""The error tree: what each error proves, that it travels, and that it gives nothing away."""

import copy
import json
import pickle
from collections.abc import Callable

import pytest
from kit.errors import NAMES_OF_PROOFS, NOT_SENT, PROOFS, SAID, UNKNOWN

from descope_native import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    Outcome,
    ProjectRejectedError,
    RateLimitedError,
    RejectedError,
    RequestTimeout,
    ResponseError,
    ServerError,
    TLSError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
    errors,
)

TREE = {
    DescopeNativeError: (Exception,),
    InvalidRequestError: (DescopeNativeError, ValueError),
    TransportError: (DescopeNativeError,),
    ConnectError: (TransportError,),
    TLSError: (ConnectError,),
    RequestTimeout: (TransportError, TimeoutError),
    ConnectionLost: (TransportError,),
    TransportClosed: (TransportError,),
    ResponseError: (DescopeNativeError,),
    RejectedError: (ResponseError,),
    ProjectRejectedError: (RejectedError,),
    RateLimitedError: (RejectedError,),
    ServerError: (ResponseError,),
    UnexpectedResponse: (ResponseError,),
}

each_error = pytest.mark.parametrize("make", [make for make, *_ in PROOFS], ids=NAMES_OF_PROOFS)


def test_the_tree_is_this() -> None:
    """Each class has exactly these bases, and no error was forgotten here or in the docstring."""
    public = [getattr(errors, name) for name in errors.__all__]
    assert {
        cls: cls.__bases__ for cls in public if isinstance(cls, type) and issubclass(cls, Exception)
    } == TREE
    assert errors.__doc__ is not None
    drawn = [line.strip(" │├└─").split()[0] for line in errors.__doc__.splitlines() if line[:4] == "    "]
    assert drawn == [cls.__name__ for cls in TREE]
    assert {type(make()) for make, *_ in PROOFS} == set(TREE)


@pytest.mark.parametrize(
    ("make", "outcome", "safe_to_retry"),
    PROOFS,
    ids=NAMES_OF_PROOFS,
)
def test_each_error_proves_this(
    make: Callable[[], DescopeNativeError], outcome: Outcome, safe_to_retry: bool
) -> None:
    """The outcome is read off what is known, and nothing is safe to retry that might be spent."""
    error = make()
    assert error.outcome is outcome
    assert error.safe_to_retry is safe_to_retry
    assert not (error.safe_to_retry and error.outcome is UNKNOWN)


@each_error
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_each_error_survives_pickling(make: Callable[[], DescopeNativeError], protocol: int) -> None:
    """A process pool or a task queue hands on all of it: type, facts, text, outcome."""
    error = make()
    assert_same(pickle.loads(pickle.dumps(error, protocol)), error)


@each_error
def test_each_error_can_be_copied(make: Callable[[], DescopeNativeError]) -> None:
    """By whoever wants to raise it elsewhere."""
    error = make()
    assert_same(copy.copy(error), error)
    assert_same(copy.deepcopy(error), error)


def assert_same(twin: DescopeNativeError, error: DescopeNativeError) -> None:
    assert type(twin) is type(error)
    assert twin is not error
    assert vars(twin) == vars(error)
    assert twin.args == error.args
    assert str(twin) == str(error)
    assert repr(twin) == repr(error)
    assert (twin.outcome, twin.safe_to_retry) == (error.outcome, error.safe_to_retry)


def test_the_text_says_what_to_know() -> None:
    """One line: what happened, how far it got, and what it proves."""
    texts = {
        InvalidRequestError("provider is empty"): "provider is empty",
        ConnectError("dns", "no such host"): "no such host [phase connect, outcome not_sent]",
        TLSError("expired"): "expired [phase connect, outcome not_sent]",
        RequestTimeout("wait", 15.0): "no answer within 15 s [phase wait, outcome unknown]",
        RequestTimeout("pool", 0.0501): "no free connection within 0.0501 s [phase pool, outcome not_sent]",
        RequestTimeout("connect", 5): "no connection within 5 s [phase connect, outcome not_sent]",
        RequestTimeout("send", 5): "the request was not sent within 5 s [phase send, outcome unknown]",
        RequestTimeout("read", 5): "no whole answer within 5 s [phase read, outcome unknown]",
        ConnectionLost("read", "cut"): "cut [phase read, outcome unknown]",
        RejectedError(400, *SAID): (
            "the service answered 400: E061301; A description; A message [outcome rejected, cf-ray ray-1]"
        ),
        RejectedError(404): "the service answered 404 [outcome rejected]",
        ServerError(503, message="soon"): "the service answered 503: soon [outcome unknown]",
        UnexpectedResponse(200, "not JSON", "ray-1"): "not JSON [status 200, outcome unknown, cf-ray ray-1]",
        UnexpectedResponse(0, "not HTTP"): "not HTTP [status 0, outcome unknown]",
    }
    assert {error: str(error) for error in texts} == texts


async def test_a_call_that_got_no_answer_names_whom_it_called() -> None:
    """Host and port, whatever the transport knows of them; also after pickling."""

    def refuse(_: HttpRequest) -> HttpResponse:
        raise ConnectionRefusedError

    finisher = NativeOAuthFinisher("P2", InMemoryTransport(refuse), base_url="https://a.example:8443/x")
    with pytest.raises(ConnectError) as caught:
        await finisher.finish(provider="google", state_id="s", id_token="t")
    for error in caught.value, pickle.loads(pickle.dumps(caught.value)):
        assert error.address == "a.example:8443"
        assert str(error).endswith("[a.example:8443, phase connect, outcome not_sent]")


def test_each_error_keeps_its_facts() -> None:
    """Under the names that the documentation gives, and in `args`, as any exception."""
    assert InvalidRequestError("x").args == ("x",)
    assert ConnectionLost("read", "x").args == ("read", "x")
    assert ServerError(500, *SAID).args == (500, *SAID)
    assert (
        vars(ConnectError("dns", "x")).items()
        >= {"reason": "dns", "phase": "connect", "problem": "x"}.items()
    )
    assert vars(TLSError("x")).items() >= {"reason": "tls", "phase": "connect", "problem": "x"}.items()
    assert not TLSError("x").safe_to_retry
    assert vars(RequestTimeout("pool", 1.5)).items() >= {"phase": "pool", "seconds": 1.5}.items()
    said = {"trace_id": "ray-1", "code": "E061301", "description": "A description", "message": "A message"}
    assert vars(ServerError(500, *SAID)) == {"status": 500, **said}
    limited = RateLimitedError(429, *SAID, retry_after=10.0)
    assert vars(limited) == {"status": 429, **said, "retry_after": 10.0}
    nothing_said = dict.fromkeys(("code", "description", "message"))
    odd = UnexpectedResponse(302, "x", "ray-1")
    facts = {"status": 302, "problem": "x", "trace_id": "ray-1", "is_damaged": False}
    assert vars(odd) == {**facts, **nothing_said}


@pytest.mark.parametrize("travel", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_timeout_has_no_number_of_the_system(travel: Callable[[RequestTimeout], RequestTimeout]) -> None:
    """It is a TimeoutError, and so an OSError, whose first two arguments would be `errno` and `strerror`."""
    for error in (RequestTimeout("wait", 1.5), travel(RequestTimeout("wait", 1.5))):
        assert isinstance(error, OSError)
        assert (error.errno, error.strerror, error.filename) == (None, None, None)
        assert error.args == ("wait", 1.5)


def test_an_outcome_cannot_be_argued_with() -> None:
    """It is derived from facts, and nobody can set it."""
    with pytest.raises(AttributeError):
        ConnectionLost("wait", "x").outcome = NOT_SENT  # type: ignore[misc]


def test_an_outcome_is_the_string_of_its_value() -> None:
    """A log, JSON and a comparison take it as it is."""
    assert [str(outcome) for outcome in Outcome] == ["not_sent", "rejected", "unknown"]
    assert json.dumps({"outcome": Outcome.NOT_SENT}) == '{"outcome": "not_sent"}'
    assert Outcome("rejected") is Outcome.REJECTED
