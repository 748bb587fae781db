"""The answer that is measured: the documented sample, with tokens of realistic length and two tenants."""

import base64
import json
import random
from typing import Any, Final

PATH: Final = "/v1/auth/oauth/native/finish"

TENANT: Final = {"tenantId": "T2abcdefghijklmnopqrstuvwxyz01", "tenantName": "Acme", "roleNames": ["Admin"]}


def token(length: int, seed: int) -> str:
    """Something of a JWT's shape: three parts of base64url."""
    text = base64.urlsafe_b64encode(random.Random(seed).randbytes(length)).decode()[: length - 2]
    return f"{text[:90]}.{text[90:-342]}.{text[-342:]}"  # an RS256 signature is 342 long


def answer() -> dict[str, Any]:
    """About 2.7 kB of JSON."""
    return {
        "sessionJwt": token(960, seed=1),
        "refreshJwt": token(700, seed=2),
        "cookieDomain": "",
        "cookiePath": "/",
        "cookieMaxAge": 2419199,
        "cookieExpiration": 1760000000,
        "user": {
            "loginIds": ["ada@example.com"],
            "userId": "U2abcdefghijklmnopqrstuvwxyz01",
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "phone": "",
            "verifiedEmail": True,
            "verifiedPhone": False,
            "roleNames": ["Tenant Admin"],
            "userTenants": [TENANT, {**TENANT, "tenantName": "Globex"}],
            "status": "enabled",
            "externalIds": ["ada@example.com"],
            "picture": "https://lh3.googleusercontent.com/a/photo=s96-c",
            "test": False,
            "customAttributes": {},
            "createdTime": 1750000000,
            "TOTP": False,
            "SAML": False,
            "OAuth": {"google": True, "apple": False},
            "webauthn": False,
            "password": False,
            "ssoAppIds": ["app"],
            "givenName": "Ada",
            "middleName": "",
            "familyName": "Lovelace",
            "editable": True,
        },
        "firstSeen": True,
        "idpResponse": {
            "samlResponse": "",
            "samlGeneratedUser": "",
            "samlGeneratedRoles": "",
            "oidcResponse": "",
            "oidcGeneratedUser": "",
            "oidcGeneratedRoles": "",
        },
    }


def as_body(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


ID_TOKEN: Final = token(1100, seed=3)
REQUEST: Final = {"provider": "google", "stateId": "0a1b2c3d4e5f60718293", "idToken": ID_TOKEN}

START_PATH: Final = "/v1/auth/oauth/native/start"
START_ANSWER: Final = {
    "clientId": "1234567890-0a1b2c3d4e5f6071829300112233.apps.googleusercontent.com",
    "stateId": "0a1b2c3d4e5f60718293",
    "nonce": "b1946ac92492d2347c6235b4d2611184",
    "implicit": True,
    "errorId": "",
}
