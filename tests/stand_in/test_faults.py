"""What goes wrong on request."""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
from asking import (
    FINISH,
    KEYS,
    PROJECT,
    START,
    Asking,
    Clock,
    Reply,
    asking_directly,
    both_ways,
)
from yarl import URL

from descope_native import (
    ConnectionLost,
    InMemoryTransport,
    NativeOAuthFinisher,
    Outcome,
    RateLimitedError,
    RequestTimeout,
)
from descope_native.testing import FakeDescope, Fault, Proof


def finisher_of(
    fake: FakeDescope, base_url: str | None = None
) -> AbstractAsyncContextManager[NativeOAuthFinisher]:
    @asynccontextmanager
    async def in_memory() -> AsyncGenerator[NativeOAuthFinisher, None]:
        yield NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake))

    if base_url is None:
        return in_memory()
    return NativeOAuthFinisher.open(fake.project_id, base_url=base_url)


@pytest.mark.parametrize("over_http", [False, True], ids=["direct", "http"])
@pytest.mark.parametrize(
    ("fault", "phase", "spent"),
    [
        (Fault(drop="before"), "wait", False),
        (Fault(drop="after"), "wait", True),
        (Fault(drop="after", applied=False), "wait", False),
        (Fault(drop="halfway"), "read", True),
        (Fault(drop="halfway", status=200, body=b"{}"), "read", False),
    ],
    ids=repr,
)
async def test_a_drop_loses_the_connection(over_http: bool, fault: Fault, phase: str, spent: bool) -> None:
    """The client sees the same over both transports; whether the code is spent is the fault's say."""
    fake = FakeDescope()
    fake.fail_next(fault)
    proof = fake.sign_in()
    async with fake.serve() as base_url, finisher_of(fake, base_url if over_http else None) as finisher:
        with pytest.raises(ConnectionLost) as lost:
            await finisher.finish(**proof.as_arguments())
        assert (lost.value.phase, lost.value.outcome) == (phase, Outcome.UNKNOWN)
        async with asking_directly(fake) as client:
            assert (await client.finish(proof)).status == (400 if spent else 200)


async def exchange(base_url: str, proof: Proof) -> bytes:
    """Everything that comes back, by a raw socket."""
    body = json.dumps(proof.as_json())
    head = f"POST {FINISH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {PROJECT}\r\n"
    head += "Content-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection("localhost", URL(base_url).port)
    try:
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        return await reader.read()
    finally:
        writer.close()


async def test_a_drop_is_a_reset_on_a_real_socket() -> None:
    """Not a tidy end: the kernel says connection reset."""
    fake = FakeDescope()
    fake.fail_next(Fault(drop="before"), Fault(drop="after"))
    async with fake.serve() as base_url:
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await exchange(base_url, fake.sign_in())
    assert [call.status for call in fake.calls] == [None, None]


async def test_a_drop_halfway_leaves_half_a_body() -> None:
    """Content-Length promises twice what comes."""
    fake = FakeDescope()
    fake.fail_next(Fault(drop="halfway"))
    async with fake.serve() as base_url:
        head, _, body = (await exchange(base_url, fake.sign_in())).partition(b"\r\n\r\n")
    promised = re.search(rb"Content-Length: (\d+)", head)
    assert promised is not None
    assert len(body) == int(promised[1]) // 2 > 500
    assert body.startswith(b'{"sessionJwt":"ey')


@both_ways
async def test_a_status_replaces_the_answer_exactly(asking: Asking) -> None:
    """Any status with any headers, twice the same too, and any body; the code stays good unless applied."""
    fake = FakeDescope()
    fake.fail_next(
        Fault(status=502, headers=[("X-A", "1"), ("X-A", "2")], body=b"<html>"),
        Fault(status=500, applied=True),
    )
    proof = fake.sign_in()
    async with asking(fake) as client:
        replaced = await client.finish(proof)
        assert (replaced.status, replaced.header("X-A"), replaced.body) == (502, ["1", "2"], b"<html>")
        assert (await client.finish(proof)).status == 500
        assert (await client.finish(proof)).json["errorCode"] == "E061301"


async def test_a_rate_limit_says_when_to_come_back() -> None:
    """429 with Retry-After and the empty body that the service really sends."""
    fake = FakeDescope()
    fake.fail_next(Fault(status=429, headers={"Retry-After": "10"}))
    proof = fake.sign_in()
    async with finisher_of(fake) as finisher:
        with pytest.raises(RateLimitedError) as limited:
            await finisher.finish(**proof.as_arguments())
        assert limited.value.retry_after == 10
        assert (await finisher.finish(**proof.as_arguments())).session_jwt


async def test_a_delay_comes_after_the_request_took_effect() -> None:
    """A client that gives up waiting has spent its code all the same; serving ends without waiting for it."""
    fake = FakeDescope()
    fake.fail_next(Fault(delay=60))
    proof = fake.sign_in()
    before = time.monotonic()
    async with fake.serve() as base_url, finisher_of(fake, base_url) as finisher:
        with pytest.raises(RequestTimeout) as late:
            await finisher.finish(**proof.as_arguments(), timeout=0.2)
        assert late.value.phase == "wait"
    assert time.monotonic() - before < 5
    assert [call.status for call in fake.calls] == [200]
    async with asking_directly(fake) as client:
        assert (await client.finish(proof)).status == 400


@both_ways
async def test_a_delay_delays(asking: Asking) -> None:
    """The answer is the usual one, and late."""
    fake = FakeDescope()
    fake.fail_next(Fault(delay=0.05))
    async with asking(fake) as client:
        before = time.monotonic()
        assert (await client.finish(fake.sign_in())).status == 200
        assert time.monotonic() - before >= 0.05


@both_ways
async def test_fields_are_merged_into_the_answer(asking: Asking) -> None:
    """Unknown keys come in and documented ones go wrong, at any depth, and nothing else changes."""
    fake = FakeDescope()
    fields = {
        "new": {"a": 1},
        "user": {"email": 5, "OAuth": {"x": "y"}, "customAttributes": {}},
        "claims": None,
    }
    fake.fail_next(Fault(fields=fields))
    async with asking(fake) as client:
        answer = (await client.finish(fake.sign_in())).json
    assert answer["new"] == {"a": 1}
    assert (answer["user"]["email"], answer["claims"]) == (5, None)
    assert answer["user"]["OAuth"] == {"google": True, "x": "y"}
    assert (answer["user"]["name"], answer["user"]["customAttributes"]) == ("Ada Lovelace", {})


@both_ways
async def test_one_answer_can_have_its_tokens_elsewhere(asking: Asking) -> None:
    """Tokens only in cookies for a call, or in the body for one."""
    fake = FakeDescope()
    fake.fail_next(Fault(tokens="cookies"), Fault(tokens="body"))
    async with asking(fake) as client:
        replies = [await client.finish(fake.sign_in()) for _ in range(3)]
    assert [len(reply.header("Set-Cookie")) for reply in replies] == [2, 0, 0]
    assert [reply.json["sessionJwt"] == "" for reply in replies] == [True, False, False]


@both_ways
async def test_rules_hold_until_mended_and_one_shots_go_first(asking: Asking) -> None:
    """A rule hits every call that it fits, the oldest first; a one-shot hits the next finish, once."""
    fake = FakeDescope()
    fake.fail_when(lambda request: request.url.path == KEYS, Fault(status=503))
    fake.fail_when(lambda request: b"apple" in request.body, Fault(status=504))
    fake.fail_when(lambda request: request.url.path == FINISH, Fault(status=500))
    fake.fail_next(Fault(status=429))
    async with asking(fake) as client:
        statuses = [
            (await client.get(KEYS)).status,
            (await client.post(START, {"provider": "google"})).status,
            (await client.finish(fake.sign_in("apple"))).status,
            (await client.finish(fake.sign_in("apple"))).status,
            (await client.finish(fake.sign_in("google"))).status,
        ]
        fake.fail_next(Fault(status=429))
        fake.mend()
        statuses += [(await client.get(KEYS)).status, (await client.finish(fake.sign_in())).status]
    assert statuses == [503, 200, 429, 504, 500, 200, 200]


@pytest.mark.parametrize(
    "nonsense",
    [
        {"drop": "sometimes"},
        {"tokens": "pocket"},
        {"delay": -1},
        {"status": 0},
        {"status": 199},
        {"status": 600},
        {"body": b"for no status"},
        {"headers": {"for": "no status"}},
        {"applied": True},
        {"applied": True, "drop": "before"},
        {"status": 500, "drop": "before"},
        {"status": 500, "drop": "after"},
        {"applied": False, "drop": "halfway"},
        {"tokens": "cookies", "status": 500},
        {"fields": {"a": 1}, "drop": "after"},
    ],
    ids=str,
)
def test_a_fault_that_makes_no_sense_is_refused(nonsense: dict[str, Any]) -> None:
    """A fault that would not do what it says is an error where it is written."""
    with pytest.raises(ValueError, match=r"^(drop|delay|status|headers|applied|tokens)"):
        Fault(**nonsense)


@pytest.mark.parametrize("status", [200, 599])
async def test_a_fault_can_have_any_final_status(status: int) -> None:
    """From the first to the last (RFC 9110 §15), and nothing of its own in it."""
    fake = FakeDescope()
    fake.fail_next(Fault(status=status))
    async with asking_directly(fake) as client:
        assert await client.finish(fake.sign_in()) == Reply(status, [], b"")


@both_ways
async def test_another_process_asks_for_faults_and_reads_the_calls(asking: Asking) -> None:
    """Over HTTP a fault is said in the words of `Fault`, and the record comes back masked."""
    fake = FakeDescope()
    fault = {"status": 429, "headers": {"Retry-After": "7"}, "body": "slow down"}
    async with asking(fake) as client:
        assert (await client.post("/stand-in/fail-next", fault, None)).status == 200
        reply = await client.finish(fake.sign_in())
        calls = (await client.get("/stand-in/calls")).json["calls"]
    assert (reply.status, reply.header("Retry-After"), reply.body) == (429, ["7"], b"slow down")
    assert [(call["path"], call["status"]) for call in calls] == [("/stand-in/fail-next", 200), (FINISH, 429)]
    assert calls[1]["body"] == {"provider": "google", "stateId": "[masked]", "idToken": "[masked]"}


ONE_LINE: Final = "headers are names and values of one line each, in text that can be encoded"
FRAMED: Final = "headers has no Content-Length and no Transfer-Encoding: the server sets them"
WRONG_FAULTS: Final[list[tuple[dict[str, Any] | bytes, str]]] = [
    (
        {"kind": "bad"},
        "a fault has delay, drop, status, headers, body, applied, tokens, fields, and nothing else",
    ),
    ({"delay": "1"}, "delay has the wrong type"),
    ({"drop": 1}, "drop has the wrong type"),
    ({"status": "200"}, "status has the wrong type"),
    ({"status": True}, "status has the wrong type"),
    ({"headers": []}, "headers has the wrong type"),
    ({"status": 200, "headers": {"a": 1}}, "headers has the wrong type"),
    ({"body": 1}, "body has the wrong type"),
    ({"applied": 1}, "applied has the wrong type"),
    ({"tokens": 1}, "tokens has the wrong type"),
    ({"fields": []}, "fields has the wrong type"),
    ({"drop": "sometimes"}, "drop is 'before', 'after' or 'halfway', tokens 'body' or 'cookies'"),
    ({"applied": True}, "applied is a choice only with a status, or with drop='after'"),
    ({"delay": -0.1}, "delay is from 0 seconds to a day"),
    ({"delay": 86_401}, "delay is from 0 seconds to a day"),
    (b'{"delay": 1e999}', "delay is from 0 seconds to a day"),
    ({"status": 101}, "status is from 200 to 599"),
    ({"status": 200, "headers": {"a": "b\r\nc: d"}}, ONE_LINE),
    ({"status": 200, "headers": {"a": "\0"}}, ONE_LINE),
    ({"status": 200, "headers": {"a": "\udc80"}}, ONE_LINE),
    ({"status": 200, "headers": {"a b": "c"}}, ONE_LINE),
    ({"status": 200, "headers": {"a\n": "c"}}, ONE_LINE),
    ({"status": 200, "headers": {"": "c"}}, ONE_LINE),
    ({"status": 200, "headers": {"Content-Length": "abc"}}, FRAMED),
    ({"status": 200, "headers": {"content-length": ""}}, FRAMED),
    ({"status": 200, "headers": {"Transfer-Encoding": "chunked"}}, FRAMED),
    ({"status": 200, "body": "\ud83d"}, "body is text that cannot be encoded"),
    (b'{"fields": ' + b'{"a":' * 100 + b"1" + b"}" * 101, "the body is not a JSON object"),
]


@pytest.mark.parametrize(
    ("fault", "problem"), WRONG_FAULTS, ids=[str(fault)[:50] for fault, _ in WRONG_FAULTS]
)
async def test_a_fault_from_another_process_that_is_wrong_is_not_taken(
    fault: dict[str, Any] | bytes, problem: str
) -> None:
    """What is wrong with it is said, and the next finish goes well."""
    fake = FakeDescope()
    async with asking_directly(fake) as client:
        reply = await client.post("/stand-in/fail-next", fault, None)
        assert (reply.status, reply.json["errorMessage"]) == (400, problem)
        assert (await client.finish(fake.sign_in())).status == 200


@pytest.mark.parametrize(
    ("fault", "status", "headers"),
    [
        ({"status": 503, "headers": {"X-A": "b"}, "applied": True, "delay": 0.001}, 503, [("X-A", "b")]),
        ({"status": 200, "headers": {"X-Tab": "a\tb", "x_name": "Zoë", "x-empty": ""}}, 200, None),
        ({"tokens": "cookies", "fields": {"new": 1}, "delay": 0}, 200, None),
    ],
    ids=["status", "odd headers", "own answer"],
)
async def test_another_process_asks_for_faults_in_the_words_of_python(
    fault: dict[str, Any], status: int, headers: list[tuple[str, str]] | None
) -> None:
    """The same fault has the same effect, whoever asks for it."""
    answers = []
    for over_http in (True, False):
        fake = FakeDescope(seed=1, clock=Clock())
        async with asking_directly(fake) as client:
            if over_http:
                await client.post("/stand-in/fail-next", fault, None)
            else:
                await client.get("/health")  # which takes as much from the seed
                fake.fail_next(Fault(**fault))
            answers.append(await client.finish(fake.sign_in()))
    assert answers[0].status == answers[1].status == status
    assert answers[0].headers == answers[1].headers
    assert answers[0].body == answers[1].body
    assert headers is None or answers[0].headers == headers


async def test_faults_that_wait_are_limited() -> None:
    """A program that runs wild does not fill the memory of a stand-in."""
    fake = FakeDescope()
    fake.fail_next(*[Fault(status=500)] * 1000)
    async with asking_directly(fake) as client:
        assert (await client.post("/stand-in/fail-next", {"status": 500}, None)).status == 409
        await client.finish(fake.sign_in())
        assert (await client.post("/stand-in/fail-next", {"status": 500}, None)).status == 200


@both_ways
async def test_another_process_forgets_faults_and_calls(asking: Asking) -> None:
    """Between two tests of a program in another language; users and sessions stay."""
    fake = FakeDescope()
    fake.fail_when(lambda request: request.url.path == KEYS, Fault(status=500))
    fake.fail_next(Fault(status=500))
    async with asking(fake) as client:
        await client.post(START, {"provider": "google"})
        assert (await client.get(KEYS)).status == 500
        assert (await client.post("/stand-in/reset", {}, None)).json == {}
        assert [call.path for call in fake.calls] == ["/stand-in/reset"]
        assert fake.starts == []
        assert (await client.get(KEYS)).status == 200
        assert (await client.finish(fake.sign_in())).status == 200


async def test_half_an_answer_has_its_head() -> None:
    """Status, headers, the length of the whole; and the half of it, to the byte."""
    fake = FakeDescope()
    fake.fail_next(Fault(drop="halfway", status=203, headers={"X-A": "1"}, body=b"12345"))
    async with (
        fake.serve() as url,
        aiohttp.ClientSession() as session,
        session.post(url + FINISH, json={}) as answer,
    ):
        assert (answer.status, answer.headers["X-A"], answer.headers["Content-Length"]) == (203, "1", "5")
        assert await answer.content.readany() == b"12"
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.readany()


async def test_whoever_hands_requests_over_by_hand_is_told_of_a_drop() -> None:
    """As an error of the connection."""
    fake = FakeDescope()
    fake.fail_next(Fault(drop="before"))
    async with asking_directly(fake) as client:
        with pytest.raises(ConnectionResetError, match="the stand-in dropped the connection"):
            await client.post(FINISH, {})


def test_a_fault_takes_keywords_only() -> None:
    """One that grows breaks nobody."""
    with pytest.raises(TypeError):
        Fault(1.0)  # type: ignore[call-arg]  # what is tested
