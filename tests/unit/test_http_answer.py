"""One mapping from errors to what a web server answers, complete and with nothing of the request in it."""

import json
import pickle
from collections.abc import Iterator
from typing import TypeVar, get_args

import attrs
import pytest

from descope_native.errors import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    InvalidRequestError,
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
)
from descope_native.http_answer import HttpAnswer, NextStep, ProblemCode, answer_for

INVALID = (400, "invalid_request", "give_up")
INVALID_PROOF = (400, "invalid_proof", "start_over")
AGAIN = (503, "temporarily_unavailable", "send_again")
LIMITED = (503, "rate_limited", "wait")
RESTARTING = (503, "restarting", "wait")
UNAVAILABLE = (503, "unavailable", "give_up")
REJECTED = (401, "rejected", "start_over")
LOST = (502, "interrupted", "start_over")
LATE = (504, "interrupted", "start_over")

Error = TypeVar("Error", bound=DescopeNativeError)


def of_a_start(error: Error) -> Error:
    """The same failure of a call that spends nothing."""
    error.spends_nothing = True
    return error


def of_a_person(rejection: RejectedError) -> RejectedError:
    """The refusal of a request that had a person's token."""
    rejection.had_persons_token = True
    return rejection


TABLE: list[tuple[DescopeNativeError, tuple[int, str, str]]] = [
    (InvalidRequestError("canary"), INVALID),
    (InvalidRequestError("canary", "provider"), INVALID),
    (InvalidRequestError("canary", "login_options"), INVALID),
    (InvalidRequestError("canary", "state_id"), INVALID_PROOF),
    (InvalidRequestError("canary", "code"), INVALID_PROOF),
    (InvalidRequestError("canary", "id_token"), INVALID_PROOF),
    (InvalidRequestError("canary", "user"), INVALID_PROOF),
    (InvalidRequestError("canary", "nonce"), INVALID_PROOF),
    (RejectedError(400, "canary", "E061301", "canary", "canary"), REJECTED),
    (RejectedError(401), REJECTED),
    (RejectedError(404), REJECTED),
    (RejectedError(421), AGAIN),
    (RejectedError(425), AGAIN),
    (RateLimitedError(429, "canary", "E130429", "canary", "canary", retry_after=3), LIMITED),
    (RateLimitedError(429), LIMITED),
    (ProjectRejectedError(401, "canary"), UNAVAILABLE),
    (ConnectError("dns", "canary"), AGAIN),
    (ConnectError("refused", "canary"), AGAIN),
    (ConnectError("proxy", "canary", safe_to_retry=False), UNAVAILABLE),
    (TLSError("canary"), UNAVAILABLE),
    (RequestTimeout("pool", 15), AGAIN),
    (RequestTimeout("connect", 15), AGAIN),
    (RequestTimeout("send", 15), LATE),
    (RequestTimeout("wait", 15), LATE),
    (RequestTimeout("read", 15), LATE),
    (ConnectionLost("wait", "canary"), LOST),
    (TransportClosed("pool", "canary"), RESTARTING),
    (TransportClosed("connect", "canary"), RESTARTING),
    (TransportClosed("wait", "canary"), LOST),
    (TransportError("connect", "canary"), UNAVAILABLE),
    (TransportError("send", "canary"), LOST),
    (ServerError(503, "canary"), LOST),
    (UnexpectedResponse(200, "canary"), LOST),
    (ResponseError(200, "canary", "canary", "canary", "canary"), LOST),
    (DescopeNativeError("canary"), LOST),
    (of_a_start(RejectedError(400, "canary", "canary")), UNAVAILABLE),
    (of_a_start(of_a_person(RejectedError(401, "canary", "E062504"))), REJECTED),
    (of_a_start(RejectedError(425)), AGAIN),
    (of_a_start(of_a_person(RejectedError(425))), AGAIN),
    (of_a_person(RejectedError(400)), REJECTED),
    (of_a_start(RateLimitedError(429, retry_after=3)), LIMITED),
    (of_a_start(ConnectError("dns", "canary")), AGAIN),
    (of_a_start(TLSError("canary")), UNAVAILABLE),
    (of_a_start(RequestTimeout("wait", 15)), AGAIN),
    (of_a_start(ConnectionLost("wait", "canary")), AGAIN),
    (of_a_start(TransportClosed("wait", "canary")), RESTARTING),
    (of_a_start(TransportError("send", "canary")), UNAVAILABLE),
    (of_a_start(ServerError(503, "canary")), AGAIN),
    (of_a_start(UnexpectedResponse(200, "canary", is_damaged=True)), AGAIN),
    (of_a_start(UnexpectedResponse(200, "canary")), UNAVAILABLE),
]
every_error = pytest.mark.parametrize(
    ("error", "expected"),
    TABLE,
    ids=[f"{number}-{type(row[0]).__name__}" for number, row in enumerate(TABLE)],
)


def tree(root: type[DescopeNativeError]) -> Iterator[type[DescopeNativeError]]:
    """A class of the library and all below it."""
    yield root
    for kind in root.__subclasses__():
        if kind.__module__.partition(".")[0] == "descope_native":
            yield from tree(kind)


@every_error
def test_each_error_has_its_answer(error: DescopeNativeError, expected: tuple[int, str, str]) -> None:
    """Status, code and next step stand in a table, for each error and each outcome that it can have."""
    answer = answer_for(error)
    assert (answer.status, answer.code, answer.next) == expected


def test_the_table_knows_every_error() -> None:
    """A new kind of error has to be given an answer on purpose."""
    assert {type(error) for error, _ in TABLE} == set(tree(DescopeNativeError))


def test_the_table_knows_every_answer() -> None:
    """A code or a next step that no error leads to is none."""
    rows = [answer_for(error) for error, _ in TABLE]
    assert {row.code for row in rows} == set(get_args(ProblemCode))
    assert {row.next for row in rows} == set(get_args(NextStep))


@every_error
def test_the_next_step_never_sends_a_spent_code(error: DescopeNativeError, expected: object) -> None:
    """The same request is asked for only where the error says that it may go out again, or never left."""
    if answer_for(error).next in {"send_again", "wait"}:
        assert error.safe_to_retry or error.spends_nothing or error.outcome is Outcome.NOT_SENT


@every_error
def test_the_sentence_says_whether_the_same_or_a_new_sign_in_is_meant(
    error: DescopeNativeError, expected: object
) -> None:
    """An app shows the sentence and obeys the step, and the two never disagree."""
    answer = answer_for(error)
    same = "the same again" in answer.detail
    new = "Please start a new sign-in" in answer.detail
    assert same is (answer.next in {"send_again", "wait"})
    assert ("wait" in answer.detail) is (answer.next == "wait")
    assert new is (answer.next == "start_over" or answer.code == "unavailable")


def test_a_code_has_one_sentence() -> None:
    """Otherwise a translation by code would lose what the sentences differ in."""
    said = {(answer.code, answer.next, answer.detail) for answer in (answer_for(error) for error, _ in TABLE)}
    assert len(said) == len(get_args(ProblemCode))


@every_error
def test_an_answer_is_a_problem_document(error: DescopeNativeError, expected: object) -> None:
    """RFC 9457: the members, their JSON types, the content type; and no cache keeps it."""
    answer = answer_for(error)
    document = json.loads(answer.content)
    assert document == answer.body
    assert {name: type(value) for name, value in document.items()} == {
        "type": str,
        "title": str,
        "status": int,
        "detail": str,
        "code": str,
        "next": str,
    }
    assert (document["type"], document["status"]) == ("about:blank", answer.status)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"


@every_error
def test_nothing_of_the_error_is_in_the_answer(error: DescopeNativeError, expected: object) -> None:
    """Neither the service's texts nor what a problem says of the request reach the app."""
    answer = answer_for(error)
    shown = f"{answer!r} {answer.headers} {answer.content!r}"
    assert not any(part in shown for part in ("canary", "E061301", "E130429"))


@pytest.mark.parametrize(
    ("status", "title"),
    [(400, "Bad Request"), (401, "Unauthorized"), (502, "Bad Gateway"), (503, "Service Unavailable")],
)
def test_the_title_is_the_status_in_words(status: int, title: str) -> None:
    """As RFC 9457 §4.2.1 wants it beside ``about:blank``."""
    answer = next(answer for error, _ in TABLE if (answer := answer_for(error)).status == status)
    assert answer.body["title"] == title


@pytest.mark.parametrize(
    ("seconds", "header"), [(3.0, "3"), (0.2, "1"), (10.01, "11"), (0, "0"), (3600.0, "3600"), (None, None)]
)
def test_a_wait_that_is_known_is_passed_on(seconds: float | None, header: str | None) -> None:
    """In whole seconds, as RFC 9110 wants them, and never fewer than the service asked for."""
    answer = answer_for(RateLimitedError(429, retry_after=seconds))
    assert answer.headers.get("Retry-After") == header


def test_only_a_known_wait_is_a_header() -> None:
    """No other answer names a time that nobody knows."""
    for error, _ in TABLE:
        known = getattr(error, "retry_after", None) is not None
        assert ("Retry-After" in answer_for(error).headers) is known


class Misled(ConnectError):
    """An error of somebody's own transport."""


def test_an_error_that_somebody_derived_is_answered_by_its_facts() -> None:
    """A transport of one's own may raise kinds of its own."""
    assert answer_for(Misled("dns", "canary")) == answer_for(ConnectError("dns", "canary"))


def test_an_answer_does_not_change() -> None:
    """It may be kept and shared: frozen, and what it hands out is the receiver's own."""
    answer = answer_for(TLSError("canary"))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        answer.status = 200  # type: ignore[misc]  # that it is refused is the point
    answer.headers.clear()
    answer.body.clear()
    assert answer.headers
    assert answer.body
    assert hash(answer) == hash(pickle.loads(pickle.dumps(answer)))


def test_a_sentence_can_be_translated() -> None:
    """By replacing it; all else stays."""
    answer = answer_for(RejectedError(400))
    translated = attrs.evolve(answer, detail="Bitte melden Sie sich neu an.")
    assert isinstance(translated, HttpAnswer)
    assert translated.body == {**answer.body, "detail": "Bitte melden Sie sich neu an."}
