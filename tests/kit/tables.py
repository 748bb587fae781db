"""The contract's three tables, copied by hand: each key of the wire, its attribute and its JSON type.

Nothing here is derived from the converter, so that it cannot share the converter's mistakes.
"""

from typing import Any, Final

TOP: Final = {
    "sessionJwt": ("session_jwt", "session"),
    "refreshJwt": ("refresh_jwt", "token"),
    "cookieDomain": ("cookie_domain", "string"),
    "cookiePath": ("cookie_path", "string"),
    "cookieMaxAge": ("cookie_max_age", "integer"),
    "cookieExpiration": ("cookie_expiration", "integer"),
    "user": ("user", "class"),
    "firstSeen": ("first_seen", "boolean or unknown"),
    "idpResponse": ("idp_response", "class"),
    "sessionExpiration": ("session_expiration", "integer"),
    "nextRefreshSeconds": ("next_refresh_seconds", "integer"),
    "cookieName": ("cookie_name", "string"),
    "sessionCookieName": ("session_cookie_name", "string"),
    "sessionCookieDomain": ("session_cookie_domain", "string"),
    "externalToken": ("external_token", "string"),
    "trustedDeviceJwt": ("trusted_device_jwt", "token"),
    "knownDeviceJwt": ("known_device_jwt", "token"),
    "tenantSSOID": ("tenant_sso_id", "string"),
    "claims": ("claims", "object"),
    "unsavedSSO": ("unsaved_sso", "boolean"),
}

USER: Final = {
    "loginIds": ("login_ids", "strings"),
    "roleNames": ("role_names", "strings"),
    "externalIds": ("external_ids", "strings"),
    "ssoAppIds": ("sso_app_ids", "strings"),
    "permissions": ("permissions", "strings"),
    "userId": ("user_id", "string"),
    "name": ("name", "string"),
    "email": ("email", "string"),
    "phone": ("phone", "string"),
    "status": ("status", "string"),
    "picture": ("picture", "string"),
    "givenName": ("given_name", "string"),
    "middleName": ("middle_name", "string"),
    "familyName": ("family_name", "string"),
    "recoveryEmail": ("recovery_email", "string"),
    "recoveryPhone": ("recovery_phone", "string"),
    "verifiedEmail": ("verified_email", "boolean"),
    "verifiedPhone": ("verified_phone", "boolean"),
    "test": ("test", "boolean"),
    "TOTP": ("totp", "boolean"),
    "SAML": ("saml", "boolean"),
    "webauthn": ("webauthn", "boolean"),
    "password": ("password", "boolean"),
    "editable": ("editable", "boolean"),
    "SCIM": ("scim", "boolean"),
    "OIDC": ("oidc", "boolean"),
    "push": ("push", "boolean"),
    "verifiedRecoveryEmail": ("verified_recovery_email", "boolean"),
    "verifiedRecoveryPhone": ("verified_recovery_phone", "boolean"),
    "createdTime": ("created_time", "integer"),
    "modifiedTime": ("modified_time", "integer"),
    "consentExpiration": ("consent_expiration", "integer"),
    "userTenants": ("user_tenants", "classes"),
    "OAuth": ("oauth", "flags"),
    "customAttributes": ("custom_attributes", "object"),
}

TENANT: Final = {
    "tenantId": ("tenant_id", "string"),
    "tenantName": ("tenant_name", "string"),
    "roleNames": ("role_names", "strings"),
    "permissions": ("permissions", "strings"),
}

IDP: Final = {
    "samlResponse": ("saml_response", "string"),
    "samlGeneratedUser": ("saml_generated_user", "string"),
    "samlGeneratedRoles": ("saml_generated_roles", "string"),
    "oidcResponse": ("oidc_response", "string"),
    "oidcGeneratedUser": ("oidc_generated_user", "string"),
    "oidcGeneratedRoles": ("oidc_generated_roles", "string"),
    "idpGroups": ("idp_groups", "strings"),
    "idpSAMLAttributes": ("idp_saml_attributes", "object or false"),
    "idpOIDCClaims": ("idp_oidc_claims", "object"),
}

TABLES: Final = {"": TOP, "user": USER, "user.userTenants[0]": TENANT, "idpResponse": IDP}

FIELDS: Final = [
    (level, key, attribute, kind)
    for level, table in TABLES.items()
    for key, (attribute, kind) in table.items()
]

# What a field is when nothing usable came for it.
DEFAULTS: Final[dict[str, Any]] = {
    "token": None,
    "string": None,
    "integer": None,
    "class": None,
    "boolean or unknown": None,
    "boolean": False,
    "strings": (),
    "classes": (),
    "flags": {},
    "object": {},
    "object or false": {},
}

# One ordinary value of each kind, and what becomes of it.
ORDINARY: Final[dict[str, tuple[Any, Any]]] = {
    "session": ("abc.def.ghi", "abc.def.ghi"),
    "token": ("jkl.mno.pqr", "jkl.mno.pqr"),
    "string": ("some text, ünïcode", "some text, ünïcode"),
    "integer": (1700000001, 1700000001),
    "boolean or unknown": (False, False),
    "boolean": (True, True),
    "strings": (["one", "two"], ("one", "two")),
    "flags": ({"google": True, "apple": False}, {"google": True, "apple": False}),
    "object": (
        {"a": 1, "b": [True, None, {"c": 1.5}], "d": {"e": "f"}},
        {"a": 1, "b": (True, None, {"c": 1.5}), "d": {"e": "f"}},
    ),
}
ORDINARY["object or false"] = ORDINARY["object"]

# For each kind, values that are not of it: the value, where in it the fault lies, and the names of
# what was expected and found.
MISFITS: Final[dict[str, list[tuple[Any, str, str, str]]]] = {
    "string": [
        (0, "", "string", "integer"),
        (1, "", "string", "integer"),
        (1.5, "", "string", "number"),
        (True, "", "string", "boolean"),
        (False, "", "string", "boolean"),
        ([], "", "string", "array"),
        (["abc"], "", "string", "array"),
        ({}, "", "string", "object"),
    ],
    "integer": [
        (None, "", "integer", "null"),
        (True, "", "integer", "boolean"),
        (False, "", "integer", "boolean"),
        ("", "", "integer", "string"),
        ("1", "", "integer", "string"),
        (1700000000.5, "", "integer", "number"),
        (-0.1, "", "integer", "number"),
        (2.0**53 + 2, "", "integer", "number"),
        (-1e300, "", "integer", "number"),
        ([], "", "integer", "array"),
        ({}, "", "integer", "object"),
    ],
    "boolean": [
        (None, "", "boolean", "null"),
        (0, "", "boolean", "integer"),
        (1, "", "boolean", "integer"),
        (1.0, "", "boolean", "number"),
        ("", "", "boolean", "string"),
        ("false", "", "boolean", "string"),
        ("true", "", "boolean", "string"),
        ([], "", "boolean", "array"),
        ({}, "", "boolean", "object"),
    ],
    "strings": [
        (None, "", "array", "null"),
        ("", "", "array", "string"),
        ("abc", "", "array", "string"),
        (1, "", "array", "integer"),
        (True, "", "array", "boolean"),
        ({"a": "b"}, "", "array", "object"),
        ([1], "[0]", "string", "integer"),
        (["a", None], "[1]", "string", "null"),
        (["a", "b", ["c"]], "[2]", "string", "array"),
    ],
    "object": [
        ("", "", "object", "string"),
        ("abc", "", "object", "string"),
        (1, "", "object", "integer"),
        (True, "", "object", "boolean"),
        ([], "", "object", "array"),
        ([["a", "b"]], "", "object", "array"),
        ({"a": float("1e999")}, "", "finite number", "infinity"),
    ],
    "flags": [
        (False, "", "object", "boolean"),
        ("abc", "", "object", "string"),
        (1, "", "object", "integer"),
        ([], "", "object", "array"),
        ({"google": "true"}, ".*", "boolean", "string"),
        ({"google": 1}, ".*", "boolean", "integer"),
        ({"google": True, "apple": None}, ".*", "boolean", "null"),
    ],
    "class": [
        (False, "", "object", "boolean"),
        ("", "", "object", "string"),
        ("abc", "", "object", "string"),
        (1, "", "object", "integer"),
        ([], "", "object", "array"),
    ],
    "classes": [
        (None, "", "array", "null"),
        ("abc", "", "array", "string"),
        (1, "", "array", "integer"),
        ({}, "", "array", "object"),
        ([[]], "[0]", "object", "array"),
        (["abc"], "[0]", "object", "string"),
        ([None], "[0]", "object", "null"),
    ],
}
MISFITS["token"] = [
    *MISFITS["string"],
    ("two words", "", "token", "string"),
    ("semi;colon", "", "token", "string"),
    ("line\r\nbreak", "", "token", "string"),
    ("ünïcode", "", "token", "string"),
    ("x" * (16 * 1024 + 1), "", "token", "more than 16384 characters"),
]
MISFITS["boolean or unknown"] = MISFITS["boolean"]
MISFITS["object or false"] = MISFITS["object"]
MISFITS["object"] = [*MISFITS["object"], (False, "", "object", "boolean")]


DEEP = {"list": [1, [2, {"three": [None, True]}]], "object": {"a": {"b": {"c": []}}}, "empty": {}, "f": 1.5}
"""What free-form keys may hold."""


def answer_with(level: str, key: str, value: Any) -> dict[str, Any]:
    """An answer that has this value under this key of this table, and else only what it must have."""
    answer: dict[str, Any] = {"sessionJwt": "abc.def.ghi"}
    match level:
        case "":
            answer[key] = value
        case "user.userTenants[0]":
            answer["user"] = {"userTenants": [{key: value}]}
        case _:
            answer[level] = {key: value}
    return answer


def full_answer() -> dict[str, Any]:
    """An answer with an ordinary value under every key, and one unknown key at each level."""
    ordinary = {
        level: {
            key: ORDINARY[kind][0] for key, (_, kind) in table.items() if kind not in {"class", "classes"}
        }
        for level, table in TABLES.items()
    }
    for table in ordinary.values():
        table["unknown"] = DEEP
    ordinary["user"]["customAttributes"] = DEEP
    return {
        **ordinary[""],
        "claims": DEEP,
        "user": {**ordinary["user"], "userTenants": [ordinary["user.userTenants[0]"]]},
        "idpResponse": {**ordinary["idpResponse"], "idpSAMLAttributes": DEEP},
    }


def empty_at(level: str) -> dict[str, Any]:
    """An answer with nothing in the object that a table is about."""
    if not level:
        return {"sessionJwt": "abc.def.ghi"}
    return {
        "sessionJwt": "abc.def.ghi",
        "user": {"userTenants": [{}]} if level == "user.userTenants[0]" else {},
        "idpResponse": {},
    }


def at(result: Any, level: str) -> Any:
    """The part of a result that a table is about."""
    match level:
        case "":
            return result
        case "user":
            return result.user
        case "idpResponse":
            return result.idp_response
        case _:
            return result.user.user_tenants[0]
