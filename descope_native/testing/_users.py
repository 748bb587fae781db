"""The people of the stand-in, as the answer's ``user`` object has them."""

import json
from collections.abc import Mapping
from typing import Any, Final

from descope_native.testing._json import Json, RefusedError, as_object, check_text, parse_object

_BLANK: Final[Json] = {
    "loginIds": [],
    "userId": "",
    "name": "",
    "email": "",
    "phone": "",
    "verifiedEmail": True,
    "verifiedPhone": False,
    "roleNames": [],
    "userTenants": [],
    "status": "enabled",
    "externalIds": [],
    "picture": "",
    "test": False,
    "customAttributes": {},
    "createdTime": 0,
    "TOTP": False,
    "SAML": False,
    "OAuth": {},
    "webauthn": False,
    "password": False,
    "ssoAppIds": [],
    "givenName": "",
    "middleName": "",
    "familyName": "",
    "editable": True,
    "SCIM": False,
    "OIDC": False,
    "push": False,
    "permissions": [],
    "modifiedTime": 0,
    "consentExpiration": 0,
    "recoveryEmail": "",
    "recoveryPhone": "",
    "verifiedRecoveryEmail": False,
    "verifiedRecoveryPhone": False,
}
_BLANK_TENANT: Final[Json] = {"tenantId": "", "tenantName": "", "roleNames": [], "permissions": []}
_TEXTS: Final = {"loginIds", "roleNames", "externalIds", "ssoAppIds", "permissions"}
_APPLE_PARTS: Final = {"firstName": "givenName", "middleName": "middleName", "lastName": "familyName"}
_NOT_GIVEN: Final = (None, "")  # as some apps spell it


def describe(email: str, name: str, user: Mapping[str, Any]) -> Json:
    """What a provider says of a user. Refuses what cannot be said in the answer."""
    try:
        described: Json = {"email": email, "name": name, **json.loads(json.dumps(user))}
    except (TypeError, ValueError, RecursionError):
        raise _refusal("user", "is not JSON") from None
    check_text(described, "user")
    _check(described, _BLANK, "user")
    if not described["email"]:
        raise _refusal("user.email", "is empty")
    described["userTenants"] = [_tenant(tenant) for tenant in described.get("userTenants", [])]
    given, _, family = described["name"].rpartition(" ")
    return {"givenName": given or family, "familyName": family if given else "", **described}


def _tenant(described: Any) -> Json:
    _check(described, _BLANK_TENANT, "user.userTenants")
    return {**_BLANK_TENANT, **described}


def _check(value: Any, blank: Json, where: str) -> None:
    described = as_object(value)
    if described is None:
        raise _refusal(where, "holds something else than objects")
    given = {**blank, **described}
    for key, usual in blank.items():
        if type(given[key]) is not type(usual) or (key in _TEXTS and not _are_texts(given[key])):
            raise _refusal(f"{where}.{key}", "has the wrong type")


def _refusal(where: str, problem: str) -> RefusedError:
    return RefusedError(400, "E011004", f"{where} {problem}")


def _are_texts(items: list[Any]) -> bool:
    return all(isinstance(item, str) for item in items)


def made_user(described: Json, known: Json | None, *, user_id: str, provider: str, now: int) -> Json:
    """The user after a sign-in, known already or new."""
    new = {
        **_BLANK,
        "loginIds": [described["email"]],
        "externalIds": [described["email"]],
        "userId": user_id,
        "createdTime": now,
    }
    user: Json = {**new, **(known or {}), "modifiedTime": now, **described}
    return {**user, "OAuth": {**user["OAuth"], provider: True}}


# --- Apple tells a user's name once, to the app and not in the id token


def without_name(described: Json) -> Json:
    """What Apple tells the service."""
    untold = {"name", *_APPLE_PARTS.values()}
    return {key: value for key, value in described.items() if key not in untold}


def apple_user_json(described: Json) -> str | None:
    """The JSON text that Apple hands to the app, if it knows a name."""
    told = {part: described[key] for part, key in _APPLE_PARTS.items() if described.get(key)}
    return json.dumps({"name": told}, ensure_ascii=False) if told else None


def parse_apple_user_json(text: str) -> Json:
    """The parts of a name that the app passed on, under the answer's names; there may be none."""
    user = {} if text.strip() in {"", "null"} else parse_object(text)
    name = None if user is None else as_object({} if user.get("name") in _NOT_GIVEN else user["name"])
    told = {key: (name or {}).get(part) for part, key in _APPLE_PARTS.items()}
    given = {key: value for key, value in told.items() if value not in _NOT_GIVEN}
    if name is None or not _are_texts([*given.values()]):
        raise RefusedError(400, "E011004", "user is not the JSON text of a name")
    check_text(given, "user")
    return given


def with_name(described: Json, told: Json, known: Json | None) -> Json:
    """What the service knows after an app passed this on: a part that is not told again stays."""
    if not told:
        return without_name(described)
    parts = {key: told.get(key) or (known or {}).get(key, "") for key in _APPLE_PARTS.values()}
    return {**without_name(described), **parts, "name": " ".join(filter(None, parts.values()))}
