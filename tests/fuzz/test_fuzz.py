"""A short run of each target; `python -m tests.fuzz` makes long ones."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from targets import PURE, Exchange, raw_answers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exchange() -> Iterator[Exchange]:
    with Exchange() as opened:
        yield opened


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(packets=raw_answers())
def test_any_bytes_over_a_socket_end_in_a_session_or_a_documented_error(
    exchange: Exchange, packets: list[bytes]
) -> None:
    """In packets, as they come: nothing escapes, hangs or tells, and one request is sent."""
    exchange.raw_answer(packets)


@pytest.mark.parametrize("name", PURE)
def test_any_input_keeps_the_promise(name: str) -> None:
    """Response, Retry-After, Set-Cookie, base URL and project id, each against what its target says."""
    target, inputs = PURE[name]
    settings(max_examples=200, suppress_health_check=list(HealthCheck))(given(**inputs)(target))()
