"""What a web server answers when signing in did not work: one mapping for all frameworks."""

from descope_native.errors import (
    DescopeNativeError,
    InvalidRequestError,
    Outcome,
    RejectedError,
    RequestTimeout,
)

__all__ = ["message_for", "status_for"]


def status_for(error: DescopeNativeError) -> int:
    """The HTTP status for the app at the other end.

    ====  ==========================================================================
    400   the app sent what cannot be right; nothing went to the service
    401   the service said no: sign in again
    502   the service's answer was lost or is not a session: sign in again
    503   the code is still good: try again, or later
    504   the deadline passed; ``error.safe_to_retry`` says whether the same code is good
    ====  ==========================================================================

    The service's 429 is a 503 here: it counts requests by address, so it was this backend that sent
    too many, and not the person.
    """
    match error:
        case InvalidRequestError():
            return 400
        case RequestTimeout():
            return 504
        case _ if error.safe_to_retry or error.outcome is Outcome.NOT_SENT:
            return 503
        case RejectedError():
            return 401
        case _:
            return 502


def message_for(error: DescopeNativeError) -> str:
    """A sentence for the person who wants to sign in. It tells nothing about them or the system."""
    if isinstance(error, InvalidRequestError):
        return "This sign-in request is not valid."
    if error.safe_to_retry:
        return "Signing in does not work at the moment. Please try again."
    if error.outcome is Outcome.NOT_SENT:  # and would not be next time: somebody has to mend it first
        return "Signing in does not work at the moment. Please try again later."
    if error.outcome is Outcome.REJECTED:
        return "This sign-in was not accepted. Please sign in again."
    return "Signing in was interrupted. Please sign in again."
