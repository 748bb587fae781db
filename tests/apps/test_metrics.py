"""The recipes for metrics, with the real packages: each call is counted once, by what came of it."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from descope_native import (
    CallEvent,
    InMemoryTransport,
    NativeOAuthFinisher,
    NativeOAuthStarter,
    RejectedError,
)
from descope_native.testing import FakeDescope

sys.path.append(str(Path(__file__).parent))

MOST_LINES = 10


async def sign_in_twice(count: Any) -> list[CallEvent]:
    """A start and a finish that work, and a finish that is refused."""
    events: list[CallEvent] = []

    def on_call(event: CallEvent) -> None:
        events.append(event)
        count(event)

    fake = FakeDescope()
    transport = InMemoryTransport(fake)
    started = await NativeOAuthStarter(fake.project_id, transport, on_call=on_call).start(provider="google")
    finisher = NativeOAuthFinisher(fake.project_id, transport, on_call=on_call)
    proof = fake.phone(started).as_arguments()
    await finisher.finish(**proof)
    with pytest.raises(RejectedError):
        await finisher.finish(**proof)
    return events


async def test_prometheus_counts_each_call() -> None:
    """What a scrape says after three calls: three counters of 1, and the seconds of two operations."""
    prometheus = pytest.importorskip("prometheus_client")
    count = importlib.import_module("metrics_prometheus").count

    events = await sign_in_twice(count)
    scraped = prometheus.generate_latest().decode().splitlines()
    calls = [line for line in scraped if line.startswith("sign_in_calls_total")]
    assert sorted(calls) == [
        'sign_in_calls_total{error="",operation="finish",outcome="session",single_flight=""} 1.0',
        'sign_in_calls_total{error="",operation="start",outcome="started",single_flight=""} 1.0',
        (
            'sign_in_calls_total{error="RejectedError",operation="finish",outcome="rejected",single_flight=""}'
            " 1.0"
        ),
    ]
    assert 'sign_in_call_seconds_count{operation="finish"} 2.0' in scraped
    (total,) = (line for line in scraped if line.startswith('sign_in_call_seconds_sum{operation="finish"}'))
    assert float(total.split()[1]) == pytest.approx(sum(event.elapsed for event in events[1:]))


async def test_opentelemetry_records_each_call() -> None:
    """What the SDK would export after three calls: one data point for each outcome."""
    metrics = pytest.importorskip("opentelemetry.metrics")
    sdk = pytest.importorskip("opentelemetry.sdk.metrics")
    reader = pytest.importorskip("opentelemetry.sdk.metrics.export").InMemoryMetricReader()
    metrics.set_meter_provider(sdk.MeterProvider([reader]))
    count = importlib.import_module("metrics_opentelemetry").count

    await sign_in_twice(count)
    exported = json.loads(reader.get_metrics_data().to_json())
    ((metric,),) = (scope["metrics"] for scope in exported["resource_metrics"][0]["scope_metrics"])
    assert (metric["name"], metric["unit"]) == ("sign_in.call.duration", "s")
    points = metric["data"]["data_points"]
    told = {tuple(sorted(point["attributes"].items())): point["count"] for point in points}
    assert told == {
        (("error.type", ""), ("operation", "start"), ("outcome", "started")): 1,
        (("error.type", ""), ("operation", "finish"), ("outcome", "session")): 1,
        (("error.type", "RejectedError"), ("operation", "finish"), ("outcome", "rejected")): 1,
    }


@pytest.mark.parametrize("name", ["metrics_prometheus.py", "metrics_opentelemetry.py"])
def test_a_recipe_is_short(name: str) -> None:
    """Ten lines of code at most."""
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= MOST_LINES
