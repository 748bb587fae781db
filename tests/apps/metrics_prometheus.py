from prometheus_client import Counter, Histogram

from descope_native import CallEvent

CALLS = Counter("sign_in_calls", "Calls to Descope", ["operation", "outcome", "error", "single_flight"])
SECONDS = Histogram("sign_in_call_seconds", "Seconds per call", ["operation"])


def count(event: CallEvent) -> None:
    CALLS.labels(event.operation, event.outcome, event.error or "", event.single_flight or "").inc()
    SECONDS.labels(event.operation).observe(event.elapsed)
