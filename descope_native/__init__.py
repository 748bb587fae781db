"""Finish a native Apple or Google sign-in with Descope: one typed call that sends the code at most once.

from descope_native import NativeOAuthFinisher

async with NativeOAuthFinisher.open("P2…") as finisher:
    result = await finisher.finish(provider="google", state_id=state_id, id_token=id_token)
"""

from typing import TYPE_CHECKING

from descope_native._version import __version__
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
from descope_native.events import CallEvent
from descope_native.finisher import NativeOAuthFinisher
from descope_native.models import (
    AppleUser,
    Drift,
    FinishRequest,
    FinishResult,
    FrozenDict,
    IdpResponse,
    LoginOptions,
    StartRequest,
    StartResult,
    User,
    UserTenant,
)
from descope_native.retrying import Retry
from descope_native.starter import NativeOAuthStarter
from descope_native.transports import HttpRequest, HttpResponse, Transport

if TYPE_CHECKING:
    from descope_native.single_flight import SingleFlight
    from descope_native.transports.aiohttp import AiohttpTransport
    from descope_native.transports.memory import InMemoryTransport
else:  # type checkers would take every misspelt name for one of ours

    def __getattr__(name: str) -> object:
        # Not everybody needs each of them, and aiohttp takes longer to import than all the rest.
        if name == "AiohttpTransport":
            from descope_native.transports.aiohttp import AiohttpTransport  # noqa: PLC0415 -- see above

            return AiohttpTransport
        if name == "InMemoryTransport":
            from descope_native.transports.memory import InMemoryTransport  # noqa: PLC0415 -- see above

            return InMemoryTransport
        if name == "SingleFlight":
            from descope_native.single_flight import SingleFlight  # noqa: PLC0415 -- see above

            return SingleFlight
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AiohttpTransport",
    "AppleUser",
    "CallEvent",
    "ConnectError",
    "ConnectionLost",
    "DescopeNativeError",
    "Drift",
    "FinishRequest",
    "FinishResult",
    "FrozenDict",
    "HttpRequest",
    "HttpResponse",
    "IdpResponse",
    "InMemoryTransport",
    "InvalidRequestError",
    "LoginOptions",
    "NativeOAuthFinisher",
    "NativeOAuthStarter",
    "Outcome",
    "ProjectRejectedError",
    "RateLimitedError",
    "RejectedError",
    "RequestTimeout",
    "ResponseError",
    "Retry",
    "ServerError",
    "SingleFlight",
    "StartRequest",
    "StartResult",
    "TLSError",
    "Transport",
    "TransportClosed",
    "TransportError",
    "UnexpectedResponse",
    "User",
    "UserTenant",
    "__version__",
]
