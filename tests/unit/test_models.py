"""The models: frozen through and through, equal by value, and quiet about the person."""

import copy
import json
import pickle
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import attrs
import orjson
import pydantic
import pytest
from kit.tables import DEEP, DEFAULTS, FIELDS, ORDINARY, TABLES, answer_with, at, full_answer

from descope_native import (
    AppleUser,
    Drift,
    FinishRequest,
    FinishResult,
    FrozenDict,
    IdpResponse,
    InvalidRequestError,
    Outcome,
    StartRequest,
    StartResult,
    User,
    UserTenant,
)
from descope_native.converters import make_converter


def result() -> FinishResult:
    return make_converter().structure(full_answer(), FinishResult)


def parts(whole: Any) -> Iterator[Any]:
    """A result and everything in it."""
    yield whole
    if attrs.has(type(whole)):
        for field in attrs.fields(type(whole)):
            yield from parts(getattr(whole, field.name))
    elif isinstance(whole, tuple):
        for item in whole:
            yield from parts(item)
    elif isinstance(whole, FrozenDict):
        for key, value in whole.items():
            yield from parts(key)
            yield from parts(value)


MODELS: list[Any] = [
    AppleUser(given_name="Ada"),
    FinishRequest(provider="google", state_id="s", id_token="t"),
    FinishRequest(provider="apple", state_id="s", code="c", user=AppleUser(family_name="Lovelace")),
    UserTenant(tenant_id="T1"),
    User(email="ada@example.com", user_tenants=(UserTenant(tenant_id="T1"),)),
    IdpResponse(idp_groups=("g",)),
    Drift("user.test", "boolean", "string"),
    FinishResult(session_jwt="s"),
    result(),
]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


@each_model
def test_each_model_is_frozen_and_slotted(model: Any) -> None:
    """No attribute can be set, deleted or added."""
    for field in attrs.fields(type(model)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(model, field.name, None)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(model, field.name)
    with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
        model.anything_else = 1
    assert not hasattr(model, "__dict__")


@each_model
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_each_model_survives_pickling(model: Any, protocol: int) -> None:
    """Equal, of the same type all the way down, and with the same hash."""
    assert_same(pickle.loads(pickle.dumps(model, protocol)), model)


@each_model
def test_each_model_can_be_copied_and_evolved(model: Any) -> None:
    """By copy, deepcopy and attrs.evolve, as any value."""
    assert_same(copy.copy(model), model)
    assert_same(copy.deepcopy(model), model)
    assert_same(attrs.evolve(model), model)


def assert_same(twin: Any, model: Any) -> None:
    assert twin == model
    assert hash(twin) == hash(model)
    assert [type(part) for part in parts(twin)] == [type(part) for part in parts(model)]


def test_a_result_is_immutable_however_deep_one_looks() -> None:
    """Nothing in it is a list, a dict or a set, not even within free-form attributes or unknown keys."""
    atoms = (str, int, float, bool, type(None))
    found = {type(part) for part in parts(result())}
    assert found == {FinishResult, User, UserTenant, IdpResponse, FrozenDict, tuple, *atoms}


def test_a_result_is_equal_by_value() -> None:
    """Two results of one answer are equal and one in a set; a difference at any depth tells them apart."""
    assert result() == result()
    assert len({result(), result()}) == 1
    whole = result()
    assert whole.user is not None
    for other in (
        attrs.evolve(whole, session_jwt="other"),
        attrs.evolve(whole, user=attrs.evolve(whole.user, test=False)),
        attrs.evolve(whole, user=attrs.evolve(whole.user, user_tenants=())),
        attrs.evolve(whole, extra={}),
        attrs.evolve(whole, claims=FrozenDict({**whole.claims, "f": 2.5})),
    ):
        assert other != whole


@pytest.mark.parametrize(("level", "key", "attribute", "kind"), FIELDS, ids=[field[1] for field in FIELDS])
def test_each_field_counts_for_equality(level: str, key: str, attribute: str, kind: str) -> None:
    """No field was left out of `==` but `drift`."""
    structure = make_converter().structure
    value = {"class": {}, "classes": [{"tenantId": "T9"}], "session": "x.y.z"}.get(kind) or ORDINARY.get(
        kind, ({},)
    )[0]
    empty = structure(answer_with(level, "unknown", 1), FinishResult)
    assert structure({**answer_with(level, key, value)}, FinishResult) != empty
    assert attrs.fields_dict(type(at(empty, level)))[attribute].eq


def test_drift_is_part_of_the_repr_and_not_of_equality() -> None:
    """It says how an answer came; and its text has places and types only."""
    drifted = FinishResult(session_jwt="s", drift=(Drift("user.test", "boolean", "string"),))
    assert drifted == FinishResult(session_jwt="s")
    assert "user.test" in repr(drifted)


PERSONAL = "canary"


@pytest.mark.parametrize(
    "model",
    [
        FinishRequest(
            provider="apple",
            state_id=PERSONAL,
            code=PERSONAL,
            user=AppleUser(given_name=PERSONAL, middle_name=PERSONAL, family_name=PERSONAL),
        ),
        FinishRequest(
            provider="google", state_id=PERSONAL, id_token=PERSONAL, user=f'{{"name": "{PERSONAL}"}}'
        ),
        AppleUser(given_name=PERSONAL, middle_name=PERSONAL, family_name=PERSONAL),
        User(
            login_ids=(PERSONAL,),
            name=PERSONAL,
            email=PERSONAL,
            phone=PERSONAL,
            external_ids=(PERSONAL,),
            picture=PERSONAL,
            custom_attributes={"a": PERSONAL},
            given_name=PERSONAL,
            middle_name=PERSONAL,
            family_name=PERSONAL,
            recovery_email=PERSONAL,
            recovery_phone=PERSONAL,
            extra={PERSONAL: PERSONAL},
        ),
        UserTenant(extra={PERSONAL: PERSONAL}),
        IdpResponse(
            saml_response=PERSONAL,
            saml_generated_user=PERSONAL,
            saml_generated_roles=PERSONAL,
            oidc_response=PERSONAL,
            oidc_generated_user=PERSONAL,
            oidc_generated_roles=PERSONAL,
            idp_groups=(PERSONAL,),
            idp_saml_attributes={"a": PERSONAL},
            idp_oidc_claims={"a": PERSONAL},
            extra={PERSONAL: PERSONAL},
        ),
        FinishResult(
            session_jwt=PERSONAL,
            refresh_jwt=PERSONAL,
            external_token=PERSONAL,
            trusted_device_jwt=PERSONAL,
            claims={PERSONAL: PERSONAL},
            extra={PERSONAL: PERSONAL},
            user=User(email=PERSONAL),
            idp_response=IdpResponse(oidc_response=PERSONAL),
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_repr_has_neither_secrets_nor_personal_data(model: object) -> None:
    """A result that somebody logs gives nobody away; what identifies a case to support is still there."""
    assert PERSONAL not in repr(model)
    assert PERSONAL not in f"{model}"


def test_a_repr_still_helps() -> None:
    """Ids, roles and flags that say which user this is, to those who can look it up."""
    text = repr(
        FinishResult(session_jwt="s", user=User(user_id="U2abc", role_names=("admin",), status="enabled"))
    )
    for fact in ("U2abc", "admin", "enabled"):
        assert fact in text
    assert "apple" in repr(FinishRequest(provider="apple", state_id="s", code="c"))


TIMES: list[tuple[Any, str]] = [
    (lambda seconds: User(created_time=seconds), "created_at"),
    (lambda seconds: User(modified_time=seconds), "modified_at"),
    (lambda seconds: User(consent_expiration=seconds), "consent_expires_at"),
    (lambda seconds: FinishResult(session_jwt="s", cookie_expiration=seconds), "cookie_expires_at"),
    (lambda seconds: FinishResult(session_jwt="s", session_expiration=seconds), "session_expires_at"),
]


@pytest.mark.parametrize(("make", "name"), TIMES, ids=[name for _, name in TIMES])
@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1700000000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (1, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (253402300799, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (253402300800, None),
        (10**18, None),
        (10**400, None),
        (-(10**18), None),
        (0, None),
        (None, None),
    ],
)
def test_a_time_is_an_aware_datetime_too(make: Any, name: str, seconds: int | None, expected: object) -> None:
    """In UTC; None where it is unset or beyond the calendar, and never an exception."""
    moment = getattr(make(seconds), name)
    assert moment == expected
    assert moment is None or moment.tzinfo is UTC


# --- FrozenDict


def test_a_frozen_dict_is_a_read_only_mapping() -> None:
    """It reads like a dict and cannot be written to."""
    items = {"a": 1, "b": 2}
    frozen = FrozenDict(items)
    items["c"] = 3
    assert dict(frozen) == {"a": 1, "b": 2}
    assert list(frozen) == ["a", "b"]
    assert len(frozen) == 2
    assert frozen["a"] == 1
    assert "c" not in frozen
    assert frozen.get("c") is None
    assert not FrozenDict()
    with pytest.raises(KeyError):
        frozen["c"]
    with pytest.raises(TypeError):
        frozen["a"] = 2
    with pytest.raises(TypeError):
        del frozen["a"]
    with pytest.raises(AttributeError):
        frozen.anything = 1  # type: ignore[attr-defined]
    assert repr(frozen) == "FrozenDict({'a': 1, 'b': 2})"


def test_a_frozen_dict_is_equal_to_any_mapping_of_the_same_items() -> None:
    """Whatever the order; and equal ones hash alike."""
    frozen = FrozenDict({"a": 1, "b": (2,)})
    assert frozen == {"b": (2,), "a": 1}
    assert dict(frozen) == frozen
    assert frozen == FrozenDict({"b": (2,), "a": 1})
    assert hash(frozen) == hash(FrozenDict({"b": (2,), "a": 1}))
    assert frozen != {"a": 1}
    pairs: object = [("a", 1), ("b", (2,))]
    assert frozen != pairs


def test_a_frozen_dict_pickles_and_dumps() -> None:
    """As itself to pickle, and as an object to json."""
    frozen = FrozenDict({"a": FrozenDict({"b": 1})})
    twin = pickle.loads(pickle.dumps(frozen))
    assert twin == frozen
    assert type(twin["a"]) is FrozenDict
    assert json.dumps(frozen) == '{"a": {"b": 1}}'


@pytest.mark.parametrize(
    "change",
    [
        lambda frozen: frozen.__setitem__("b", 2),
        lambda frozen: frozen.__delitem__("a"),
        lambda frozen: frozen.__ior__({"b": 2}),
        lambda frozen: frozen.clear(),
        lambda frozen: frozen.pop("a"),
        lambda frozen: frozen.pop("b", None),
        lambda frozen: frozen.popitem(),
        lambda frozen: frozen.setdefault("a", 2),
        lambda frozen: frozen.setdefault("b"),
        lambda frozen: frozen.update({"b": 2}),
        lambda frozen: frozen.update(b=2),
        lambda frozen: frozen.update(),
    ],
)
@pytest.mark.parametrize("items", [{"a": 1}, {}], ids=str)
def test_a_frozen_dict_refuses_every_change(items: dict[str, int], change: Any) -> None:
    """Every method of dict that would change one, be it by nothing, and also an empty one."""
    frozen = FrozenDict(items)
    with pytest.raises(TypeError, match="cannot be changed"):
        change(frozen)
    assert frozen == items


def test_a_frozen_dict_overrides_whatever_a_mutable_mapping_has() -> None:
    """No release of Python can add a method of dict that changes one unnoticed."""
    changing = {name for name in dir(dict) if name not in dir(MappingProxyType)} - {"fromkeys"}
    assert changing - {"__delattr__", "__getstate__"} <= vars(FrozenDict).keys()
    with pytest.raises(TypeError, match="cannot be changed"):
        FrozenDict.fromkeys(["a"])


@pytest.mark.parametrize("items", [{"a": 1}, {}], ids=str)
def test_a_frozen_dict_is_filled_once(items: dict[str, int]) -> None:
    """Its `__init__` called again adds nothing, to the one that is everybody's default neither."""
    frozen = FrozenDict(items)
    frozen.__init__({"b": 2})  # type: ignore[misc]
    assert frozen == items
    whole = FinishResult(session_jwt="s")
    whole.claims.__init__({"b": 2})  # type: ignore[misc]
    assert FinishResult(session_jwt="s").claims == {}


def test_a_frozen_dict_merges_and_copies() -> None:
    """A merge gives one more of what stands on the left; dict() gives what can be changed."""
    frozen = FrozenDict([("a", 1)])
    merged = frozen | {"b": 2}
    assert (type(merged), merged, frozen) == (FrozenDict, {"a": 1, "b": 2}, {"a": 1})
    assert type({"b": 2} | frozen) is dict
    with pytest.raises(TypeError):
        frozen | [("b", 2)]
    assert frozen.copy() is frozen
    changed = dict(frozen)
    changed["b"] = 2
    assert frozen == {"a": 1}


def test_a_result_goes_where_json_goes() -> None:
    """Free-form attributes as they are, and a whole result by way of attrs.asdict."""
    whole = result()
    assert whole.user is not None
    assert json.loads(json.dumps(whole.user.custom_attributes)) == DEEP
    assert orjson.loads(orjson.dumps(whole.claims)) == DEEP
    plain = attrs.asdict(whole)
    assert {type(plain[name]) for name in ("claims", "extra", "user")} == {dict}
    assert json.loads(json.dumps(plain))["user"]["custom_attributes"] == DEEP
    assert orjson.loads(orjson.dumps(plain))["user"]["user_tenants"][0]["extra"] == {"unknown": DEEP}

    class Stored(pydantic.BaseModel):
        claims: dict[str, Any]
        oauth: dict[str, bool]
        outcome: Outcome

    given: Any = {"claims": whole.claims, "oauth": whole.user.oauth, "outcome": Outcome.REJECTED}
    stored = json.loads(Stored(**given).model_dump_json())
    assert stored == {"claims": DEEP, "oauth": whole.user.oauth, "outcome": "rejected"}


# --- requests: what FinishRequest refuses is in the contract suite, over both transports


@pytest.mark.parametrize("part", ["given_name", "middle_name", "family_name"])
@pytest.mark.parametrize("value", [0, True, b"Ada", ["Ada"], {"a": 1}])
def test_an_apple_users_name_is_text(part: str, value: Any) -> None:
    """Or None, and the refusal names the part, not the value."""
    with pytest.raises(InvalidRequestError, match=part):
        AppleUser(**{part: value})


@pytest.mark.parametrize("cls", [AppleUser, FinishRequest])
def test_what_goes_in_is_given_by_keyword(cls: Any) -> None:
    """A code that slips into the place of an id token would be spent for nothing."""
    with pytest.raises(TypeError):
        cls("google", "state", "code")


def test_a_request_cannot_be_evolved_into_nonsense() -> None:
    """attrs.evolve goes through the same checks."""
    request = FinishRequest(provider="google", state_id="s", id_token="t")
    with pytest.raises(InvalidRequestError, match="exactly one"):
        attrs.evolve(request, code="c")


@pytest.mark.parametrize(
    "changed",
    [
        *({name: "s" * 65_536} for name in ("provider", "state_id", "id_token")),
        {"id_token": None, "code": "\u00e9"},
        {"known_device_jwt": "k" * 16_384, "trusted_device_jwt": "t" * 16_384},
        {"user": '{"a": 1}'.ljust(4096)},
        {"user": AppleUser(given_name="a", middle_name="s" * 4096, family_name="\u00e9")},
    ],
    ids=" ".join,
)
def test_a_request_of_such_a_size_is_let_in(changed: dict[str, Any]) -> None:
    """The largest that there may be; what is one longer is refused."""
    arguments: dict[str, Any] = {"provider": "google", "state_id": "s", "id_token": "t"} | changed
    request = FinishRequest(**arguments)
    assert {name: getattr(request, name) for name in arguments} == arguments


def test_frozen_dicts_that_differ_have_hashes_that_differ() -> None:
    """Or a set of them would be as slow as a list."""
    assert len({hash(FrozenDict({"a": number})) for number in range(50)}) > 40


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


SECRETS = {
    *("state_id", "code", "id_token", "nonce"),
    *("session_jwt", "refresh_jwt", "trusted_device_jwt", "known_device_jwt"),
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
        (StartRequest(provider="p"), "provider implicit"),
        (StartResult(state_id="s", nonce="n"), "client_id implicit drift"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_repr_shows_these_attributes_and_no_others(made: object, shown: str) -> None:
    """Neither a secret nor what tells about the person; whoever adds one decides on it here."""
    told = dict(re.findall(r"(\w+)=([^,)]*)", repr(made)))
    assert [name for name in told if name not in SECRETS] == shown.split()


@pytest.mark.parametrize(
    ("made", "there", "missing"),
    [
        (FinishResult(session_jwt="s", known_device_jwt="k"), "session_jwt known_device_jwt", "refresh_jwt"),
        (FinishRequest(provider="p", state_id="s", code="c", nonce="n"), "state_id code nonce", "id_token"),
        (StartRequest(provider="p", refresh_jwt="r.e.f"), "refresh_jwt", "trusted_device_jwt"),
        (StartResult(state_id="s"), "state_id", "nonce"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else None,
)
def test_a_repr_says_whether_a_token_or_proof_is_there(made: object, there: str, missing: str) -> None:
    """And no more of it."""
    told = dict(re.findall(r"(\w+)=([^,)]*)", repr(made)))
    assert {told[name] for name in there.split()} == {"<hidden>"}
    assert told[missing] == "None"


def test_a_tokens_octets_are_those_of_rfc_6265() -> None:
    """All that ASCII can print but blank, quotes, comma, semicolon and backslash (§4.1.1)."""

    def is_token(text: str) -> bool:
        try:
            FinishRequest(provider="p", state_id="s", code="c", known_device_jwt=text)
        except InvalidRequestError:
            return False
        return True

    octets = [0x21, *range(0x23, 0x2C), *range(0x2D, 0x3B), *range(0x3C, 0x5C), *range(0x5D, 0x7F)]
    assert [octet for octet in range(0x180) if is_token(chr(octet))] == octets
    assert not is_token("a\ud800")
