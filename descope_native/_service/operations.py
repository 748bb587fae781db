"""The calls that this package makes: for each its path, how its answer is read, whether it may be repeated.

What its request becomes on the wire stands in the converter's tables.
"""

from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import attrs

from descope_native._service.answers import Result, read_session, read_start
from descope_native._service.endpoint import Endpoint
from descope_native._service.proofs import FinishProof
from descope_native._service.redaction import Redactor
from descope_native.errors import UnexpectedResponse
from descope_native.models import FinishRequest, FinishResult, StartRequest, StartResult
from descope_native.transports import HttpResponse

Request_contra = TypeVar("Request_contra", bound=attrs.AttrsInstance, contravariant=True)


class Proof(Protocol[Request_contra, Result]):
    """What single flight needs to know of an operation."""

    @staticmethod
    def identify(endpoint: Endpoint, request: Request_contra, /) -> bytes:
        """What two submits of one proof have in common, and two proofs have not."""
        ...

    @staticmethod
    def encode(result: Result, /) -> bytes: ...

    @staticmethod
    def decode(text: bytes, /) -> Result: ...


@attrs.frozen(kw_only=True)
class Operation(Generic[Request_contra, Result]):
    """One endpoint of the service.

    Attributes:
        name: what the log calls it.
        path: under the base URL.
        read: what a 2xx becomes: a result, or the error that the caller raises. It never raises itself,
            so that no traceback has a frame that holds the answer.
        spends_nothing: whether the same request may go out again where the outcome is unknown.
        achieved: the outcome that is logged for a result.
        proof: what may go out once only; None where there is no such thing.
    """

    name: str
    path: str
    read: Callable[[HttpResponse, Redactor], Result | UnexpectedResponse]
    spends_nothing: bool
    achieved: str
    proof: Proof[Request_contra, Result] | None = None


START: Final = Operation[StartRequest, StartResult](
    name="start",
    path="/v1/auth/oauth/native/start",
    read=read_start,
    spends_nothing=True,
    achieved="started",
)
FINISH: Final = Operation[FinishRequest, FinishResult](
    name="finish",
    path="/v1/auth/oauth/native/finish",
    read=read_session,
    spends_nothing=False,
    achieved="session",
    proof=FinishProof,
)
