"""What the applications share: settings as people give them, and errors that name the variable."""

import traceback
from typing import Any

import pytest
from kit.support import PROJECT
from native_sign_in import VARIABLES, from_environment

from descope_native import InMemoryTransport, NativeOAuthFinisher
from descope_native.testing import FakeDescope

NOWHERE = InMemoryTransport(FakeDescope())


def given(*, transport: object, **settings: Any) -> dict[str, Any]:
    assert transport is NOWHERE
    return settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of whoever runs the tests, but a project."""
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DESCOPE_PROJECT_ID", PROJECT)


@pytest.mark.parametrize("empty", [False, True], ids=["absent", "empty"])
def test_only_what_is_given_is_set(monkeypatch: pytest.MonkeyPatch, empty: bool) -> None:
    """All else keeps the library's default."""
    for variable in set(VARIABLES.values()) - {"DESCOPE_PROJECT_ID"} if empty else ():
        monkeypatch.setenv(variable, "")
    assert from_environment(given, NOWHERE) == {"project_id": PROJECT}


@pytest.mark.parametrize(
    ("variable", "text", "setting"),
    [
        ("DESCOPE_BASE_URI", "https://auth.example.com", {"base_url": "https://auth.example.com"}),
        ("DESCOPE_AUTH_MANAGEMENT_KEY", "K2key", {"auth_management_key": "K2key"}),
        ("SIGN_IN_TIMEOUT", "2.5", {"timeout": 2.5}),
        ("DESCOPE_ALLOW_HTTP", "1", {"allow_http": True}),
        ("DESCOPE_ALLOW_HTTP", "True", {"allow_http": True}),
        ("DESCOPE_ALLOW_HTTP", "no", {"allow_http": False}),
    ],
)
def test_each_variable_is_a_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, setting: dict[str, Any]
) -> None:
    """By the names of Descope's own SDKs where they have one."""
    monkeypatch.setenv(variable, text)
    assert from_environment(given, NOWHERE) == {"project_id": PROJECT, **setting}


WRONG = [
    ("DESCOPE_PROJECT_ID", "P2 with spaces", "DESCOPE_PROJECT_ID must be"),
    ("DESCOPE_BASE_URI", "api.descope.com", "DESCOPE_BASE_URI must be"),
    ("DESCOPE_BASE_URI", "https://[", "DESCOPE_BASE_URI "),
    ("DESCOPE_BASE_URI", "http://fake:8787", "DESCOPE_BASE_URI must be https.*DESCOPE_ALLOW_HTTP"),
    ("DESCOPE_AUTH_MANAGEMENT_KEY", "K2 canary", "DESCOPE_AUTH_MANAGEMENT_KEY must be"),
    ("SIGN_IN_TIMEOUT", "soon", "SIGN_IN_TIMEOUT must be"),
    ("SIGN_IN_TIMEOUT", "0", "SIGN_IN_TIMEOUT must be"),
    ("SIGN_IN_TIMEOUT", "nan", "SIGN_IN_TIMEOUT must be"),
    ("DESCOPE_ALLOW_HTTP", "perhaps", "DESCOPE_ALLOW_HTTP must be"),
]


@pytest.mark.parametrize(("variable", "text", "problem"), WRONG)
def test_a_wrong_setting_is_named_as_it_was_given(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, problem: str
) -> None:
    """By its variable, since nobody who runs a server wrote the argument; and its value is not quoted."""
    monkeypatch.setenv(variable, text)
    with pytest.raises(ValueError, match=problem) as refusal:
        from_environment(NativeOAuthFinisher, NOWHERE)
    assert refusal.value.__context__ is None
    below = refusal.value.with_traceback(refusal.tb.tb_next)
    shown = "".join(traceback.TracebackException.from_exception(below, capture_locals=True).format())
    assert "from_environment" in shown
    assert "canary" not in shown


async def test_a_stand_in_in_another_container_is_reached_by_plain_http(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once the switch is set, and only then."""
    monkeypatch.setenv("DESCOPE_BASE_URI", "http://fake:8787")
    monkeypatch.setenv("DESCOPE_ALLOW_HTTP", "1")
    fake = FakeDescope(project_id=PROJECT)
    finisher = from_environment(NativeOAuthFinisher, InMemoryTransport(fake))
    assert repr(finisher) == "<NativeOAuthFinisher http://fake:8787>"
    assert (await finisher.finish(**fake.sign_in("google").as_arguments())).session_jwt
