"""What a store gets to see, and what is left in logs and memory."""

import base64
import hashlib
import itertools
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
from store_servers import PROGRAMS, StoreServer, dump
from test_among_workers import Spying, workers
from workers import Service

from descope_native import HttpRequest, HttpResponse, RejectedError, SingleFlight
from descope_native.single_flight import MemoryStore, RedisStore

CANARIES = {
    "state_id": "canary-of-the-state-5f2e",
    "code": "canary-of-the-code-91ab",
    "session": "canary-of-the-session-77c1",
    "refresh": "canary-of-the-refresh-0d3e",
    "name": "Canary Lovelace",
    "message": "canary of what the service said",
    "provider": "canary-provider",
}


def spellings(secret: str) -> Iterator[bytes]:
    """In the ways in which it might be written, hashes that anybody can make included."""
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    for offset in range(3):  # base64 of it as a part of something longer
        yield base64.b64encode(b"x" * offset + raw)[4:-4]
    for name in "md5", "sha1", "sha256", "sha512":
        yield hashlib.new(name, raw).hexdigest().encode()
        yield base64.b64encode(hashlib.new(name, raw).digest())


async def answer(request: HttpRequest) -> HttpResponse:
    if CANARIES["code"] not in request.body.decode():
        error = {"errorMessage": CANARIES["message"], "errorDescription": CANARIES["message"]}
        return HttpResponse(400, (), json.dumps(error).encode())
    user = {"name": CANARIES["name"], "userId": "U1"}
    session = {"sessionJwt": CANARIES["session"], "refreshJwt": CANARIES["refresh"], "user": user}
    return HttpResponse(200, (), json.dumps(session).encode())


@pytest.mark.parametrize("kind", PROGRAMS)
async def test_a_copy_of_the_store_tells_nothing(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nor do the logs: a session, a refusal and a claim, and no secret in any spelling."""
    arguments = {"provider": CANARIES["provider"], "state_id": CANARIES["state_id"]}
    caplog.set_level(logging.DEBUG)
    async with (
        StoreServer(kind) as server,
        server.client() as client,
        workers(1, Service(answering=answer), RedisStore(client)) as (one,),
    ):
        result = await one.finish(**arguments, code=CANARIES["code"])
        with pytest.raises(RejectedError, match=CANARIES["message"]):
            await one.finish(**arguments, code="another")
        held = await dump(client)
    assert result.session_jwt == CANARIES["session"]
    assert result.user
    assert result.user.name == CANARIES["name"]
    assert held.count(b":claim") == held.count(b":result") == 2
    logged = caplog.text.encode()
    for secret, spelling in itertools.product(CANARIES.values(), range(20)):
        for each in itertools.islice(spellings(secret), spelling, spelling + 1):
            assert each not in held
            assert each not in logged


async def test_the_same_result_looks_different_each_time() -> None:
    """A nonce is never used twice, so equal answers cannot be told to be equal."""
    seen = set()
    for _ in range(2):
        store = Spying()
        async with workers(1, Service(), store) as (one,):
            await one.finish()
        seen |= set(store.settled.values())
    assert len(seen) == 2


async def test_a_key_cannot_be_guessed_from_the_proofs_parts() -> None:
    """It is the same in every worker, and no plain hash of what is known."""
    store = Spying()
    async with workers(2, Service(), store) as (one, other):
        await one.finish()
        await other.finish()
        await other.finish(code="code-2")
    assert len(store.settled) == 2
    proofs = [b"code-1", b"state-1", b"state-1code-1", b"apple"]
    guesses = {hashlib.new(name, proof).digest() for name in ("sha256", "sha512") for proof in proofs}
    assert not guesses & store.settled.keys()


def test_nothing_is_loaded_that_is_not_needed() -> None:
    """Neither the extra nor single flight itself, until somebody asks; a store needs no Redis client."""
    code = (
        "import sys, descope_native\n"
        "assert 'descope_native.single_flight' not in sys.modules\n"
        "from descope_native.single_flight import MemoryStore, RedisStore\n"
        "descope_native.SingleFlight()\n"
        "assert not {'cryptography', 'redis'} & set(sys.modules)\n"
        "descope_native.SingleFlight(store=MemoryStore())\n"
        "assert 'redis' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_extra_a_store_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is made, and with the command that helps."""
    monkeypatch.setitem(sys.modules, "cryptography", None)
    SingleFlight()
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'descope_native\[redis\]'"):
        SingleFlight(store=MemoryStore())


async def test_no_traceback_holds_a_secret() -> None:
    """Collectors record the locals of every frame: none of ours has the proof, a session or a key in it."""
    store = MemoryStore()
    shown = ""
    async with workers(2, Service(answering=answer), store) as (one, other):
        for each in one, other:
            try:
                await each.finish(state_id=CANARIES["state_id"], code="refused-canary")
            except RejectedError as error:
                frame = error.__traceback__
                while frame is not None:
                    if "descope_native" in frame.tb_frame.f_code.co_filename:
                        shown += repr(frame.tb_frame.f_locals)
                    frame = frame.tb_next
    assert "FinishRequest" in shown
    assert CANARIES["state_id"] not in shown
    assert "refused-canary" not in shown
