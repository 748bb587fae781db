"""What a 2xx becomes, over both transports."""

import json
import math
import time
from typing import Any

import attrs
import pytest
from kit.support import DOCUMENTED_ANSWER, Answer, Answering, as_json, session
from kit.tables import DEFAULTS, FIELDS, MISFITS, ORDINARY, TABLES, answer_with, at, empty_at

from descope_native import (
    Drift,
    FinishResult,
    IdpResponse,
    Outcome,
    UnexpectedResponse,
    User,
    UserTenant,
)
from descope_native.converters import make_converter


def each(fields: list[tuple[str, str, str, str]]) -> pytest.MarkDecorator:
    ids = [f"{level}.{key}".lstrip(".") for level, key, _, _ in fields]
    return pytest.mark.parametrize(("level", "key", "attribute", "kind"), fields, ids=ids)


each_field = each(FIELDS)
each_decoration = each([field for field in FIELDS if field[3] != "session"])

STRINGS = [field for field in FIELDS if field[3] in {"string", "token"}]
each_string = pytest.mark.parametrize(
    ("level", "key", "attribute"), [field[:3] for field in STRINGS], ids=[field[1] for field in STRINGS]
)


def answer(value: object) -> Answer:
    return Answer(body=as_json(value))


def assert_holds(wire: Any, sample: Any) -> None:
    """Whatever the sample has, the wire has too; and whatever it has beside that says "none"."""
    if isinstance(sample, dict):
        for key, value in wire.items():
            assert_holds(value, sample[key]) if key in sample else _assert_none(value)
        assert not sample.keys() - wire.keys()
    elif isinstance(sample, list):
        assert len(wire) == len(sample)
        for mine, its in zip(wire, sample, strict=True):
            assert_holds(mine, its)
    else:
        assert wire == sample
        assert type(wire) is type(sample)


def _assert_none(value: Any) -> None:
    assert value in ([], {}, False)


async def test_the_documented_answer_becomes_exactly_this(answering: Answering) -> None:
    """The vendor's sample, byte for byte, with every attribute written out by hand."""
    async with answering(Answer(body=DOCUMENTED_ANSWER)) as service:
        result = await service.finish()
    assert attrs.asdict(result, recurse=False) == {
        "session_jwt": "string",
        "refresh_jwt": "string",
        "cookie_domain": "string",
        "cookie_path": "string",
        "cookie_max_age": 0,
        "cookie_expiration": 0,
        "user": result.user,
        "first_seen": True,
        "idp_response": result.idp_response,
        "session_expiration": None,
        "next_refresh_seconds": None,
        "cookie_name": None,
        "session_cookie_name": None,
        "session_cookie_domain": None,
        "external_token": None,
        "trusted_device_jwt": None,
        "known_device_jwt": None,
        "tenant_sso_id": None,
        "claims": {},
        "unsaved_sso": False,
        "extra": {},
        "drift": (),
    }
    assert attrs.asdict(result.user, recurse=False) == {
        "login_ids": ("string",),
        "user_id": "string",
        "name": "string",
        "email": "string",
        "phone": "string",
        "verified_email": True,
        "verified_phone": True,
        "role_names": ("string",),
        "user_tenants": result.user.user_tenants,
        "status": "string",
        "external_ids": ("string",),
        "picture": "string",
        "test": False,
        "custom_attributes": {},
        "created_time": 0,
        "totp": False,
        "saml": False,
        "oauth": {"property1": False, "property2": False},
        "webauthn": True,
        "password": True,
        "sso_app_ids": ("string",),
        "given_name": "string",
        "middle_name": "string",
        "family_name": "string",
        "editable": True,
        "recovery_email": None,
        "recovery_phone": None,
        "verified_recovery_email": False,
        "verified_recovery_phone": False,
        "scim": False,
        "oidc": False,
        "push": False,
        "permissions": (),
        "modified_time": None,
        "consent_expiration": None,
        "extra": {},
    }
    (tenant,) = result.user.user_tenants
    assert attrs.asdict(tenant, recurse=False) == {
        "tenant_id": "string",
        "tenant_name": "string",
        "role_names": ("string",),
        "permissions": (),
        "extra": {},
    }
    assert attrs.asdict(result.idp_response, recurse=False) == {
        "saml_response": "string",
        "saml_generated_user": "string",
        "saml_generated_roles": "string",
        "oidc_response": "string",
        "oidc_generated_user": "string",
        "oidc_generated_roles": "string",
        "idp_groups": (),
        "idp_saml_attributes": {},
        "idp_oidc_claims": {},
        "extra": {},
    }


async def test_the_documented_answer_is_as_documented(answering: Answering) -> None:
    """A strict finisher, which raises at any drift, takes the sample too, and it survives a round trip."""
    async with answering(Answer(body=DOCUMENTED_ANSWER), strict=True) as service:
        result = await service.finish()
    assert make_converter().structure(json.loads(DOCUMENTED_ANSWER), FinishResult) == result
    assert_holds(make_converter().unstructure(result), json.loads(DOCUMENTED_ANSWER))


@pytest.mark.parametrize(
    ("cls", "level"),
    [(FinishResult, ""), (User, "user"), (UserTenant, "user.userTenants[0]"), (IdpResponse, "idpResponse")],
)
def test_every_key_of_the_contract_is_one_attribute(cls: type[attrs.AttrsInstance], level: str) -> None:
    """The contract's table and the class name the same things, `extra` and `drift` aside."""
    attributes = {field.name for field in attrs.fields(cls)} - {"extra", "drift"}
    assert attributes == {attribute for attribute, _ in TABLES[level].values()}


@each_field
async def test_each_key_is_read_into_its_attribute(
    answering: Answering, level: str, key: str, attribute: str, kind: str
) -> None:
    """An ordinary value of the documented type comes out as it went in, with nothing to remark."""
    if kind in {"class", "classes"}:
        sent: Any = {"class": {}, "classes": [{}, {}]}[kind]
        expected: Any = {"user": User(), "idpResponse": IdpResponse(), "userTenants": (UserTenant(),) * 2}[
            key
        ]
    else:
        sent, expected = ORDINARY[kind]
    async with answering(answer(answer_with(level, key, sent)), strict=True) as service:
        result = await service.finish()
    value = getattr(at(result, level), attribute)
    assert value == expected
    assert type(value) is type(expected) or isinstance(expected, dict)


@pytest.mark.parametrize("level", TABLES)
async def test_each_key_may_be_absent(answering: Answering, level: str) -> None:
    """Absent is none, spelled as the design says; only a session must be there."""
    async with answering(answer(empty_at(level)), strict=True) as service:
        result = await service.finish()
    for attribute, kind in TABLES[level].values():
        if kind != "session":
            assert getattr(at(result, level), attribute) == DEFAULTS[kind], attribute
    assert at(result, level).extra == {}


@each_string
@pytest.mark.parametrize("none", [None, ""], ids=["null", "empty"])
async def test_null_and_empty_strings_are_none(
    answering: Answering, level: str, key: str, attribute: str, none: object
) -> None:
    """For every string of the contract, both other spellings of none are None and no drift."""
    async with answering(answer(answer_with(level, key, none)), strict=True) as service:
        result = await service.finish()
    assert getattr(at(result, level), attribute) is None


@pytest.mark.parametrize(
    ("level", "key", "none"),
    [
        ("", "user", None),
        ("", "idpResponse", None),
        ("", "claims", None),
        ("user", "customAttributes", None),
        ("user", "OAuth", None),
        ("idpResponse", "idpSAMLAttributes", None),
        ("idpResponse", "idpSAMLAttributes", False),
        ("idpResponse", "idpOIDCClaims", None),
    ],
)
async def test_an_unset_object_is_none(answering: Answering, level: str, key: str, none: object) -> None:
    """Null is none for objects, and so is the `false` that is seen for SAML attributes; neither is drift."""
    async with answering(answer(answer_with(level, key, none)), strict=True) as service:
        result = await service.finish()
    attribute, kind = TABLES[level][key]
    assert getattr(at(result, level), attribute) == DEFAULTS[kind]


@pytest.mark.parametrize(
    "key", ["cookieExpiration", "sessionExpiration", "cookieMaxAge", "nextRefreshSeconds"]
)
async def test_a_time_of_zero_stays_zero(answering: Answering, key: str) -> None:
    """0 is what the service said, and no None."""
    async with answering(session(**{key: 0})) as service:
        result = await service.finish()
    value = getattr(result, TABLES[""][key][0])
    assert value == 0
    assert type(value) is int


@each_decoration
async def test_whatever_is_ill_typed_takes_its_default_and_is_named(
    answering: Answering, level: str, key: str, attribute: str, kind: str
) -> None:
    """No coercion, and no session lost to a decoration: its place and the two types are told instead."""
    misfits = MISFITS[kind]
    untouched = answer_with(level, key, None)
    answers = [answer(answer_with(level, key, value)) for value, *_ in misfits]
    async with answering(*answers) as service:
        for value, where, expected, found in misfits:
            result = await service.finish()
            path = f"{level}.{key}{where}".lstrip(".")
            assert result.drift == (Drift(path, expected, found),), value
            assert getattr(at(result, level), attribute) == DEFAULTS[kind], value
            assert result.session_jwt == untouched["sessionJwt"]


@pytest.mark.parametrize(
    "token",
    [
        None,
        "",
        0,
        1,
        1.5,
        True,
        False,
        [],
        ["abc"],
        {},
        "two words",
        "a;b",
        'a"b',
        "a,b",
        "a\\b",
        "ünï",
        "x" * 16385,
    ],
)
async def test_no_usable_session_is_no_result(answering: Answering, token: object) -> None:
    """A token is never made out of something else, nor let into a header where it does not belong."""
    async with answering(answer({"sessionJwt": token, "refreshJwt": "r.e.f"})) as service:
        with pytest.raises(UnexpectedResponse, match="no session") as caught:
            await service.finish()
    assert caught.value.outcome is Outcome.UNKNOWN
    assert not caught.value.safe_to_retry
    assert caught.value.status == 200


async def test_a_token_that_is_too_long_is_told_by_its_limit(answering: Answering) -> None:
    """Who has to mend it must not look for what is wrong with its form."""
    async with answering(answer({"sessionJwt": "x" * 16385})) as service:
        with pytest.raises(UnexpectedResponse, match="expected token, found more than 16384 characters"):
            await service.finish()


async def test_the_longest_token_is_taken(answering: Answering) -> None:
    """16 KiB of cookie-octets, all kinds of them, are a token."""
    octets = "".join(chr(octet) for octet in range(0x21, 0x7F) if chr(octet) not in '",;\\')
    token = (octets * 200)[: 16 * 1024]
    async with answering(session(sessionJwt=token), strict=True) as service:
        assert (await service.finish()).session_jwt == token


async def test_other_fields_survive_the_drift_of_one(answering: Answering) -> None:
    """Several faults at all levels at once are all named, in order, and cost nothing but themselves."""
    body = json.loads(DOCUMENTED_ANSWER)
    async with answering(Answer(body=DOCUMENTED_ANSWER), answer(body)) as service:
        whole = await service.finish()
    body["cookieMaxAge"] = "3600"
    body["user"]["verifiedEmail"] = "false"
    body["user"]["loginIds"] = "abc"
    body["user"]["userTenants"][0]["roleNames"] = [None]
    body["user"]["userTenants"] += [7, {"tenantId": "T2"}]
    body["idpResponse"]["oidcResponse"] = {}
    async with answering(answer(body)) as service:
        result = await service.finish()
    assert set(result.drift) == {
        Drift("cookieMaxAge", "integer", "string"),
        Drift("user.verifiedEmail", "boolean", "string"),
        Drift("user.loginIds", "array", "string"),
        Drift("user.userTenants[0].roleNames[0]", "string", "null"),
        Drift("user.userTenants[1]", "object", "integer"),
        Drift("idpResponse.oidcResponse", "string", "object"),
    }
    assert len(result.drift) == 6
    assert result == attrs.evolve(
        whole,
        cookie_max_age=None,
        user=attrs.evolve(
            whole.user,
            verified_email=False,
            login_ids=(),
            user_tenants=(
                UserTenant(tenant_id="string", tenant_name="string"),
                UserTenant(tenant_id="T2"),
            ),
        ),
        idp_response=attrs.evolve(whole.idp_response, oidc_response=None),
    )


async def test_drift_is_no_part_of_what_a_result_says(answering: Answering) -> None:
    """Two answers that say the same are equal, however they came."""
    async with answering(session(cookieMaxAge="1"), session()) as service:
        mended, clean = await service.finish(), await service.finish()
    assert mended.drift
    assert not clean.drift
    assert mended == clean
    assert hash(mended) == hash(clean)


@pytest.mark.parametrize(
    ("level", "key", "value"),
    [
        ("", "cookieMaxAge", "1"),
        ("user", "OAuth", []),
        ("user.userTenants[0]", "tenantId", 3),
        ("idpResponse", "idpGroups", "x"),
    ],
)
async def test_strict_refuses_any_drift(answering: Answering, level: str, key: str, value: object) -> None:
    """The error names the place and the types, and never the value."""
    async with answering(answer(answer_with(level, key, value)), strict=True) as service:
        with pytest.raises(UnexpectedResponse, match="not as documented") as caught:
            await service.finish()
    assert f"{level}.{key}".lstrip(".") in str(caught.value)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert not caught.value.safe_to_retry


async def test_strict_names_ten_places_and_counts_the_rest(answering: Answering) -> None:
    """A service that changed everything does not make an endless message."""
    ill = {key: 5 for key, (_, kind) in TABLES["user"].items() if kind == "boolean"}
    async with answering(session(user=ill), strict=True) as service:
        with pytest.raises(UnexpectedResponse) as caught:
            await service.finish()
    assert str(caught.value).count("expected boolean, found integer") == 10
    assert f"and {len(ill) - 10} more" in str(caught.value)


@pytest.mark.parametrize("level", TABLES)
async def test_unknown_keys_are_kept_and_go_back_to_json(answering: Answering, level: str) -> None:
    """The service grows: what is new is in `extra`, no drift, and survives result -> JSON -> result."""
    news: dict[str, object] = {
        "string": "x",
        "nested": [1, {"deep": [None, True, 1.5]}],
        "": None,
        "sessionjwt": "other",
        "extra": {},
    }
    sent = answer_with(level, "newThing", news)
    at_level = {"": sent, "user": sent.get("user"), "idpResponse": sent.get("idpResponse")}.get(level)
    if at_level is None:
        at_level = sent["user"]["userTenants"][0]
    at_level.update({"extra": 1, "drift": 2, "session_jwt": "three", "user_id": False})
    async with answering(answer(sent), strict=True) as service:
        result = await service.finish()
    part = at(result, level)
    assert part.extra == {
        "newThing": {
            "string": "x",
            "nested": (1, {"deep": (None, True, 1.5)}),
            "": None,
            "sessionjwt": "other",
            "extra": {},
        },
        "extra": 1,
        "drift": 2,
        "session_jwt": "three",
        "user_id": False,
    }
    wire = make_converter().unstructure(result)
    assert json.loads(json.dumps(wire)) == wire
    back = make_converter().structure(wire, FinishResult)
    assert back == result
    assert at(back, level).extra == part.extra


async def test_an_unknown_key_beside_a_fault_is_kept_all_the_same(answering: Answering) -> None:
    """The careful path loses no more than the straight one."""
    async with answering(session(cookieMaxAge="1", new=[{"a": 1}], user={"new": "x", "test": 1})) as service:
        result = await service.finish()
    assert result.extra == {"new": ({"a": 1},)}
    assert result.user.extra == {"new": "x"}
    assert [drift.path for drift in result.drift] == ["cookieMaxAge", "user.test"]


async def test_an_unknown_key_is_never_quoted(answering: Answering) -> None:
    """The name of an unknown key may itself be somebody's data, so drift within it says `*`."""
    async with answering(Answer(body=b'{"sessionJwt": "s", "ada@example.com": 1e999}')) as service:
        result = await service.finish()
    assert result.drift == (Drift("*", "finite number", "infinity"),)
    assert result.extra == {}


async def test_the_last_of_two_equal_keys_counts(answering: Answering) -> None:
    """As every JSON reader of the official SDKs has it."""
    async with answering(Answer(body=b'{"sessionJwt": "a", "sessionJwt": "b"}')) as service:
        assert (await service.finish()).session_jwt == "b"


@pytest.mark.parametrize("status", [201, 202, 203, 206, 226, 299])
async def test_a_session_with_another_2xx_is_a_result_with_drift(answering: Answering, status: int) -> None:
    """Tokens are sacred: the status is odd, and that is said, but the sign-in has happened."""
    async with answering(attrs.evolve(session(), status=status)) as service:
        result = await service.finish()
    assert result.session_jwt == "s.e.s"
    assert result.drift == (Drift("status", "200", str(status)),)


async def test_an_answer_without_a_user_is_a_session(answering: Answering) -> None:
    """The user may be missing for good, and so may the refresh token."""
    async with answering(answer({"sessionJwt": "s"}), strict=True) as service:
        result = await service.finish()
    assert result == FinishResult(session_jwt="s")
    assert result.user is None
    assert result.refresh_jwt is None
    assert result.first_seen is None


BAD_TENANT: dict[str, Any] = {"tenantId": 0, "tenantName": "kept"}
MUCH_DRIFT: dict[str, tuple[dict[str, Any], str]] = {
    "items of another type": ({"user": {"userTenants": [0] * 200_000}}, "user.userTenants"),
    "items with an oddity": ({"user": {"userTenants": [BAD_TENANT] * 20_000}}, "user.userTenants"),
    "items in items": ({"user": {"userTenants": [{"roleNames": [0]}] * 50_000}}, "user.userTenants"),
    "unknown keys": ({f"k{n}": math.inf for n in range(50_000)}, "*"),
    "unknown keys of an item": (
        {"user": {"userTenants": [{f"k{n}": math.inf for n in range(50_000)}]}},
        "user.userTenants[0].*",
    ),
}


@pytest.mark.parametrize("name", MUCH_DRIFT)
async def test_an_answer_of_oddities_costs_little_and_is_a_session(answering: Answering, name: str) -> None:
    """A hundred of them are looked at in one place; a million would keep the event loop for many seconds."""
    odd, place = MUCH_DRIFT[name]
    body = as_json(odd | {"sessionJwt": "s.e.s"})
    async with answering(Answer(body=body)) as service:
        started = time.process_time()
        result = await service.finish()
        took = time.process_time() - started
    assert result.session_jwt == "s.e.s"
    assert Drift(place, "100 oddities at most", "more") in result.drift
    assert 100 < len(result.drift) < 210
    assert took < 2, "12 seconds, before there was a limit"


async def test_a_hundred_oddities_are_looked_at_and_the_last_of_them_is_listed(answering: Answering) -> None:
    """What is left out is said only where something is."""
    tenants: list[object] = [{"tenantId": "T1"}, *[0] * 100]
    cases: tuple[tuple[list[object], tuple[str, ...]], ...] = (
        ([], ()),
        ([{"tenantId": "T2"}], ("user.userTenants",)),
    )
    for more, left_out in cases:
        async with answering(
            answer({"sessionJwt": "s", "user": {"userTenants": [*tenants, *more]}})
        ) as service:
            result = await service.finish()
        assert result.user is not None
        assert [tenant.tenant_id for tenant in result.user.user_tenants] == ["T1"]
        assert len(result.drift) == 100 + len(left_out)
        assert tuple(d.path for d in result.drift[100:]) == left_out


async def test_known_keys_are_read_however_many_oddities_come_before(answering: Answering) -> None:
    """The tokens, first of all."""
    odd = {f"k{n}": math.inf for n in range(101)}
    async with answering(answer(odd | {"sessionJwt": "s.e.s", "cookiePath": "/a"})) as service:
        result = await service.finish()
    assert (result.session_jwt, result.cookie_path) == ("s.e.s", "/a")
    assert [d.found for d in result.drift] == ["infinity"] * 100 + ["more"]
