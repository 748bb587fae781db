"""The benchmarks run, and what they measure has not become grossly dearer.

Seconds would be flaky, so the guard counts what is the same in every run: calls that our code makes or
is reached by, and memory blocks that a result keeps. Its bounds lie about 15 % above what was counted when
they were set; whoever has a good reason to spend more raises them, and says so in the commit.
"""

import gc
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

import attrs
import pytest
from kit.support import APPLE, DOCUMENTED_ANSWER, Answer, Answering

import descope_native
from descope_native import FinishRequest, FinishResult, HttpResponse, IdpResponse, User, UserTenant
from descope_native._service.answers import read_session
from descope_native._service.redaction import Redactor

ROOT: Final = Path(__file__).parents[2]
OURS: Final = str(Path(descope_native.__file__).parent)

DOCUMENTED: Final = HttpResponse(200, (("Content-Type", "application/json"),), DOCUMENTED_ANSWER)

REQUEST: Final = FinishRequest(**APPLE)


class Calls:
    """Counts, while it is entered, the calls in this thread that our code makes or is reached by."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "c_call":  # the frame is the caller's
            self.count += is_ours(frame)
        elif event == "call":
            self.count += is_ours(frame) or is_ours(frame.f_back)


def is_ours(frame: FrameType | None) -> bool:
    # What is generated, by us or for us, has a file name of its own.
    generated = ("<attrs", "<cattrs", "<descope_native")
    return frame is not None and frame.f_code.co_filename.startswith((OURS, *generated))


def decode() -> FinishResult:
    result = read_session(DOCUMENTED, Redactor(REQUEST, None))
    assert isinstance(result, FinishResult)
    return result


def test_decoding_takes_no_more_calls_than_it_did() -> None:
    """Seventy fields are looked up, one by one, and few of them cost another call."""
    decode()
    with Calls() as calls:
        decode()
    print(f"{calls.count} calls")
    assert 80 < calls.count <= 148


async def test_a_call_takes_no_more_calls_than_it_did(answering: Answering) -> None:
    """The whole of it: arguments, request, transport, answer."""
    counts = []
    async with answering(Answer(body=DOCUMENTED_ANSWER)) as service:
        for _ in range(5):
            with Calls() as calls:
                await service.finish()
            counts.append(calls.count)
    print(f"{counts} calls")
    most = {"InMemoryTransport": 290, "AiohttpTransport": 436}[type(service.transport).__name__]
    assert 120 < min(counts) <= most


def test_a_result_keeps_no_more_memory_than_it_did() -> None:
    """What an answer leaves behind is its values, not the containers that they came in."""
    kept: list[Any] = [decode() for _ in range(100)]
    gc.collect()
    before = sys.getallocatedblocks()
    kept += [decode() for _ in range(100)]
    gc.collect()
    blocks = (sys.getallocatedblocks() - before) / 100
    print(f"{blocks} blocks")
    assert 20 < blocks <= 48


def test_what_is_made_fast_is_the_real_thing() -> None:
    """Results are filled as instances of an unfrozen twin, of which none may be left."""
    result = decode()
    assert result.user is not None
    assert result.idp_response is not None
    parts: list[Any] = [result, result.user, result.user.user_tenants[0], result.idp_response]
    for made in parts:
        assert type(made) in {FinishResult, User, UserTenant, IdpResponse}
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            made.extra = {}
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            del made.extra


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pydantic") is None, reason="the peers are in the dependency group 'bench'")
def test_every_benchmark_runs(tmp_path: Path) -> None:
    """A smoke run of all of them, whose figures mean nothing, and of the chart that is made from them."""
    report, chart = tmp_path / "results.json", tmp_path / "chart.svg"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for arguments in (
        ["benchmarks", "--quick", "--json", str(report)],
        ["benchmarks.chart", str(report), str(chart)],
    ):
        subprocess.run([sys.executable, "-m", *arguments], check=True, cwd=ROOT, env=environment)
    ratios = json.loads(report.read_text(encoding="utf-8"))["ratios"]
    assert {line["subject"] for line in ratios} == {
        *("felt", "finish", "start", "decode", "reuse", "single flight", "weight", "growth")
    }
    assert all(line["value"] > 0 for line in ratios)
    assert chart.read_text(encoding="utf-8").startswith("<svg")
