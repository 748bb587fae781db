"""What a web server answers when signing in did not work: one mapping for all frameworks.

    except DescopeNativeError as error:
        answer = answer_for(error)
        return Response(answer.content, answer.status, answer.headers)

The body is a problem document (RFC 9457). A person reads ``detail``; an app does what ``next`` says.
"""

import json
import math
from http import HTTPStatus
from typing import Final, Literal

import attrs

from descope_native.errors import (
    DescopeNativeError,
    InvalidRequestError,
    Outcome,
    ProjectRejectedError,
    RateLimitedError,
    RequestTimeout,
    TransportClosed,
)

__all__ = ["HttpAnswer", "NextStep", "ProblemCode", "answer_for"]

NextStep = Literal["send_again", "wait", "start_over", "give_up"]
"""What the app does. ``send_again``: the same request, once at once, then after pauses of its own. ``wait``:
the same request, after ``Retry-After`` or, without that header, a pause of its own. ``start_over``: a new
sign-in, since the proof of this one is or may be spent. ``give_up``: neither, since somebody has to mend
something first."""

ProblemCode = Literal[
    "invalid_request",
    "invalid_proof",
    "temporarily_unavailable",
    "rate_limited",
    "restarting",
    "unavailable",
    "rejected",
    "interrupted",
]
"""What went wrong. There is one sentence for each, so an app translates by it; none changes its meaning."""

_DETAILS: Final[dict[ProblemCode, str]] = {
    "invalid_request": "This sign-in request is not valid. Neither it nor a new sign-in will work.",
    "invalid_proof": "This sign-in is not valid. Please start a new sign-in.",
    "temporarily_unavailable": "Signing in did not work. Nothing is lost: please send the same again.",
    "rate_limited": "Too many are signing in. Nothing is lost: please wait, then send the same again.",
    "restarting": "Signing in is restarting. Nothing is lost: please wait, then send the same again.",
    "unavailable": "Signing in does not work at the moment. Please start a new sign-in later.",
    "rejected": "This sign-in was not accepted. Please start a new sign-in.",
    "interrupted": "This sign-in was interrupted. Please start a new sign-in.",
}


_NEW_WITH_EACH_SIGN_IN: Final = frozenset({"state_id", "code", "id_token", "user", "nonce"})


@attrs.frozen
class HttpAnswer:
    """What to answer with. It holds nothing of the request, the service's texts or the person.

    Change a part with `attrs.evolve`, as ``detail`` for a translation.

    Attributes:
        status: of HTTP.
        code: what went wrong, to translate by and to count.
        next: what the app does.
        detail: a sentence for the person, in English.
        retry_after: whole seconds to wait, where the service named them.
    """

    status: int
    code: ProblemCode
    next: NextStep
    detail: str
    retry_after: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """For the response; a new dict each time. ``Retry-After`` is among them where it is known."""
        headers = {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return headers

    @property
    def body(self) -> dict[str, str | int]:
        """The problem document, for a JSON encoder; a new dict each time.

        Its ``type`` is ``about:blank``, so the title is the status in words (RFC 9457 §4.2.1). Put a URI of
        your own there if you have a page that explains the codes.
        """
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "next": self.next,
        }

    @property
    def content(self) -> bytes:
        """The body as JSON, for a response that takes bytes."""
        return json.dumps(self.body).encode()


def answer_for(error: DescopeNativeError) -> HttpAnswer:
    """What to tell the app at the other end of a failed start or finish. Takes any error of this library.

    | the error                  | status | code                    | next       |
    |----------------------------|--------|-------------------------|------------|
    | invalid part of the proof  | 400    | invalid_proof           | start_over |
    | invalid argument, else     | 400    | invalid_request         | give_up    |
    | 429 of the service         | 503    | rate_limited            | wait       |
    | ``safe_to_retry``          | 503    | temporarily_unavailable | send_again |
    | closed here, nothing spent | 503    | restarting              | wait       |
    | wrong project or key       | 503    | unavailable             | give_up    |
    | refused, a person's token  | 401    | rejected                | start_over |
    | not sent, or a start, else | 503    | unavailable             | give_up    |
    | rejected                   | 401    | rejected                | start_over |
    | unknown, deadline passed   | 504    | interrupted             | start_over |
    | unknown, else              | 502    | interrupted             | start_over |

    A new sign-in brings a new state, code, id token and name, so it may work where one of these is refused,
    as an id token with the nonce of another start is. All else that is refused here (an unknown kind of
    body, no provider) the same program would send again, and the person would go through one dialog after
    another for nothing: ``give_up``, so that the app's authors see it.

    The service's 429 becomes a 503: it counts requests by address, so this backend sent too many, and not
    the person. A transport that was closed mostly means that this process ends; the next one takes the same
    request. A start with a refresh token or a device token is refused, as a rule, because that has expired:
    a new sign-in without it mends that. What else was not sent and would not be next time (TLS, a proxy's
    407), or another start that the service refuses (a provider that is not set up), has to be mended by
    somebody, and takes longer than a proof lives.
    """
    status: int
    code: ProblemCode
    step: NextStep
    retry_after = None
    is_persons = getattr(error, "had_persons_token", False)  # then a refused start is as a refused finish
    unspent = (error.spends_nothing and not is_persons) or error.outcome is Outcome.NOT_SENT
    match error:
        case InvalidRequestError(argument=argument) if argument in _NEW_WITH_EACH_SIGN_IN:
            status, code, step = 400, "invalid_proof", "start_over"
        case InvalidRequestError():
            status, code, step = 400, "invalid_request", "give_up"
        case RateLimitedError(retry_after=seconds):
            status, code, step = 503, "rate_limited", "wait"
            retry_after = None if seconds is None else math.ceil(seconds)
        case ProjectRejectedError():
            status, code, step = 503, "unavailable", "give_up"
        case _ if error.safe_to_retry:
            status, code, step = 503, "temporarily_unavailable", "send_again"
        case TransportClosed() if unspent:
            status, code, step = 503, "restarting", "wait"
        case _ if unspent:
            status, code, step = 503, "unavailable", "give_up"
        case _ if error.outcome is Outcome.REJECTED:
            status, code, step = 401, "rejected", "start_over"
        case RequestTimeout():
            status, code, step = 504, "interrupted", "start_over"
        case _:
            status, code, step = 502, "interrupted", "start_over"
    return HttpAnswer(status, code, step, _DETAILS[code], retry_after)
