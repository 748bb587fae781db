"""What the stand-in says of itself, in OpenAPI's own terms."""

from typing import Final

from descope_native.testing._json import Json

START: Final = "/v1/auth/oauth/native/start"
FINISH: Final = "/v1/auth/oauth/native/finish"
REFRESH: Final = "/v1/auth/refresh"
LOGOUT: Final = "/v1/auth/logout"
ME: Final = "/v1/auth/me"
KEYS: Final = "/v2/keys/{projectId}"
HEALTH: Final = "/health"
SIGN_IN: Final = "/stand-in/sign-in"
PHONE: Final = "/stand-in/phone"
FAIL_NEXT: Final = "/stand-in/fail-next"
CALLS: Final = "/stand-in/calls"
RESET: Final = "/stand-in/reset"
DESCRIPTION: Final = "/stand-in/openapi.json"

_TEXT: Final[Json] = {"type": "string"}
_NAME: Final[Json] = {"type": "string", "minLength": 1}
_FLAG: Final[Json] = {"type": "boolean"}
_NUMBER: Final[Json] = {"type": "integer"}
_ANYTHING: Final[Json] = {"type": "object"}
_TEXTS: Final[Json] = {"type": "array", "items": _TEXT}


def _object(properties: Json, *required: str) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


def _whole(*groups: tuple[Json, str]) -> Json:
    """An object with all of these keys, said as a schema and the keys that have it."""
    properties = {key: schema for schema, keys in groups for key in keys.split()}
    return _object(properties, *properties)


_TENANT: Final = _whole((_TEXT, "tenantId tenantName"), (_TEXTS, "roleNames permissions"))
_USER: Final = _whole(
    (_TEXT, "userId name email phone status picture givenName middleName familyName"),
    (_TEXT, "recoveryEmail recoveryPhone"),
    (_FLAG, "verifiedEmail verifiedPhone test TOTP SAML webauthn password editable SCIM OIDC push"),
    (_FLAG, "verifiedRecoveryEmail verifiedRecoveryPhone"),
    (_NUMBER, "createdTime modifiedTime consentExpiration"),
    (_TEXTS, "loginIds roleNames externalIds ssoAppIds permissions"),
    ({"type": "array", "items": _TENANT}, "userTenants"),
    ({"type": "object", "additionalProperties": _FLAG}, "OAuth"),
    (_ANYTHING, "customAttributes"),
)
_IDP_RESPONSE: Final = _whole(
    (_TEXT, "samlResponse samlGeneratedUser samlGeneratedRoles"),
    (_TEXT, "oidcResponse oidcGeneratedUser oidcGeneratedRoles"),
    (_TEXTS, "idpGroups"),
    (_ANYTHING, "idpSAMLAttributes idpOIDCClaims"),
)
_SESSION: Final = _whole(
    (_TEXT, "sessionJwt refreshJwt cookieDomain cookiePath cookieName sessionCookieName sessionCookieDomain"),
    (_TEXT, "externalToken knownDeviceJwt trustedDeviceJwt tenantSSOID"),
    (_NUMBER, "cookieMaxAge cookieExpiration sessionExpiration nextRefreshSeconds"),
    (_FLAG, "firstSeen unsavedSSO"),
    (_ANYTHING, "claims"),
    (_USER, "user"),
    (_IDP_RESPONSE, "idpResponse"),
)
_ERROR: Final = _whole((_TEXT, "errorCode errorDescription errorMessage"))
_STARTED: Final = _whole((_TEXT, "clientId stateId nonce"), (_FLAG, "implicit"))
_PROOF: Final = _object(
    {"provider": _TEXT, "stateId": _TEXT, "code": _TEXT, "idToken": _TEXT, "user": _TEXT, "nonce": _TEXT},
    *("provider", "nonce"),
)

_PROVIDER: Final[Json] = {"type": "string", "pattern": "^[ -~]{1,100}$"}
_START_REQUEST: Final = _object(
    {"provider": _PROVIDER, "loginOptions": _ANYTHING, "implicit": _FLAG}, "provider"
)
_FINISH_REQUEST: Final = _object(
    {"provider": _NAME, "stateId": _NAME, "user": _TEXT | {"nullable": True}}, "provider", "stateId"
) | {
    "oneOf": [
        _object({"code": _NAME, "idToken": {"type": "string", "maxLength": 0}}, "code"),
        _object({"idToken": _NAME, "code": {"type": "string", "maxLength": 0}}, "idToken"),
    ]
}
_PERSON: Final[Json] = {"type": "object", "properties": {"email": _NAME, "name": _TEXT}}
_SIGN_IN_REQUEST: Final = _object({"provider": _PROVIDER, "implicit": _FLAG, "user": _PERSON})
_PHONE_REQUEST: Final = _object(
    {
        "clientId": _NAME,
        "nonce": _NAME,
        "implicit": _FLAG | {"nullable": True},
        "stateId": _TEXT | {"nullable": True},
        "user": _PERSON,
        "hashNonce": _FLAG,
        "sendNonce": _FLAG,
    },
    *("clientId", "nonce"),
)
_FAULT: Final = _object(
    {
        "delay": {"type": "number", "minimum": 0},
        "drop": {"type": "string", "enum": ["before", "after", "halfway"]},
        "status": {"type": "integer", "minimum": 200, "maximum": 599},
        "headers": {"type": "object", "additionalProperties": _TEXT},
        "body": _TEXT,
        "applied": _FLAG,
        "tokens": {"type": "string", "enum": ["body", "cookies"]},
        "fields": _ANYTHING,
    }
) | {"additionalProperties": False}


def openapi() -> Json:
    """An OpenAPI 3 description of everything that the stand-in serves."""
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "A stand-in for Descope's native sign-in",
            "version": "2",
            "description": f"{HEALTH} and what is below /stand-in/ is of the stand-in only. {_ABOUT_ERRORS}",
        },
        "components": {
            "securitySchemes": {
                "project": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": _ABOUT_BEARERS,
                }
            }
        },
        "paths": {
            START: {"post": _start()},
            FINISH: {
                "post": _operation(
                    *("finish", "Trade the proof for a session, once.", _SESSION, _FINISH_REQUEST, "401"),
                    headers=_DEVICE_HEADERS,
                )
            },
            REFRESH: {"post": _operation("refresh", "Another session token.", _SESSION, None, "401")},
            LOGOUT: {"post": _operation("logout", "End a session.", _ANYTHING, None, "401")},
            ME: {"get": _operation("me", "Whose session it is.", _USER, None, "401")},
            KEYS: {
                "get": {
                    **_operation("keys", "The keys that sign the tokens.", _whole((_OBJECTS, "keys"))),
                    "parameters": [{"name": "projectId", "in": "path", "required": True, "schema": _NAME}],
                }
            },
            HEALTH: {"get": _operation("health", "Whether it is ready.", _whole((_TEXT, "status")))},
            SIGN_IN: {"post": _sign_in()},
            PHONE: {"post": _phone()},
            FAIL_NEXT: {"post": _operation("failNext", "Spoil the next finish.", _ANYTHING, _FAULT, "409")},
            CALLS: {"get": _operation("calls", "The calls so far, masked.", _whole((_OBJECTS, "calls")))},
            RESET: {"post": _operation("reset", "Forget faults and calls.", _ANYTHING)},
            DESCRIPTION: {"get": _operation("openapi", "This description.", _ANYTHING)},
        },
    }


def _start() -> Json:
    start = _operation(
        *("start", "Begin a sign-in.", _STARTED, _START_REQUEST, "401"), headers=_DEVICE_HEADERS
    )
    start["responses"]["200"]["links"] = {
        "phone": {
            "operationId": "phone",
            "requestBody": {
                name: f"$response.body#/{name}" for name in ("clientId", "nonce", "implicit", "stateId")
            },
        }
    }
    return start


def _sign_in() -> Json:
    sign_in = _operation("signIn", "Start a sign-in and be the phone.", _PROOF, _SIGN_IN_REQUEST)
    sign_in["responses"]["200"]["links"] = _TO_FINISH
    return sign_in


def _phone() -> Json:
    summary = "Be the phone: with what start gave, sign in with the provider."
    phone = _operation("phone", summary, _PROOF, _PHONE_REQUEST, "409")
    phone["responses"]["200"]["links"] = _TO_FINISH
    return phone


_TO_FINISH: Final = {
    "finish": {
        "operationId": "finish",
        "requestBody": "$response.body",
        "x-schemathesis": {"merge_body": False},  # else it makes up a second proof beside this one
    }
}
_OBJECTS: Final[Json] = {"type": "array", "items": _ANYTHING}
_ABOUT_ERRORS: Final = "Every error that is not a fault on demand has a JSON body with an errorCode."
_ABOUT_BEARERS: Final = (
    "The project id; then, after a colon each, a refresh token (for step-up, and where a session is meant) "
    "and the auth management key, where there is one."
)
_DEVICE_HEADERS: Final = ("x-descope-known-device-token", "x-descope-trusted-device-token")
_REFUSALS: Final = {
    "400": "The request is malformed, or the code is spent, expired or wrong.",
    "401": "The project id or key is wrong, or the refresh token or a device token.",
    "403": "A page of another site asked.",
    "404": "There is no such path or project.",
    "405": "There is no such method.",
    "409": "No provider knows this client id, or too many faults are waiting.",
    "413": "The body is larger than 128 KiB.",
    "415": "The Content-Type is not application/json.",
    "421": "The Host is not one that is served.",
}


def _operation(
    name: str,
    summary: str,
    answer: Json,
    body: Json | None = None,
    *refusals: str,
    headers: tuple[str, ...] = (),
) -> Json:
    statuses = sorted({"403", "404", "405", "421", *refusals} | ({"400", "413", "415"} if body else set()))
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": _response("As wanted.", answer),
            **{status: _response(_REFUSALS[status], _ERROR) for status in statuses},
        },
    }
    if body:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if headers:
        operation["parameters"] = [{"name": name, "in": "header", "schema": _NAME} for name in headers]
    if "401" in refusals:
        operation["security"] = [{"project": []}]
    return operation


def _response(description: str, schema: Json) -> Json:
    return {
        "description": description,
        "headers": {"cf-ray": {"description": "The id of this exchange.", "schema": _TEXT}},
        "content": {"application/json": {"schema": schema}},
    }
