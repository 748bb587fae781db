"""What can go wrong, and whether the one-time code may have been spent.

    DescopeNativeError
    ├── InvalidRequestError (ValueError)    refused here, before any I/O
    ├── TransportError                      no answer; this kind itself: and nobody knows why
    │   ├── ConnectError                    never reached anybody
    │   │   └── TLSError                    the other side is not who it should be
    │   ├── RequestTimeout (TimeoutError)   the deadline passed; the phase is named
    │   ├── ConnectionLost                  gone after the request may have left
    │   └── TransportClosed                 closed, used on another event loop, or forked
    └── ResponseError                       an answer that is not a session
        ├── RejectedError                   4xx: the service said no
        │   ├── ProjectRejectedError        to the project or its key, not to the person
        │   └── RateLimitedError            429
        ├── ServerError                     5xx, 408, 499
        └── UnexpectedResponse              anything else

Every error answers one question first, in ``outcome``: may the one-time code have been spent?
``safe_to_retry`` says whether the *same* code may be sent once more.

Errors carry facts to decide with and never the request: no code, token, name or key is in one.
All of them survive pickling, so a process pool or a task queue may hand them on.
"""

import enum
from typing import Any, Final, Literal

__all__ = [
    "ConnectError",
    "ConnectReason",
    "ConnectionLost",
    "DescopeNativeError",
    "InvalidRequestError",
    "Outcome",
    "Phase",
    "ProjectRejectedError",
    "RateLimitedError",
    "RejectedError",
    "RequestTimeout",
    "ResponseError",
    "ServerError",
    "TLSError",
    "TransportClosed",
    "TransportError",
    "UnexpectedResponse",
]

Phase = Literal["pool", "connect", "send", "wait", "read"]
"""Where a call was: queued for a connection, connecting (DNS, TCP, TLS, proxy), sending the request,
waiting for the head of the answer, or reading its body."""

ConnectReason = Literal["dns", "refused", "unreachable", "reset", "proxy", "tls", "other"]
"""Why nobody was reached."""


class Outcome(enum.StrEnum):
    """What happened to the one-time code. Each is the string of its value, in a log or JSON too."""

    NOT_SENT = "not_sent"
    """No byte of the request left this process, now or later. The code is still good."""
    REJECTED = "rejected"
    """The service answered no. Take the code as spent, unless ``safe_to_retry`` says otherwise."""
    UNKNOWN = "unknown"
    """It may have happened. Do not send the code again; let the person sign in once more."""


_UNSENT_PHASES: Final = frozenset({"pool", "connect"})


def outcome_in(phase: Phase) -> Outcome:
    """What is proved about a call that ended without an answer in this phase."""
    return Outcome.NOT_SENT if phase in _UNSENT_PHASES else Outcome.UNKNOWN


class DescopeNativeError(Exception):
    """The root: ``except DescopeNativeError`` catches all that this library raises on purpose.

    ``spends_nothing`` is set on the errors of a start, which may be repeated where its outcome is unknown.
    """

    spends_nothing: bool = False

    @property
    def outcome(self) -> Outcome:
        """What happened to the request; for a finish, to the one-time code."""
        return Outcome.UNKNOWN

    @property
    def safe_to_retry(self) -> bool:
        """Whether the same request may be sent once more."""
        return False


class InvalidRequestError(DescopeNativeError, ValueError):
    """An argument cannot be right, and nothing was sent. ``argument`` names it, where it is a single one."""

    def __init__(self, problem: str, argument: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.argument = argument  # pickle hands it over with the other attributes

    @property
    def outcome(self) -> Outcome:
        """Always ``NOT_SENT``."""
        return Outcome.NOT_SENT

    def __str__(self) -> str:
        return self.problem


class TransportError(DescopeNativeError):
    """No answer came. ``phase`` says how far the call had got, ``problem`` what is known of why.

    ``address`` is the host and port that were called, where a client made the call.
    """

    address: str | None = None

    def __init__(self, phase: Phase, problem: str) -> None:
        super().__init__(phase, problem)
        self.phase: Phase = phase
        self.problem = problem

    @property
    def outcome(self) -> Outcome:
        """``NOT_SENT`` where the call had not begun to send, ``UNKNOWN`` from then on."""
        return outcome_in(self.phase)

    def __str__(self) -> str:
        called = f"{self.address}, " if self.address else ""
        return f"{self.problem} [{called}phase {self.phase}, outcome {self.outcome}]"


class ConnectError(TransportError):
    """Nobody was reached, so nothing was sent. ``reason`` says why.

    Safe to retry, unless whoever refused would refuse again (a proxy's 407, say).
    """

    def __init__(self, reason: ConnectReason, problem: str, safe_to_retry: bool = True) -> None:  # noqa: FBT001, FBT002 -- pickle hands arguments over by position
        super().__init__("connect", problem)
        self.args: tuple[Any, ...] = (reason, problem, safe_to_retry)  # what pickle rebuilds it from
        self.reason: ConnectReason = reason
        self._safe_to_retry = safe_to_retry

    @property
    def safe_to_retry(self) -> bool:
        """True, unless whoever refused would refuse again."""
        return self._safe_to_retry


class TLSError(ConnectError):
    """Certificate, host name or fingerprint is wrong, or no TLS version is shared.

    The other side is not proved to be who it should be. Never safe to retry: look at who answers at
    that address before anything else.
    """

    def __init__(self, problem: str) -> None:
        super().__init__("tls", problem, safe_to_retry=False)
        self.args: tuple[Any, ...] = (problem,)


_NOT_HAD_IN: Final[dict[Phase, str]] = {
    "pool": "no free connection",
    "connect": "no connection",
    "send": "the request was not sent",
    "wait": "no answer",
    "read": "no whole answer",
}


class RequestTimeout(TransportError, TimeoutError):
    """The deadline passed. ``phase`` names what used it up.

    ``seconds`` is what this attempt was given: the rest of the deadline, or the transport's
    ``connect_timeout`` where that was shorter.

    ``NOT_SENT`` and safe to retry in ``pool`` and ``connect``; ``UNKNOWN`` afterwards, since the
    service may still read what was sent.
    """

    def __init__(self, phase: Phase, seconds: float) -> None:
        super().__init__(phase, f"{_NOT_HAD_IN[phase]} within {seconds:.3g} s")
        self.args: tuple[Any, ...] = (phase, seconds)
        self.errno: int | None = None
        self.strerror: str | None = None  # or OSError takes the two arguments above for them
        self.seconds = seconds

    @property
    def safe_to_retry(self) -> bool:
        """True where nothing was sent or, as by a start, nothing can be spent."""
        return self.spends_nothing or self.outcome is Outcome.NOT_SENT


class ConnectionLost(TransportError):
    """The connection went away after the request may have left."""

    @property
    def safe_to_retry(self) -> bool:
        """False, but for a start, which spends nothing."""
        return self.spends_nothing


class TransportClosed(TransportError):
    """The transport is closed, belongs to another event loop, or was carried over a fork."""


class ResponseError(DescopeNativeError):
    """An answer came and it is not a session.

    Attributes:
        status: the HTTP status.
        trace_id: the ``cf-ray`` header, which the vendor's support asks for, or None.
        code: the service's ``errorCode`` (``E`` and six digits, an open set), or None.
        description: its ``errorDescription``, or None.
        message: its ``errorMessage``, or None.

    The texts are the service's own, cut to 300 characters. One that quotes a secret of the request, or
    any token, is withheld as a whole: it says so instead.
    """

    def __init__(
        self,
        status: int,
        trace_id: str | None = None,
        code: str | None = None,
        description: str | None = None,
        message: str | None = None,
    ) -> None:
        super().__init__(status, trace_id, code, description, message)
        self.status = status
        self.trace_id = trace_id
        self.code = code
        self.description = description
        self.message = message

    def __str__(self) -> str:
        text = f"the service answered {self.status}"
        said = "; ".join(filter(None, (self.code, self.description, self.message)))
        if said:
            text += f": {said}"
        facts = [f"outcome {self.outcome}"]
        if self.trace_id:
            facts.append(f"cf-ray {self.trace_id}")
        return f"{text} [{', '.join(facts)}]"


class RejectedError(ResponseError):
    """4xx: the service said no. Take the code as spent and let the person sign in again.

    ``had_persons_token`` says that the request had a refresh token or a device token, so that it may be the
    person's token that was refused, and not what the program asks for.
    """

    had_persons_token: bool = False

    @property
    def outcome(self) -> Outcome:
        """Always ``REJECTED``."""
        return Outcome.REJECTED

    @property
    def safe_to_retry(self) -> bool:
        """True for 421 and 425, which say that the request was not looked at (RFC 9110, RFC 8470)."""
        return self.status in _NOT_LOOKED_AT


_NOT_LOOKED_AT: Final = frozenset({421, 425})


class ProjectRejectedError(RejectedError):
    """401 or 403 that is about the project id or the auth management key, and about no person.

    Told by the service's code E111119, ``Unauthorized``, where the request has no token of a person or a
    device, which may be meant as well. Somebody has to mend the configuration; take the code as spent
    nevertheless.
    """


class RateLimitedError(RejectedError):
    """429: too many requests. The vendor counts by IP address, so a whole backend shares the limit.

    ``retry_after`` is how many seconds the service asks to wait, 0 to 3600, or None where it did
    not say so in a form that RFC 9110 knows. The code was not looked at, so it is safe to retry.
    """

    def __init__(  # noqa: PLR0917 -- pickle hands arguments over by position
        self,
        status: int,
        trace_id: str | None = None,
        code: str | None = None,
        description: str | None = None,
        message: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(status, trace_id, code, description, message)
        self.args: tuple[Any, ...] = (*self.args, retry_after)
        self.retry_after = retry_after

    @property
    def safe_to_retry(self) -> bool:
        """Always true, after ``retry_after``."""
        return True


class ServerError(ResponseError):
    """5xx, 408 or 499. No 5xx proves that nothing was applied, so the code may be spent."""

    @property
    def safe_to_retry(self) -> bool:
        """False, but for a start, which spends nothing."""
        return self.spends_nothing


class UnexpectedResponse(ResponseError):
    """An answer that is neither a session nor an error of the service.

    ``problem`` says what is wrong and where, never with the values found there. ``status`` is 0
    where the answer was so malformed that it has none. ``is_damaged`` says that the answer was cut or
    malformed on its way, so that another try may bring a whole one.
    """

    def __init__(
        self, status: int, problem: str, trace_id: str | None = None, *, is_damaged: bool = False
    ) -> None:
        super().__init__(status, trace_id)
        self.args: tuple[Any, ...] = (status, problem, trace_id)
        self.problem = problem
        self.is_damaged = is_damaged  # pickle hands it over with the other attributes

    @property
    def safe_to_retry(self) -> bool:
        """False, but for a start, which spends nothing, whose answer was damaged on its way."""
        return self.spends_nothing and self.is_damaged

    def __str__(self) -> str:
        facts = [f"status {self.status}", f"outcome {self.outcome}"]
        if self.trace_id:
            facts.append(f"cf-ray {self.trace_id}")
        return f"{self.problem} [{', '.join(facts)}]"
