"""What one call was like, for metrics and logs. Nothing about the person."""

from collections.abc import Mapping
from typing import Literal

import attrs

from descope_native.errors import ConnectReason, Phase
from descope_native.models import FrozenDict

__all__ = ["CallEvent"]


def _frozen(seconds: Mapping[str, float]) -> FrozenDict[float]:
    return FrozenDict(seconds)


@attrs.frozen(kw_only=True)
class CallEvent:
    """One call that has ended, however it did. Given to ``on_call``, and told in the log line.

    Attributes:
        operation: ``start`` or ``finish``.
        outcome: ``started`` or ``session`` where there is a result, else the value of an `Outcome`.
        error: the name of the exception's class; None where there is a result.
        status: the HTTP status of the last answer, None where there was none.
        phase: how far the last attempt got.
        elapsed: the seconds that the call took as a whole.
        phases: the seconds that the last attempt spent in each phase; empty where nothing was sent.
        attempts: how often the request was handed to the transport.
        host: the host that was called.
        provider: ``apple``, ``google`` or another well-known name, else ``custom``.
        reason: why nobody was reached: a `ConnectError`'s.
        code: the service's ``errorCode``.
        trace_id: the ``cf-ray`` header, which the vendor's support asks for.
        retry_after: the seconds that a rate limit asked to wait.
        argument: the argument that was refused.
        problem: what was wrong with it, or why there was no answer: in words, without any value.
        drift: how many places of the answer were not as documented; None where all were.
        drift_path: the first of them.
        single_flight: ``led``, ``joined`` or ``replayed``; None without a `SingleFlight`.
    """

    operation: str
    outcome: str
    error: str | None = None
    status: int | None = None
    phase: Phase
    elapsed: float
    phases: FrozenDict[float] = attrs.field(converter=_frozen)
    attempts: int
    host: str
    provider: str | None = None
    reason: ConnectReason | None = None
    code: str | None = None
    trace_id: str | None = None
    retry_after: float | None = None
    argument: str | None = None
    problem: str | None = None
    drift: int | None = None
    drift_path: str | None = None
    single_flight: Literal["led", "joined", "replayed"] | None = None
