"""Each caller of one flight judges drift for itself."""

from typing import Any

import pytest
from kit.support import GOOGLE, PROJECT, as_json

from descope_native import (
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    NativeOAuthFinisher,
    SingleFlight,
    UnexpectedResponse,
)


@pytest.mark.parametrize("strict_first", [False, True], ids=["lenient leads", "strict leads"])
async def test_a_strict_caller_spoils_no_session_and_is_spared_none(strict_first: bool) -> None:
    """The strict one is told of the drift, the other one gets the session, and the code goes out once."""
    sent: list[HttpRequest] = []

    def answer(request: HttpRequest) -> HttpResponse:
        sent.append(request)
        return HttpResponse(200, (), as_json({"sessionJwt": "s.e.s", "firstSeen": 5}))

    options: dict[str, Any] = {"single_flight": SingleFlight()}
    transport = InMemoryTransport(answer)
    strict = NativeOAuthFinisher(PROJECT, transport, strict=True, **options)
    lenient = NativeOAuthFinisher(PROJECT, transport, **options)

    async def judge_strictly() -> None:
        with pytest.raises(UnexpectedResponse, match="firstSeen: expected boolean, found integer"):
            await strict.finish(**GOOGLE)

    if strict_first:
        await judge_strictly()
    assert (await lenient.finish(**GOOGLE)).drift[0].path == "firstSeen"
    if not strict_first:
        await judge_strictly()
    assert len(sent) == 1


@pytest.mark.parametrize("guard", [None, SingleFlight()], ids=["alone", "single flight"])
async def test_what_a_strict_caller_is_told_names_the_answer(guard: SingleFlight | None) -> None:
    """Status and trace id are those of the answer, with single flight as without."""
    answer = HttpResponse(202, (("cf-ray", "8f1e2d13-FRA"),), as_json({"sessionJwt": "s.e.s"}))
    transport = InMemoryTransport(lambda _: answer)
    strict = NativeOAuthFinisher(PROJECT, transport, strict=True, single_flight=guard)
    with pytest.raises(UnexpectedResponse) as caught:
        await strict.finish(**GOOGLE)
    assert (caught.value.status, caught.value.trace_id) == (202, "8f1e2d13-FRA")
