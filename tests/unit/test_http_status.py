"""One mapping from errors to what a web server answers, complete and with nothing of the request in it."""

import pytest

from descope_native import errors
from descope_native.errors import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    InvalidRequestError,
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
from descope_native.http_status import message_for, status_for

AGAIN = "Signing in does not work at the moment. Please try again."
LATER = "Signing in does not work at the moment. Please try again later."
NOT_ACCEPTED = "This sign-in was not accepted. Please sign in again."
INTERRUPTED = "Signing in was interrupted. Please sign in again."

TABLE: list[tuple[DescopeNativeError, int, str]] = [
    (InvalidRequestError("canary"), 400, "This sign-in request is not valid."),
    (RejectedError(400, "canary", "E061301", "canary", "canary"), 401, NOT_ACCEPTED),
    (RejectedError(401), 401, NOT_ACCEPTED),
    (RejectedError(404), 401, NOT_ACCEPTED),
    (RejectedError(425), 503, AGAIN),
    (RateLimitedError(429, retry_after=3), 503, AGAIN),
    (ConnectError("dns", "canary"), 503, AGAIN),
    (ConnectError("proxy", "canary", safe_to_retry=False), 503, LATER),
    (TLSError("canary"), 503, LATER),
    (RequestTimeout("connect", 15), 504, AGAIN),
    (RequestTimeout("wait", 15), 504, INTERRUPTED),
    (ConnectionLost("wait", "canary"), 502, INTERRUPTED),
    (TransportClosed("pool", "canary"), 503, LATER),
    (TransportClosed("wait", "canary"), 502, INTERRUPTED),
    (TransportError("connect", "canary"), 503, LATER),
    (TransportError("send", "canary"), 502, INTERRUPTED),
    (ServerError(503, "canary"), 502, INTERRUPTED),
    (UnexpectedResponse(200, "canary"), 502, INTERRUPTED),
    (ResponseError(200), 502, INTERRUPTED),
    (DescopeNativeError(), 502, INTERRUPTED),
]


@pytest.mark.parametrize(("error", "status", "message"), TABLE, ids=lambda value: type(value).__name__)
def test_each_error_has_a_status_and_a_sentence(error: DescopeNativeError, status: int, message: str) -> None:
    """The status is for the app, the sentence for the person; neither quotes the error."""
    assert (status_for(error), message_for(error)) == (status, message)


def test_the_table_knows_every_error() -> None:
    """A new kind of error has to be given a status on purpose."""
    kinds = [getattr(errors, name) for name in errors.__all__]
    known = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, DescopeNativeError)}
    assert known == {type(error) for error, _, _ in TABLE}
