from opentelemetry import metrics

from descope_native import CallEvent

SECONDS = metrics.get_meter("sign_in").create_histogram("sign_in.call.duration", unit="s")


def count(event: CallEvent) -> None:
    facts = {"operation": event.operation, "outcome": event.outcome, "error.type": event.error or ""}
    SECONDS.record(event.elapsed, facts)
