"""Each error there is, made with each fact that changes what it proves."""

from collections.abc import Callable
from typing import Final

from descope_native import (
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

NOT_SENT, REJECTED, UNKNOWN = Outcome.NOT_SENT, Outcome.REJECTED, Outcome.UNKNOWN
SAID: Final = ("ray-1", "E061301", "A description", "A message")

# Each error, what it proves of the code, and whether the same code may go out again.
PROOFS: Final[list[tuple[Callable[[], DescopeNativeError], Outcome, bool]]] = [
    (lambda: DescopeNativeError("x"), UNKNOWN, False),
    (lambda: InvalidRequestError("x"), NOT_SENT, False),
    (lambda: TransportError("pool", "x"), NOT_SENT, False),
    (lambda: TransportError("connect", "x"), NOT_SENT, False),
    (lambda: TransportError("send", "x"), UNKNOWN, False),
    (lambda: TransportError("wait", "x"), UNKNOWN, False),
    (lambda: TransportError("read", "x"), UNKNOWN, False),
    (lambda: ConnectError("dns", "x"), NOT_SENT, True),
    (lambda: ConnectError("refused", "x"), NOT_SENT, True),
    (lambda: ConnectError("proxy", "x", safe_to_retry=False), NOT_SENT, False),
    (lambda: TLSError("x"), NOT_SENT, False),
    (lambda: RequestTimeout("pool", 1.5), NOT_SENT, True),
    (lambda: RequestTimeout("connect", 1.5), NOT_SENT, True),
    (lambda: RequestTimeout("send", 1.5), UNKNOWN, False),
    (lambda: RequestTimeout("wait", 1.5), UNKNOWN, False),
    (lambda: RequestTimeout("read", 1.5), UNKNOWN, False),
    (lambda: ConnectionLost("send", "x"), UNKNOWN, False),
    (lambda: ConnectionLost("wait", "x"), UNKNOWN, False),
    (lambda: ConnectionLost("read", "x"), UNKNOWN, False),
    (lambda: TransportClosed("pool", "x"), NOT_SENT, False),
    (lambda: TransportClosed("connect", "x"), NOT_SENT, False),
    (lambda: TransportClosed("wait", "x"), UNKNOWN, False),
    (lambda: ResponseError(418, *SAID), UNKNOWN, False),
    (lambda: RejectedError(400, *SAID), REJECTED, False),
    (lambda: RejectedError(421, *SAID), REJECTED, True),
    (lambda: RejectedError(425, *SAID), REJECTED, True),
    (lambda: ProjectRejectedError(401, *SAID), REJECTED, False),
    (lambda: RateLimitedError(429, *SAID, retry_after=10.0), REJECTED, True),
    (lambda: RateLimitedError(429), REJECTED, True),
    (lambda: ServerError(500, *SAID), UNKNOWN, False),
    (lambda: ServerError(408), UNKNOWN, False),
    (lambda: UnexpectedResponse(302, "x", "ray-1"), UNKNOWN, False),
    (lambda: UnexpectedResponse(0, "x"), UNKNOWN, False),
]
NAMES_OF_PROOFS: Final = [f"{type(make()).__name__}{make().args}" for make, *_ in PROOFS]
