"""``start``: the beginning of a real sign-in."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import START, Done, here
from kit.servers import unused_port

from descope_native.testing import FakeDescope, Fault, Start


async def started(fake: FakeDescope, *more: str, **environment: str) -> Done:
    async with fake.serve() as url:
        arguments = (*START, "--project-id", fake.project_id, "--base-url", url, *more)
        return await asyncio.to_thread(here, *arguments, **environment)


async def test_start_prints_the_whole_answer_as_json() -> None:
    """What a script hands to the phone, and keeps for finish."""
    fake = FakeDescope()
    done = await started(fake, "--json")
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    assert set(answer) == {"clientId", "stateId", "nonce", "implicit"}
    assert fake.phone(answer).state_id == answer["stateId"]


async def test_start_tells_a_person_without_showing_state_and_nonce() -> None:
    """They are masked, and the option that shows them is named."""
    done = await started(FakeDescope())
    assert (done.code, done.err) == (0, "")
    assert "com.example.google" in done.out
    assert "--json" in done.out
    assert re.findall(r"(\w+) +\w{4}… \((\d+) characters\)", done.out) == [
        ("nonce", "24"),
        ("state_id", "32"),
    ]
    assert not re.search(r"\w{20,}", done.out)


@pytest.mark.parametrize(
    ("more", "implicit"), [([], None), (["--implicit"], True), (["--no-implicit"], False)], ids=str
)
async def test_whether_the_phone_gets_an_id_token_is_the_services_choice_unless_said(
    more: list[str], implicit: bool | None
) -> None:
    """The option goes out as it is given."""
    fake = FakeDescope()
    assert (await started(fake, *more)).code == 0
    assert fake.starts == [Start(provider="google", implicit=implicit)]


async def test_login_options_come_from_a_file(tmp_path: Path) -> None:
    """They are JSON, in the service's own names."""
    file = tmp_path / "options.json"
    file.write_text('{"locale": "de", "customClaims": {"name": "Zoë"}}', encoding="utf-8")
    fake = FakeDescope()
    assert (await started(fake, "--login-options-file", str(file))).code == 0
    assert fake.starts[0].login_options == {"locale": "de", "customClaims": {"name": "Zoë"}}


@pytest.mark.parametrize(
    "content", [b"[]", b"{", b"\xff", b"[" * 100_000, None], ids=lambda value: repr(value)[:9]
)
def test_login_options_that_are_none_are_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    """Exit code 2; nothing was sent."""
    file = tmp_path / "options.json"
    if content is not None:
        file.write_bytes(content)
    done = here(*START, "--login-options-file", str(file))
    assert (done.code, done.out) == (2, "")
    assert "the login options file" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("make_fault", "code", "advice"),
    [
        (lambda: Fault(status=401), 4, "mend the request or the project"),
        (lambda: Fault(status=503), 3, "a start spends nothing; try it again"),
        (lambda: Fault(status=429, headers={"Retry-After": "7"}), 3, "a start spends nothing"),
        (lambda: Fault(status=200, body=b"{}"), 5, "no sign-in has begun"),
    ],
    ids=["refused", "unknown", "limited", "no start"],
)
async def test_a_start_that_failed_says_what_to_do(
    make_fault: Callable[[], Fault], code: int, advice: str
) -> None:
    """With the exit codes of finish; but a start may be repeated where a finish may not."""
    fake = FakeDescope()
    fake.fail_when(lambda request: True, make_fault())
    done = await started(fake)
    assert (done.code, done.out) == (code, "")
    assert advice in done.err
    as_json: dict[str, Any] = json.loads((await started(fake, "--json")).out)["error"]
    assert as_json["safe_to_retry"] is (code == 3)


async def test_a_certificate_that_is_wrong_has_to_be_mended() -> None:
    """Nothing was sent, and trying again does not help."""
    fake = FakeDescope()
    async with fake.serve() as url:
        https = url.replace("http://", "https://")
        done = await asyncio.to_thread(here, *START, "--base-url", https)
    assert done.code == 3
    assert "nothing was sent, but this has to be mended" in done.err


def test_nobody_there_exits_3() -> None:
    """A refused connection: try again."""
    done = here(*START, "--base-url", f"http://localhost:{unused_port()}")
    assert done.code == 3
    assert "try it again" in done.err
