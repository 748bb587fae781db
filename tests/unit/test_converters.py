"""The converter by itself: the wire's JSON in, the models out, and the way back."""

import gc
import inspect
import json
import math
import sys
import traceback
from collections.abc import Callable, Mapping
from types import GenericAlias
from typing import Any, cast

import attrs
import pytest
from cattrs import ClassValidationError, Converter
from kit.support import DOCUMENTED_ANSWER
from kit.tables import FIELDS, MISFITS, answer_with, full_answer

from descope_native import (
    AppleUser,
    FinishRequest,
    FinishResult,
    FrozenDict,
    IdpResponse,
    User,
    UserTenant,
    converters,
)
from descope_native.converters import make_converter, replace_half_pairs, structure_answer
from descope_native.models import Drift, Json

converter = make_converter()


@pytest.mark.parametrize("answer", [full_answer(), json.loads(DOCUMENTED_ANSWER)], ids=["full", "documented"])
def test_json_survives_the_way_there_and_back(answer: dict[str, Any]) -> None:
    """Whatever the wire had is there again, under the same keys and of the same types, as plain JSON."""
    wire = converter.unstructure(converter.structure(answer, FinishResult))
    assert json.loads(json.dumps(wire)) == wire
    assert_contains(wire, answer)


def assert_contains(wire: Any, answer: Any) -> None:
    assert type(wire) is type(answer)
    if isinstance(answer, dict):
        for key, value in answer.items():
            assert_contains(wire[key], value)
    elif isinstance(answer, list):
        assert len(wire) == len(answer)
        for mine, its in zip(wire, answer, strict=True):
            assert_contains(mine, its)
    else:
        assert wire == answer


def test_a_full_answer_comes_back_as_it_was_and_no_more() -> None:
    """With every key set there is nothing to add."""
    assert converter.unstructure(converter.structure(full_answer(), FinishResult)) == full_answer()


def test_what_is_unset_is_left_out() -> None:
    """None is absent, not null; drift and extra are no keys of the wire."""
    wire = converter.unstructure(FinishResult(session_jwt="s", user=User(email="ada@example.com")))
    assert wire.keys() == {"sessionJwt", "user", "claims", "unsavedSSO"}
    assert "phone" not in wire["user"]
    assert wire["user"]["email"] == "ada@example.com"
    assert {"extra", "drift"}.isdisjoint(wire.keys() | wire["user"].keys())
    assert None not in wire.values()
    assert None not in wire["user"].values()


def test_each_model_converts_by_itself() -> None:
    """Not only within a result: a user that was stored as JSON comes back as a user."""
    user = User(user_id="U1", user_tenants=(UserTenant(tenant_id="T1"),), oauth=FrozenDict({"google": True}))
    assert converter.structure(converter.unstructure(user), User) == user
    tenant = UserTenant(tenant_id="T1", role_names=("admin",))
    assert converter.structure(converter.unstructure(tenant), UserTenant) == tenant
    response = IdpResponse(idp_saml_attributes=FrozenDict({"a": (1, FrozenDict())}))
    assert converter.structure(converter.unstructure(response), IdpResponse) == response
    assert converter.structure([{}, {"tenantId": "T"}], tuple[UserTenant, ...]) == (
        UserTenant(),
        UserTenant(tenant_id="T"),
    )


def test_a_result_made_by_hand_of_plain_dicts_unstructures_too() -> None:
    """A test that writes `claims={...}` gets the same JSON, and the frozen form back."""
    made = FinishResult(session_jwt="s", claims={"roles": ("a", FrozenDict({"b": 1}))}, extra={"new": (1,)})
    wire = converter.unstructure(made)
    assert wire["claims"] == {"roles": ["a", {"b": 1}]}
    assert wire["new"] == [1]
    assert converter.structure(wire, FinishResult) == made


def test_keys_of_the_wire_may_be_called_as_attributes_of_ours() -> None:
    """Those that tell how a result came about are no keys of the wire, so nobody knew these either."""
    answer = {"sessionJwt": "s.e.s", "extra": {"a": 1}, "drift": [1], "user": {"extra": 2, "drift": 3}}
    result = converter.structure(answer, FinishResult)
    assert result.extra == {"extra": {"a": 1}, "drift": (1,)}
    assert result.drift == ()
    assert result.user is not None
    assert result.user.extra == {"extra": 2, "drift": 3}


SESSION_IS_MISSING = "sessionJwt: expected token, found nothing"
FIRST_SEEN = "firstSeen: expected boolean, found integer"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({}, [SESSION_IS_MISSING]),
        ({"sessionJwt": None}, [SESSION_IS_MISSING]),
        ({"sessionJwt": "", "refreshJwt": "r.e.f", "trustedDeviceJwt": "t.d.j"}, [SESSION_IS_MISSING]),
        ({"firstSeen": 1, "sessionJwt": " "}, ["sessionJwt: expected token, found string", FIRST_SEEN]),
        ({"sessionJwt": "s", "refreshJwt": None, "trustedDeviceJwt": "", "firstSeen": 1}, [FIRST_SEEN]),
    ],
    ids=range(5),
)
def test_what_is_wrong_is_told_once_and_in_the_wires_order(answer: dict[str, Any], told: list[str]) -> None:
    """A required token that is odd or left out, in each way of the wire; one that may be is not missed."""
    with pytest.raises(ClassValidationError) as caught:
        converter.structure(answer, FinishResult)
    assert [str(each) for each in caught.value.exceptions] == told


@pytest.mark.parametrize(
    ("request_", "wire"),
    [
        (
            FinishRequest(provider="google", state_id="s", id_token="t"),
            {"provider": "google", "stateId": "s", "idToken": "t"},
        ),
        (
            FinishRequest(provider="apple", state_id="s", code="c", user=AppleUser(given_name="Zoë")),
            {
                "provider": "apple",
                "stateId": "s",
                "code": "c",
                "user": '{"name": {"firstName": "Zo\\u00eb"}}',
            },
        ),
        (
            FinishRequest(provider="apple", state_id="s", code="c", user='{"name":"A"}'),
            {"provider": "apple", "stateId": "s", "code": "c", "user": '{"name":"A"}'},
        ),
    ],
)
def test_a_request_becomes_the_wires_keys(request_: FinishRequest, wire: dict[str, str]) -> None:
    """Absent is omitted, and a user is text."""
    assert converter.unstructure(request_) == wire


CANARY = "canary-value"


@pytest.mark.parametrize(
    ("level", "key", "kind"),
    [(level, key, kind) for level, key, _, kind in FIELDS if kind != "session"],
    ids=[key for _, key, _, kind in FIELDS if kind != "session"],
)
def test_structure_is_strict(level: str, key: str, kind: str) -> None:
    """Every misfit raises what cattrs raises, and names the place in full."""
    for value, where, expected, found in MISFITS[kind]:
        with pytest.raises(ClassValidationError) as caught:
            converter.structure(answer_with(level, key, value), FinishResult)
        (place,) = caught.value.exceptions
        path = f"{level}.{key}{where}".lstrip(".")
        assert str(place) == f"{path}: expected {expected}, found {found}"


@pytest.mark.parametrize(
    "answer",
    [
        {"sessionJwt": CANARY, "cookieDomain": [CANARY]},
        {"sessionJwt": f"{CANARY} with spaces"},
        {"sessionJwt": CANARY, CANARY: float("inf")},
        {"sessionJwt": CANARY, "user": {"OAuth": {CANARY: CANARY}}},
        {"sessionJwt": CANARY, "user": {"loginIds": [CANARY, [CANARY]]}},
        {"refreshJwt": CANARY},
    ],
)
def test_the_error_names_no_value(answer: dict[str, Any]) -> None:
    """Neither in its text nor in the locals of a frame of ours, its cause or its context."""
    with pytest.raises(ClassValidationError) as caught:
        converter.structure(answer, FinishResult)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    texts = [repr(error), str(error), *map(repr, error.exceptions)]
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals["__name__"].startswith("descope_native"):
            texts += map(repr, frame.f_locals.values())
    assert len(texts) > 3
    assert not [text for text in texts if CANARY in text]


@pytest.mark.parametrize("obj", [None, [], "abc", 5, True, [{"sessionJwt": "s"}]])
def test_only_an_object_is_a_result(obj: Any) -> None:
    """`[]` is not an empty result, as it is to cattrs for a class of defaults."""
    with pytest.raises(ClassValidationError) as caught:
        converter.structure(obj, FinishResult)
    assert str(caught.value.exceptions[0]).startswith("$: expected object, found ")


def test_what_is_no_json_is_let_in_nowhere() -> None:
    """A value of a type that json.loads never makes is told so without a word about it."""
    with pytest.raises(ClassValidationError) as caught:
        converter.structure({"sessionJwt": "s", "cookieDomain": b"bytes"}, FinishResult)
    assert str(caught.value.exceptions[0]) == "cookieDomain: expected string, found something else"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, bool),
        ("false", bool),
        (1, bool),
        (1, str),
        (["a"], str),
        ("abc", tuple[str, ...]),
        (True, int | None),
    ],
)
def test_nothing_is_coerced_for_bare_types_either(value: Any, wanted: Any) -> None:
    """The hooks that cattrs has for these would all have made something of it."""
    with pytest.raises(ClassValidationError):
        converter.structure(value, wanted)


def test_two_converters_do_not_share_their_hooks() -> None:
    """Who registers a hook on one of them changes nothing for anybody else."""
    mine = make_converter()
    mine.register_structure_hook(User, lambda *_: User(name="mine"))
    assert mine.structure({"name": "x"}, User) == User(name="mine")
    assert make_converter().structure({"name": "x"}, User) == User(name="x")


@attrs.frozen(kw_only=True)
class Started:
    """An answer that this release does not know: one entry makes it one."""

    state_id: str
    client_id: str | None = None
    implicit: bool | None = None
    tenant: UserTenant | None = None
    extra: Mapping[str, Json] = FrozenDict()
    drift: tuple[Drift, ...] = ()


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Converter:
    monkeypatch.setattr(converters, "ANSWERS", (FinishResult, Started))
    return make_converter()


def test_a_new_answer_needs_one_entry(newer: Converter) -> None:
    """What it is made of is found by itself, and it is read and written as the others are."""
    wire = {"stateId": "s", "clientId": "c", "implicit": False, "tenant": {"roleNames": ["r"]}, "new": [1]}
    made = structure_answer(newer, Started, wire)
    assert made == Started(
        state_id="s",
        client_id="c",
        implicit=False,
        tenant=UserTenant(role_names=("r",)),
        extra=FrozenDict({"new": (1,)}),
    )
    assert newer.unstructure(made) == {**wire, "tenant": {"roleNames": ["r"], "permissions": []}}


@pytest.mark.parametrize(
    ("state_id", "found"),
    [
        ({}, "nothing"),
        ({"stateId": None}, "nothing"),
        ({"stateId": ""}, "nothing"),
        ({"stateId": 1}, "integer"),
    ],
    ids=["absent", "null", "empty", "integer"],
)
def test_a_required_string_that_is_missing_leaves_the_drift_alone(
    newer: Converter, state_id: dict[str, object], found: str
) -> None:
    """However much else there is."""
    drift = structure_answer(newer, Started, {"clientId": "c", "new": 1, **state_id})
    assert drift == (Drift("stateId", "string", found),)


def test_what_is_odd_beside_a_required_string_is_mended(newer: Converter) -> None:
    """As in a session: the rest is kept, down to the model inside."""
    odd = {"clientId": 1, "stateId": "s", "tenant": {"tenantId": 1, "tenantName": "n", "new": 1}, "more": 2}
    assert structure_answer(newer, Started, odd) == Started(
        state_id="s",
        tenant=UserTenant(tenant_name="n", extra=FrozenDict({"new": 1})),
        extra=FrozenDict({"more": 2}),
        drift=(Drift("clientId", "string", "integer"), Drift("tenant.tenantId", "string", "integer")),
    )


@pytest.mark.parametrize(
    "type_", [float | None, int, list[str], dict[str, str], object, Mapping[str, int]], ids=str
)
@pytest.mark.parametrize(
    "wrap", [lambda inner: inner, lambda inner: GenericAlias(tuple, (inner, ...))], ids=["outer", "inner"]
)
def test_a_field_without_a_strict_hook_fails_when_the_converter_is_made(
    monkeypatch: pytest.MonkeyPatch, type_: Any, wrap: Callable[[Any], Any]
) -> None:
    """By name, before any answer can carry it: cattrs has hooks for these, which coerce."""
    scored = attrs.make_class("Scored", {"score": attrs.field(default=None, type=type_)}, frozen=True)
    outer = attrs.make_class("Outer", {"inner": attrs.field(default=(), type=wrap(scored))}, frozen=True)
    monkeypatch.setattr(converters, "ANSWERS", (scored, outer))
    with pytest.raises(TypeError, match=r"^Scored\.score has a type without a strict hook: "):
        make_converter()


def test_a_field_of_a_known_type_needs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a result that is given one more."""
    field = attrs.field(default=None, type=cast("Any", str | None))
    newer = attrs.make_class(
        "FinishResult", {"new_key": field}, bases=(FinishResult,), frozen=True, kw_only=True
    )
    monkeypatch.setattr(converters, "ANSWERS", (newer,))
    made: Any = make_converter().structure({"sessionJwt": "s", "newKey": "n"}, newer)
    assert made.new_key == "n"


@pytest.mark.parametrize(
    ("spelled", "value"),
    [
        ("0.0", 0),
        ("-0.0", 0),
        ("86400.0", 86400),
        ("1.7e9", 1_700_000_000),
        ("250E-1", 25),
        ("1e3", 1000),
        ("9007199254740991.0", 2**53 - 1),
        ("-9.007199254740991e15", -(2**53) + 1),
    ],
)
def test_an_integer_is_what_it_is_worth(spelled: str, value: int) -> None:
    """However it is spelled (RFC 8259 §6 has one kind of number)."""
    answer = json.loads(
        f'{{"sessionJwt": "s", "cookieMaxAge": {spelled}, "user": {{"createdTime": {spelled}}}}}'
    )
    made = converter.structure(answer, FinishResult)
    assert made.user is not None
    for found in (made.cookie_max_age, made.user.created_time):
        assert (type(found), found) == (int, value)


@pytest.mark.parametrize("spelled", ["9007199254740992.0", "9007199254740993.0", "9007199254740991.5", "0.5"])
def test_what_may_be_another_integer_is_none(spelled: str) -> None:
    """From 2**53 on a float may stand for its neighbour."""
    made: Any = structure_answer(
        converter, FinishResult, json.loads(f'{{"sessionJwt": "s", "cookieMaxAge": {spelled}}}')
    )
    assert made.cookie_max_age is None
    assert [each.path for each in made.drift] == ["cookieMaxAge"]


def calls(answer: dict[str, Any]) -> int:
    """How many functions are called to read it: what it costs, without a clock."""
    count = 0

    def notice(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(notice)
    try:
        structure_answer(converter, FinishResult, answer)
    finally:
        sys.setprofile(None)
    return count


TENANTS = [{"tenantId": "T", "roleNames": ["r"], "new": 1}] * 1000


@pytest.mark.parametrize(
    "odd",
    [
        {"sessionJwt": "s", "user": {"userTenants": [*TENANTS, 1]}},
        {"sessionJwt": "s", "user": {"userTenants": [*TENANTS, {"tenantId": 1}]}},
        {"sessionJwt": "s", "user": {"userTenants": TENANTS, "name": 1}},
        {"sessionJwt": "s", "user": {"userTenants": TENANTS}, "firstSeen": None},
    ],
    ids=["tenant", "tenant's id", "name", "first seen"],
)
def test_an_odd_answer_costs_at_most_three_times_a_good_one(odd: dict[str, Any]) -> None:
    """At whatever depth the oddity is."""
    assert calls(odd) <= 3 * calls({"sessionJwt": "s", "user": {"userTenants": TENANTS}})


@pytest.mark.parametrize(
    "odd", [{"name": 1}, {"customAttributes": {"x": [[[]]] * 1000 + [math.inf]}}], ids=str
)
def test_free_form_json_beside_or_around_an_oddity_is_read_twice_at_most(odd: dict[str, Any]) -> None:
    """So a large value costs no more with an oddity in it, or next to it."""
    good: dict[str, Any] = {"customAttributes": {"x": [[[]]] * 1000}}
    assert calls({"sessionJwt": "s", "user": good | odd}) <= 3 * calls({"sessionJwt": "s", "user": good})


def test_half_surrogate_pairs_are_replaced_in_one_walk() -> None:
    """However large the answer, at the cost of a call or two for each value."""
    odd: dict[str, Any] = {"sessionJwt": "s", "user": {"userTenants": [*TENANTS, {"tenantId": "\ud800"}]}}
    mended, drift = replace_half_pairs(FinishResult, odd)
    assert drift == [Drift("user.userTenants[1000].tenantId", "text", "half a surrogate pair")]
    assert mended["user"]["userTenants"][-1] == {"tenantId": "\ufffd"}
    assert mended["user"]["userTenants"][:-1] == TENANTS


def test_an_odd_answer_leaves_nothing_to_the_garbage_collector() -> None:
    """An exception that holds its own traceback would keep the tokens in memory until it comes by."""
    odd = {
        "sessionJwt": "s",
        "firstSeen": 1,
        "new": math.inf,
        "user": {"name": 1, "userTenants": [1, {"tenantId": 1, "new": math.nan}], "OAuth": {"a": 1}},
    }
    structure_answer(converter, FinishResult, odd)
    structure_answer(converter, FinishResult, {"user": odd["user"]})
    gc.collect()
    gc.disable()
    try:
        structure_answer(converter, FinishResult, odd)
        structure_answer(converter, FinishResult, {"user": odd["user"]})
        assert gc.collect() == 0
    finally:
        gc.enable()


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else []


def test_a_value_for_which_no_stack_is_left_is_left_out() -> None:
    """The session is kept, though its caller stands near the interpreter's limit."""
    answer = {"sessionJwt": "s", "claims": {"x": nested(90)}}

    def structure_at(frames_left: int) -> Any:
        depth = len(inspect.stack(0))
        return at_depth(sys.getrecursionlimit() - depth - frames_left)

    def at_depth(frames: int) -> Any:
        return at_depth(frames - 1) if frames > 0 else structure_answer(converter, FinishResult, answer)

    assert structure_at(60) == FinishResult(session_jwt="s")
    assert structure_at(60).drift == (Drift("claims", "value", "something else"),)
