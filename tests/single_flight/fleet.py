"""A fleet of worker processes, a service and a store, random faults, and a judgement by what was received.

`python tests/single_flight/fleet.py --submits 200000 --seed 1` runs it by hand.
"""

import argparse
import asyncio
import base64
import json
import random
import secrets
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

import attrs

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from kit.servers import Connection, answer, serve
from kit.support import Received
from store_servers import StoreServer, dump

from descope_native import errors

WORKER: Final = Path(__file__).with_name("fleet_worker.py")
WORKERS: Final = 3
AT_ONCE: Final = 400  # proofs that are under way at the same time
AMPLE: Final = 6.0  # seconds: more than anything takes but what hangs
LATEST: Final = 100  # turns of a free loop, 5 ms each, that a call may take to end after its deadline

DOCUMENTED: Final = frozenset(errors.__all__)
OUTCOMES: Final = frozenset({"not_sent", "rejected", "unknown"})


@attrs.define
class Proof:
    """One sign-in, however often it is submitted."""

    code: str
    fault: str
    received: int = 0
    is_spent: bool = False
    began: int = 0
    ends: list[dict[str, Any]] = attrs.field(factory=list)


@attrs.define
class Figures:
    """What a run has seen."""

    seed: int
    submits: int = 0
    proofs: int = 0
    received: int = 0
    kills: int = 0
    outages: int = 0
    seconds: float = 0.0
    ends: Counter[str] = attrs.field(factory=Counter)
    hows: Counter[str] = attrs.field(factory=Counter)
    violations: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        ends = "\n".join(f"  {count:8} {end}" for end, count in self.ends.most_common())
        hows = ", ".join(f"{count} {how}" for how, count in self.hows.most_common())
        return (
            f"seed {self.seed}: {self.submits} submits of {self.proofs} proofs in {self.seconds:.0f} s, "
            f"{self.received} received, {self.kills} workers killed, {self.outages} outages of the store, "
            f"{len(self.violations)} violations\n  {hows}\n{ends}\n" + "\n".join(self.violations[:20])
        )


class Worker:
    """A process that may be killed at any time, and is then replaced."""

    def __init__(self, fleet: "Fleet") -> None:
        self._fleet = fleet
        self._waiting: dict[int, asyncio.Future[dict[str, Any] | None]] = {}
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def is_alive(self) -> bool:
        return self._process is not None

    async def start(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(WORKER), json.dumps(self._fleet.options)), stdin=PIPE, stdout=PIPE
        )
        assert process.stdout is not None
        assert b"ready" in await process.stdout.readline()
        self._process = process
        self._reader = asyncio.create_task(self._read(process))

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            with suppress(ValueError):  # the last line of one that was killed may be cut
                end = json.loads(line)
                if "hows" in end:
                    self._fleet.figures.hows.update(end["hows"])
                elif waiter := self._waiting.pop(end["id"], None):
                    waiter.set_result(end)
        for waiter in self._waiting.values():
            waiter.set_result(None)
        self._waiting.clear()

    async def submit(self, order: dict[str, Any]) -> dict[str, Any] | None:
        """How it ended, or None if the worker died."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        waiter: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        self._waiting[order["id"]] = waiter
        process.stdin.write(json.dumps(order).encode() + b"\n")
        return await waiter

    async def replace(self) -> None:
        """Kill it, and start another."""
        process, self._process = self._process, None
        assert process is not None
        assert self._reader is not None
        process.kill()
        await process.wait()
        await self._reader
        await self.start()

    async def stop(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._reader is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reader


@attrs.define
class Fleet:
    """One run, all of whose decisions are drawn from one seed."""

    figures: Figures
    rng: random.Random
    options: dict[str, Any]
    store: StoreServer
    salt: str = attrs.field(factory=lambda: secrets.token_hex(8))
    proofs: dict[str, Proof] = attrs.field(factory=dict)
    trouble: int = 0  # how often a worker or the store was taken away or came back
    number: int = 0
    over: asyncio.Event = attrs.field(factory=asyncio.Event)

    @property
    def may_send_again(self) -> bool:
        """Whether a proof may go out unguarded: where a store that is away or slow is no reason to refuse."""
        return bool(self.options["when"] == "send" and self.options["store_timeout"] < AMPLE)

    def violate(self, what: str) -> None:
        self.figures.violations.append(what)

    # --- what the service does

    async def serve(self, connection: Connection) -> None:
        while request := await connection.request():
            self.figures.received += 1
            proof = self.proofs[json.loads(Received.read_from(request).body)["code"]]
            if proof.is_spent and not self.may_send_again:
                self.violate(f"a spent code was sent again ({proof.fault})")
            if proof.is_spent and self.may_send_again:
                connection.send(answer(401, {"errorMessage": "spent"}))
                continue
            proof.received += 1
            fault = proof.fault if proof.received == 1 or proof.fault != "429" else "session"
            proof.is_spent = fault != "429"
            if self.rng.random() < 0.3:
                await asyncio.sleep(self.rng.random() * 0.05)
            if fault == "never":
                await asyncio.sleep(AMPLE)
            if fault in {"cut", "never"}:
                return connection.finish()
            if fault == "slow":
                await asyncio.sleep(0.2 + self.rng.random() * 0.4)
            connection.send(self.answer_to(proof, fault))
        return None

    def answer_to(self, proof: Proof, fault: str) -> bytes:
        if fault in {"session", "slow"}:
            return answer(200, {"sessionJwt": self.token(proof), "user": {"name": f"Ada {self.salt}"}})
        return answer(int(fault), {"errorMessage": f"no {self.salt}"})

    def token(self, proof: Proof) -> str:
        return f"token.{proof.code}"

    # --- what the callers do

    def draw_proof(self) -> Proof:
        self.number += 1
        faults = ["session", "slow", "401", "503", "429", "cut", "never"]
        (fault,) = self.rng.choices(faults, [60, 12, 8, 6, 6, 5, 3])
        proof = Proof(f"code-{self.number}-{self.salt}", fault)
        self.proofs[proof.code] = proof
        return proof

    async def sign_in(self, workers: list[Worker], submits: int) -> None:
        """Submit one proof several times, at once or one after another, wherever it happens to arrive."""
        proof, rng = self.draw_proof(), self.rng
        proof.began = self.trouble
        has_time = rng.random() < 0.5
        running: set[asyncio.Task[None]] = set()
        for _ in range(submits):
            timeout = AMPLE if has_time and proof.fault != "never" else 0.02 + rng.random() * 2
            cancel_after = rng.random() * 0.1 if rng.random() < 0.2 else None
            self.figures.submits += 1
            task = asyncio.create_task(self.submit(proof, workers, timeout, cancel_after))
            running.add(task)
            if rng.random() < 0.4:
                await asyncio.wait(running)
            elif rng.random() < 0.5:
                await asyncio.sleep(rng.random() * 0.05)
        await asyncio.wait(running)
        self.judge(proof, has_time=has_time)
        for task in running:
            await task

    async def submit(
        self, proof: Proof, workers: list[Worker], timeout: float, cancel_after: float | None
    ) -> None:
        self.number += 1
        order = {
            "id": self.number,
            "state": f"state-{self.salt}",
            "code": proof.code,
            "user": json.dumps({"name": {"firstName": f"Ada {self.salt}"}}),
            "timeout": timeout,
            "cancel_after": cancel_after,
        }
        async with asyncio.timeout(timeout + 60):
            end = await self.rng.choice([each for each in workers if each.is_alive]).submit(order)
        if end is None:
            self.figures.ends["the worker died"] += 1
            return
        proof.ends.append({**end, "cancelled": cancel_after is not None})
        self.figures.ends[(end["error"] and f"{end['error']} {end['outcome'] or ''}") or "session"] += 1
        if end["late"] > LATEST:
            self.violate(f"a call with {timeout:.2f} s was {end['late']} turns of its loop late: {end}")

    # --- what is promised

    def judge(self, proof: Proof, *, has_time: bool) -> None:
        is_calm = has_time and proof.began == self.trouble and proof.fault in {"session", "slow"}
        for end in proof.ends:
            if end["session"] is not None:
                if end["session"] != self.token(proof):
                    self.violate("a session of somebody else")
                if proof.fault in {"401", "503", "cut", "never"}:
                    self.violate("a session that nobody gave")
                continue
            if end["error"] == "CancelledError":
                if not end["cancelled"]:
                    self.violate("a cancellation that nobody asked for")
            elif end["error"] not in DOCUMENTED or end["outcome"] not in OUTCOMES:
                self.violate(f"an error that is not documented: {end}")
            elif is_calm and not self.may_send_again and end["outcome"] != "not_sent":
                self.violate(f"a session that was given did not reach a caller: {end['text']}")
        outcomes = {end["outcome"] for end in proof.ends}
        if proof.is_spent and proof.began == self.trouble and outcomes == {"not_sent"}:
            self.violate("said not sent, and the service has it")

    async def look_into_store(self) -> None:
        """Whoever has a copy of it, in memory or on disk, has nothing."""
        async with self.store.client() as client:
            held = await dump(client)
        held += b"".join(path.read_bytes() for path in self.store.files())
        for spelling in _spellings(self.salt.encode()):
            if spelling in held:
                self.violate("a secret is in the store")

    # --- what goes wrong

    async def lasts(self, seconds: float) -> bool:
        """Wait, and say whether the run still goes on."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)
        return not self.over.is_set()

    async def kill_workers(self, workers: list[Worker]) -> None:
        while await self.lasts(1 + self.rng.random() * 3):
            self.trouble += 1
            self.figures.kills += 1
            await self.rng.choice(workers).replace()
            self.trouble += 1

    async def stop_store(self) -> None:
        while await self.lasts(1 + self.rng.random() * 4):
            self.trouble += 1
            self.figures.outages += 1
            if self.rng.random() < 0.5:
                self.store.signal(signal.SIGSTOP)
                await asyncio.sleep(self.rng.random() * 1.5)
                self.store.signal(signal.SIGCONT)
            else:
                self.store.kill()
                await asyncio.sleep(self.rng.random() * 0.5)
                await self.store.start()
            await self.lasts(1)  # what was asked meanwhile
            self.trouble += 1


def _spellings(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield secret.hex().encode()
    for offset in range(3):
        yield base64.b64encode(b"x" * offset + secret)[4:-4]


async def run(
    submits: int,
    seed: int,
    *,
    store: str,
    when_store_fails: str = "refuse",
    store_timeout: float = 2,
    has_outages: bool = True,
    without: str = "",
) -> Figures:
    """Submit so often, and say what was seen. With `without` the workers lack that guard."""
    figures, began = Figures(seed), time.monotonic()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(StoreServer(store))
        options: dict[str, Any] = {
            "store": server.socket,
            "store_timeout": store_timeout,
            "when": when_store_fails,
            "without": without,
        }
        fleet = Fleet(figures, random.Random(seed), options, server)
        service = await stack.enter_async_context(serve(fleet.serve))
        options["service"] = service.url()
        workers = [Worker(fleet) for _ in range(WORKERS)]
        await asyncio.gather(*(worker.start() for worker in workers))
        async with asyncio.TaskGroup() as trouble:
            trouble.create_task(fleet.kill_workers(workers))
            if has_outages:
                trouble.create_task(fleet.stop_store())
            await _submit_all(fleet, workers, submits)
            fleet.over.set()
        for worker in workers:
            await worker.stop()
        await fleet.look_into_store()
    figures.proofs = len(fleet.proofs)
    figures.seconds = time.monotonic() - began
    return figures


async def _submit_all(fleet: Fleet, workers: list[Worker], submits: int) -> None:
    running: set[asyncio.Task[None]] = set()
    while fleet.figures.submits < submits or running:
        while fleet.figures.submits < submits and len(running) < AT_ONCE:
            running.add(asyncio.create_task(fleet.sign_in(workers, fleet.rng.randint(1, 5))))
            await asyncio.sleep(0)
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submits", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--store", default="valkey")
    parser.add_argument("--without", default="")
    options = vars(parser.parse_args())
    figures = asyncio.run(run(options.pop("submits"), options.pop("seed"), **options))
    print(figures)
    sys.exit(bool(figures.violations))


if __name__ == "__main__":
    main()
