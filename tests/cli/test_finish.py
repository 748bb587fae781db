"""``finish``: a real sign-in traded for a session, and how a failure is told."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from commands import FINISH, Done, elsewhere, finishing, here, secret_of
from kit.servers import unused_port

from descope_native import ConnectionLost, NativeOAuthFinisher
from descope_native.testing import FakeDescope, Fault


async def finished(fake: FakeDescope, *more: str, provider: str = "google", **environment: str) -> Done:
    """Sign in with the stand-in and finish on the command line."""
    async with fake.serve() as url:
        proof = fake.sign_in(provider)
        arguments = finishing(url, fake, proof, *more)
        return await asyncio.to_thread(here, *arguments, stdin=f" {secret_of(proof)}\n", **environment)


def answering(**answer: Any) -> Fault:
    return Fault(status=200, body=json.dumps({"sessionJwt": "s.e.s.s.i.o.n", **answer}).encode())


@pytest.mark.parametrize("provider", ["google", "apple"])
async def test_finish_prints_the_whole_answer_as_json(provider: str) -> None:
    """It reads the proof from standard input and prints what a script needs."""
    done = await finished(FakeDescope(), "--json", provider=provider)
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    assert answer["user"]["email"] == "ada@example.com"
    assert answer["sessionJwt"].count(".") == 2


async def test_finish_tells_a_person_without_showing_tokens() -> None:
    """Each fact is a line; of tokens there are four characters and the length."""
    fake = FakeDescope()
    user = {
        "userId": "U2",
        "email": "ada@example.com",
        "name": "Ada",
        "roleNames": ["r1", "r2"],
        "userTenants": [{"tenantName": "One"}, {"tenantName": "Two"}],
    }
    more = {"firstSeen": False, "refreshJwt": "r.e.f.r.e.s.h", "sessionExpiration": 1}
    fake.fail_next(answering(user=user, **more, claims=1, cookieMaxAge="1"))
    done = await finished(fake)
    assert (done.code, done.err) == (0, "")
    assert dict(re.findall(r"^ +(\S+) +(.*)$", done.out, re.MULTILINE)) == {
        "user.user_id": "U2",
        "user.email": "ada@example.com",
        "user.name": "Ada",
        "user.role_names": "r1, r2",
        "user.user_tenants": "One, Two",
        "first_seen": "False",
        "session_jwt": "s.e.… (13 characters)",
        "refresh_jwt": "r.e.… (13 characters)",
        "session_expires_at": "1970-01-01 00:00:01+00:00",
        "drift": "claims: expected object, found integer; cookieMaxAge: expected integer, found string",
    }


async def test_what_is_not_there_is_no_line() -> None:
    """An answer with a session token and nothing else is one fact."""
    fake = FakeDescope()
    fake.fail_next(answering())
    assert re.findall(r"^ +(\S+)", (await finished(fake)).out, re.MULTILINE) == ["session_jwt"]


HOSTILE: Final = "\ud800\x1b]0;pwn\x07\n\x9b31m"
REPLACED: Final = "��]0;pwn���31m"


async def test_what_the_service_says_does_not_steer_the_terminal() -> None:
    """Control characters and half a surrogate pair are shown as replaced, and the rest is told."""
    fake = FakeDescope()
    fake.fail_next(answering(user={"name": f"Zoë{HOSTILE}", "roleNames": ["\x1b[2J"]}))
    done = await finished(fake)
    assert (done.code, done.err) == (0, "")
    assert f"Zoë{REPLACED}\n" in done.out
    assert [char for char in done.out if not char.isprintable() and char != "\n"] == []


def test_an_error_does_not_steer_the_terminal_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever made it: a transport of somebody's own may put anything into its texts."""

    async def fail(*_: object, **__: object) -> None:
        raise ConnectionLost("wait", HOSTILE)

    monkeypatch.setattr(NativeOAuthFinisher, "finish", fail)
    done = here(*FINISH, stdin=b"c")
    assert f"ConnectionLost: {REPLACED} [" in done.err
    assert "\x1b" not in done.err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
async def test_a_name_that_the_terminal_cannot_write_is_no_error(encoding: str) -> None:
    """The code is spent by then; and the facts behind it are to be seen as well."""
    fake = FakeDescope()
    async with fake.serve() as url:
        proof = fake.sign_in(name="Жанна")
        arguments = finishing(url, fake, proof)
        done = await asyncio.to_thread(
            elsewhere, *arguments, stdin=secret_of(proof), PYTHONIOENCODING=encoding
        )
    assert (done.code, done.err) == (0, "")
    assert r"\u0416\u0430\u043d\u043d\u0430" in done.out
    assert "session_jwt" in done.out


FAILURES: Final[list[tuple[Fault, int, str, str]]] = [
    (Fault(status=401), 4, "rejected", "take the code as spent and let the person sign in again"),
    (Fault(status=429, headers={"Retry-After": "7"}), 3, "rejected", "the same code is still good; try it"),
    (Fault(status=503), 5, "unknown", "do not send it again"),
    (Fault(drop="after"), 5, "unknown", "do not send it again"),
]


@pytest.mark.parametrize(("fault", "code", "outcome", "advice"), FAILURES, ids=["4xx", "429", "5xx", "lost"])
async def test_a_failure_says_what_to_do_about_it(fault: Fault, code: int, outcome: str, advice: str) -> None:
    """On standard error in words; with --json on standard output, since a script asked for it."""
    fake = FakeDescope()
    fake.fail_next(fault, fault)
    told = await finished(fake)
    assert (told.code, told.out) == (code, "")
    assert advice in told.err
    done = await finished(fake, "--json")
    assert (done.code, done.err) == (code, "")
    error = json.loads(done.out)["error"]
    assert error["outcome"] == outcome
    assert error["safe_to_retry"] is (code == 3)
    assert error["message"]
    assert error["type"] in told.err
    if fault.status:
        assert error["status"] == fault.status
    assert error.get("retry_after") == (7 if fault.status == 429 else None)


async def test_a_spent_code_is_refused() -> None:
    """The second finish: exit code 4, and the service's code for it."""
    fake = FakeDescope()
    async with fake.serve() as url:
        proof = fake.sign_in()
        arguments = finishing(url, fake, proof)
        first = await asyncio.to_thread(here, *arguments, stdin=secret_of(proof))
        again = await asyncio.to_thread(here, *arguments, stdin=secret_of(proof))
    assert (first.code, again.code, again.out) == (0, 4, "")
    assert "RejectedError" in again.err
    assert "E061301" in again.err


def test_nobody_there_exits_3() -> None:
    """Nothing was sent, and JSON says how far it came and what kept it."""
    arguments = (*FINISH, "--base-url", f"http://localhost:{unused_port()}")
    assert "still good" in here(*arguments, stdin=b"c").err
    done = here(*arguments, "--json", stdin=b"c")
    error = json.loads(done.out)["error"]
    assert (done.code, error["phase"], error["reason"], error["outcome"]) == (
        3,
        "connect",
        "refused",
        "not_sent",
    )


async def test_what_has_to_be_mended_is_not_to_be_tried_again() -> None:
    """A certificate, say, that is another's tomorrow as well: the code is good, and that does not help."""
    async with FakeDescope().serve() as url:
        https = url.replace("http://", "https://")
        done = await asyncio.to_thread(here, *FINISH, "--base-url", https, stdin=b"c")
    assert done.code == 3
    assert "TLSError" in done.err
    assert "has to be mended" in done.err


async def test_apples_name_comes_from_a_file(tmp_path: Path) -> None:
    """--user-file hands Apple's JSON on; it is UTF-8, whatever the locale says."""
    fake = FakeDescope()
    async with fake.serve() as url:
        proof = fake.sign_in("apple", name="Zoë Lovelace")
        name = tmp_path / "user.json"
        name.write_text(str(proof.user), encoding="utf-8")
        arguments = finishing(url, fake, proof, "--user-file", str(name), "--json")
        done = await asyncio.to_thread(
            elsewhere, *arguments, stdin=secret_of(proof), PYTHONWARNDEFAULTENCODING="1"
        )
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["user"]["givenName"] == "Zoë"


async def test_the_environment_names_project_host_and_key() -> None:
    """An option comes first, and what is empty is as good as unset."""
    fake = FakeDescope(auth_management_key="K2secret")
    async with fake.serve() as url:
        proof = fake.sign_in()
        arguments = finishing("", fake, proof)[:7]
        environment = {"DESCOPE_PROJECT_ID": fake.project_id, "DESCOPE_BASE_URI": url}
        key = {"DESCOPE_AUTH_MANAGEMENT_KEY": "K2secret"}
        stdin = secret_of(proof)
        refused = [
            await asyncio.to_thread(here, *arguments, *more, stdin=stdin, **environment, **keys)
            for more, keys in (
                ([], {"DESCOPE_AUTH_MANAGEMENT_KEY": ""}),
                (["--project-id", "P2other"], key),
                (["--base-url", f"{url}/elsewhere"], key),
            )
        ]
        done = await asyncio.to_thread(here, *arguments, stdin=stdin, **environment, **key)
    assert [each.code for each in refused] == [4, 4, 4]
    assert (done.code, done.err) == (0, "")


def test_what_a_call_needs_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is fifteen seconds unless given, and plain http has to be asked for."""
    opened: list[dict[str, object]] = []

    def made(_: NativeOAuthFinisher, project_id: str, transport: object, **options: object) -> None:
        opened.append({"project_id": project_id, **options})
        raise ConnectionLost("wait", "enough seen")

    monkeypatch.setattr(NativeOAuthFinisher, "__init__", made)
    here(*FINISH, stdin=b"c", DESCOPE_BASE_URI="")
    here(*FINISH, "--timeout", "7", "--allow-http", "--base-url", "http://a", stdin=b"c")
    usual: dict[str, object] = {"project_id": "P2", "auth_management_key": None}
    assert opened == [
        usual | {"base_url": None, "allow_http": False, "timeout": 15.0},
        usual | {"base_url": "http://a", "allow_http": True, "timeout": 7.0},
    ]
