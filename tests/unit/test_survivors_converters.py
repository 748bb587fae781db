"""The converter, in the words of its errors and at the edge of what a token is."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from cattrs import ClassValidationError
from kit.support import assert_deeply_frozen
from kit.tables import DEFAULTS, TABLES

from descope_native._tokens import is_token
from descope_native.converters import make_converter
from descope_native.models import (
    AppleUser,
    Drift,
    FinishRequest,
    FinishResult,
    FrozenDict,
    IdpResponse,
    User,
    UserTenant,
)


@pytest.mark.parametrize(
    ("wanted", "value", "message"),
    [
        (FinishResult, {}, "While structuring FinishResult"),
        (User | None, 1, f"While structuring {User | None}"),
    ],
)
def test_what_does_not_fit_is_told_as_cattrs_does(wanted: Any, value: Any, message: str) -> None:
    """With the name of the class, where it has one, and the class itself."""
    with pytest.raises(ClassValidationError) as caught:
        make_converter().structure(value, wanted)
    assert caught.value.message == message
    assert caught.value.cl is wanted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("a", True),
        ("a" * 16_384, True),
        ("a" * 16_385, False),
        ("a\u00e9", False),
        ("a;", False),
    ],
    ids=range(6),
)
def test_a_token_has_from_one_to_16384_cookie_octets(text: str, expected: bool) -> None:
    """RFC 6265 §4.1.1 gives the octets; none of them is no token, and more would fit into no header."""
    assert is_token(text) is expected


def test_a_required_token_that_is_odd_is_told_once() -> None:
    """What it was; what else was odd comes after, as in the wire's order."""
    with pytest.raises(ClassValidationError) as caught:
        make_converter().structure({"firstSeen": 1, "sessionJwt": " "}, FinishResult)
    assert [str(each) for each in caught.value.exceptions] == [
        "sessionJwt: expected token, found string",
        "firstSeen: expected boolean, found integer",
    ]


@pytest.mark.parametrize("other_tokens", [{}, {"refreshJwt": "r.e.f", "trustedDeviceJwt": "t.d.j"}], ids=len)
@pytest.mark.parametrize("left_out", [{}, {"sessionJwt": None}, {"sessionJwt": ""}], ids=str)
def test_a_required_token_that_is_left_out_is_told_once(
    left_out: dict[str, str | None], other_tokens: dict[str, str]
) -> None:
    """In each of the three ways in which the wire leaves something out, whatever other tokens there are."""
    answer = left_out | other_tokens
    with pytest.raises(ClassValidationError) as caught:
        make_converter().structure(answer, FinishResult)
    assert [str(each) for each in caught.value.exceptions] == ["sessionJwt: expected token, found nothing"]


def test_a_list_of_models_is_told_of_as_one_model_is() -> None:
    """Type and place, whoever asks for a container that no answer has."""
    with pytest.raises(ClassValidationError) as caught:
        make_converter().structure([{}, {"userId": 1}], list[User])
    assert [str(each) for each in caught.value.exceptions] == ["userId: expected string, found integer"]


@pytest.mark.parametrize("text", ["\ud800", "a\udce9", "\udce9.b"], ids=ascii)
def test_half_a_surrogate_pair_is_in_no_token(text: str) -> None:
    """JSON can spell it, and aiohttp makes it of a header's odd bytes; UTF-8 has no octets for it."""
    assert is_token(text) is False


def test_a_tokens_octets_are_those_of_rfc_6265() -> None:
    """All that ASCII can print but blank, quotes, comma, semicolon and backslash (§4.1.1)."""
    octets = [0x21, *range(0x23, 0x2C), *range(0x2D, 0x3B), *range(0x3C, 0x5C), *range(0x5D, 0x7F)]
    assert [octet for octet in range(0x180) if is_token(chr(octet))] == octets


@pytest.mark.parametrize("key", ["claims", "unknown"])
@pytest.mark.parametrize("wrap", [lambda inner: {"a": inner}, lambda inner: [inner]], ids=["{}", "[]"])
def test_free_form_json_nests_a_hundred_deep(key: str, wrap: Callable[[Any], Any]) -> None:
    """The hundred and first level is too deep, be it empty; known keys and others are told alike."""

    def answer(levels: int) -> dict[str, Any]:
        nested: Any = {}
        for _ in range(levels - 2):
            nested = wrap(nested)
        return {"sessionJwt": "s.e.s", key: {"a": nested}}

    made = make_converter().structure(answer(100), FinishResult)
    assert make_converter().unstructure(made)[key] == answer(100)[key]
    with pytest.raises(ClassValidationError) as caught:
        make_converter().structure(answer(101), FinishResult)
    place = key if key == "claims" else "*"
    assert [str(each) for each in caught.value.exceptions] == [
        f"{place}: expected nesting of 100 at most, found more"
    ]


@pytest.mark.parametrize("inner", [{"b": []}, [{}], 1.5], ids=str)
def test_free_form_json_of_every_type_is_frozen_in_full(inner: Any) -> None:
    """Whatever stands beside what can be changed, in an array as in an object."""
    row = ["a", 1, True, None, inner]
    claims = {"row": row, "object": dict(zip("abcde", row, strict=True))}
    result = make_converter().structure({"sessionJwt": "s.e.s", "claims": claims}, FinishResult)
    assert_deeply_frozen(result)
    assert make_converter().unstructure(result)["claims"] == claims


@pytest.mark.parametrize("none", [None, ""], ids=ascii)
@pytest.mark.parametrize("key", ["refreshJwt", "trustedDeviceJwt"])
def test_a_token_that_may_be_left_out_is_not_missed(key: str, none: str | None) -> None:
    """Nor where something else in the answer has it looked at again."""
    with pytest.raises(ClassValidationError) as caught:
        make_converter().structure({"sessionJwt": "s.e.s", key: none, "firstSeen": 1}, FinishResult)
    assert [str(each) for each in caught.value.exceptions] == ["firstSeen: expected boolean, found integer"]


def test_a_list_of_a_result_made_by_hand_is_json_again_in_full() -> None:
    """Who writes `claims={...}` need not know that arrays are tuples here."""
    claims: Any = {"roles": [FrozenDict({"a": ("b", [FrozenDict()])})]}
    wire = make_converter().unstructure(FinishResult(session_jwt="s.e.s", claims=claims))
    assert json.loads(json.dumps(wire))["claims"] == {"roles": [{"a": ["b", [{}]]}]}


def test_keys_of_the_wire_may_be_called_as_attributes_of_ours() -> None:
    """Those that tell how a result came about are no keys of the wire, so nobody knew these either."""
    answer = {"sessionJwt": "s.e.s", "extra": {"a": 1}, "drift": [1], "user": {"extra": 2, "drift": 3}}
    result = make_converter().structure(answer, FinishResult)
    assert result.extra == {"extra": {"a": 1}, "drift": (1,)}
    assert result.drift == ()
    assert result.user is not None
    assert result.user.extra == {"extra": 2, "drift": 3}


@pytest.mark.parametrize(
    ("level", "made"),
    [
        ("", FinishResult(session_jwt="s")),
        ("user", User()),
        ("user.userTenants[0]", UserTenant()),
        ("idpResponse", IdpResponse()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_model_made_by_hand_says_none_as_an_answer_does(level: str, made: object) -> None:
    """Whoever writes one for a test gets what an answer without those keys gives."""
    table = {attribute: kind for attribute, kind in TABLES[level].values() if kind != "session"}
    found = {attribute: getattr(made, attribute) for attribute in table}
    assert found == {attribute: DEFAULTS[kind] for attribute, kind in table.items()}
    assert {attribute for attribute in table if type(found[attribute]) is bool} == {
        attribute for attribute, kind in table.items() if kind == "boolean"
    }


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (
            FinishResult(session_jwt="s"),
            (
                "cookie_domain cookie_path cookie_name session_cookie_name session_cookie_domain "
                "tenant_sso_id unsaved_sso user idp_response first_seen cookie_max_age cookie_expiration "
                "session_expiration next_refresh_seconds drift"
            ),
        ),
        (
            User(),
            (
                "user_id status verified_email verified_phone test role_names permissions user_tenants "
                "created_time"
            ),
        ),
        (UserTenant(), "tenant_id role_names permissions"),
        (IdpResponse(), ""),
        (Drift("p", "e", "f"), "path expected found"),
        (AppleUser(), ""),
        (FinishRequest(provider="p", state_id="s", code="c"), "provider"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_repr_shows_these_attributes_and_no_others(made: object, shown: str) -> None:
    """Neither a secret nor what tells about the person; whoever adds one decides on it here."""
    assert re.findall(r"(\w+)=", repr(made)) == shown.split()
