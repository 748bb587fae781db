"""What grows with an answer or with time, and what must not."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.answer import TENANT, answer, as_body
from benchmarks.decode import our_decode
from benchmarks.finish import ours
from benchmarks.measure import Ratio, Settings, cpu_per_call, interleaved, main, ratio
from benchmarks.server import running

FEW: Final = "100 tenants and roles"
MANY: Final = "1,000 tenants and roles"
MIB: Final = 1024 * 1024


def growth(settings: Settings) -> list[Ratio]:
    return [*growing_answers(settings), *large_answers(settings), *many_calls(settings)]


def growing_answers(settings: Settings) -> list[Ratio]:
    few, many = with_tenants(100), with_tenants(1000)
    candidates = {
        FEW: cpu_per_call(partial(our_decode, few), settings.times(50)),
        MANY: cpu_per_call(partial(our_decode, many), settings.times(50)),
    }
    costs = interleaved("growth", candidates, settings.rounds(30))
    return [ratio("growth", f"decoding {MANY} ÷ {FEW}", costs, (MANY, FEW), 10.5)]


def large_answers(settings: Settings) -> list[Ratio]:
    """How long the event loop stands still while 1 MiB is decoded, by what the mebibyte is made of."""
    ratios = []
    for what, grow in LARGE.items():
        body = nearly_a_mebibyte(grow)
        assert our_decode(body).session_jwt
        candidates = {
            "ours": cpu_per_call(partial(our_decode, body), 1),
            "json.loads": cpu_per_call(partial(json.loads, body), 1),
        }
        costs = interleaved(f"1 MiB of {what}", candidates, settings.rounds(15))
        name = f"1 MiB of {what}: stall ÷ json.loads of it"
        ratios += [ratio("growth", name, costs, ("ours", "json.loads"), unit="ms")]
    return ratios


def with_tenants(number: int) -> bytes:
    grown = answer()
    grown["user"]["roleNames"] = [f"Role {index}" for index in range(number)]
    grown["user"]["userTenants"] = [
        {**TENANT, "tenantId": f"T2{index}", "roleNames": ["Admin", "Billing"]} for index in range(number)
    ]
    return as_body(grown)


def with_attributes(value: Callable[[int], Any]) -> Callable[[int], bytes]:
    def grow(number: int) -> bytes:
        grown = answer()
        grown["user"]["customAttributes"] = {f"attribute{index}": value(index) for index in range(number)}
        return as_body(grown)

    return grow


def with_raw_response(number: int) -> bytes:
    grown = answer()
    grown["idpResponse"]["samlResponse"] = "<saml:Attribute/>" * number
    return as_body(grown)


LARGE: Final = {
    "tenants": with_tenants,
    "an identity provider's raw response": with_raw_response,
    "attributes that are strings": with_attributes("value {}".format),
    "attributes that are lists of numbers": with_attributes(lambda index: [index] * 50),
    "attributes that are small objects": with_attributes(lambda index: {"id": index, "on": True, "at": None}),
    "attributes that are empty lists": with_attributes(lambda _: [[]] * 50),
}


def nearly_a_mebibyte(grow: Callable[[int], bytes]) -> bytes:
    """About as much of it as the transport lets in."""
    number = 1000 * MIB // len(grow(1000))
    while len(body := grow(number)) > MIB:
        number -= number // 20
    return body


# --- many calls


def many_calls(settings: Settings) -> list[Ratio]:
    """Resident memory of a process of its own, which does nothing but call."""
    first, all_of_them = (30, 300) if settings.quick else (1_000, 100_000)
    with running(as_body(answer())) as base:
        command = [sys.executable, "-m", "benchmarks.growth", base, str(first), str(all_of_them)]
        print(f"{all_of_them:,} calls, one after the other", file=sys.stderr, flush=True)
        early, late = map(float, subprocess.run(command, check=True, capture_output=True).stdout.split())
    costs = {"late": [late], "early": [early]}
    name = f"memory after {all_of_them:,} calls ÷ after {first:,}"
    return [ratio("growth", name, costs, ("late", "early"), 1.01, unit="MiB")]


async def call_on_and_on(base: str, first: int, all_of_them: int) -> None:
    async with ours(base) as call:
        for _ in range(first):
            await call()
        early = resident()
        for _ in range(all_of_them - first):
            await call()
        print(early, resident())


def resident() -> int:
    """Bytes of this process that are in memory (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1].startswith("http"):
        asyncio.run(call_on_and_on(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    else:
        main(growth)
