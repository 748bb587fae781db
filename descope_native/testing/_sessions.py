"""Sessions: their tokens, and the answers that carry them."""

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final, Literal

import attrs

from descope_native.testing._devices import KINDS, Devices
from descope_native.testing._json import Json, RefusedError, json_response
from descope_native.testing._settings import Settings, remember
from descope_native.testing._sign_ins import Finish
from descope_native.testing._users import made_user, with_name
from descope_native.transports import HttpResponse

_NO_IDP_RESPONSE: Final[Json] = {
    "samlResponse": "",
    "samlGeneratedUser": "",
    "samlGeneratedRoles": "",
    "oidcResponse": "",
    "oidcGeneratedUser": "",
    "oidcGeneratedRoles": "",
    "idpGroups": [],
    "idpSAMLAttributes": {},
    "idpOIDCClaims": {},
}


@attrs.frozen
class _Session:
    email: str
    expires: int


class Sessions:
    """Those that are open, and whose they are."""

    def __init__(self, settings: Settings, devices: Devices) -> None:
        self._settings = settings
        self._devices = devices
        self._users: dict[str, Json] = {}
        self._open: dict[str, _Session] = {}  # by refresh token

    def open(self, finish: Finish, recognized: Json, *, in_cookies: bool) -> HttpResponse:
        """A session for whom a provider vouches."""
        settings, grant, now = self._settings, finish.grant, self._settings.now()
        known = self._users.get(grant.described["email"])
        user = made_user(
            with_name(grant.described, finish.told, known) if grant.provider == "apple" else grant.described,
            known,
            user_id=f"U2{settings.secret(25)}",
            provider=grant.provider,
            now=now,
        )
        remember(self._users, user["email"], user)
        refresh = self._token("DSR", user, settings.refresh_lifetime)
        remember(self._open, refresh, _Session(user["email"], now + settings.refresh_lifetime))
        marks = self._devices.mark(recognized) if settings.device_tokens else {}
        return self._answer(user, refresh, marks, first_seen=known is None, in_cookies=in_cookies)

    def refresh(self, token: str, *, in_cookies: bool) -> HttpResponse:
        """A new session token beside the same refresh token."""
        user = self.user_of(token)
        return self._answer(user, token, {}, first_seen=False, in_cookies=in_cookies)

    def close(self, token: str, *, in_cookies: bool) -> HttpResponse:
        """Log out: the refresh token is worth nothing from now on."""
        self.user_of(token)
        del self._open[token]
        names = (self._session_cookie_name, self._refresh_cookie_name)
        return json_response({}, *(self._cookie(name, "", 0) for name in names if in_cookies))

    def user_of(self, token: str) -> Json:
        """Whose session it is, as the answer's ``user`` object has them."""
        session = self._open.get(token)
        user = self._users.get(session.email) if session else None
        if session is None or user is None:
            raise RefusedError(401, "E111119", "the bearer has no refresh token of an open session")
        if session.expires <= self._settings.now():
            raise RefusedError(401, "E062504", "the refresh token has expired")
        return user

    # --- answers

    @property
    def _session_cookie_name(self) -> str:
        return self._settings.session_cookie_name or "DS"

    @property
    def _refresh_cookie_name(self) -> str:
        return self._settings.refresh_cookie_name or "DSR"

    def _answer(
        self, user: Json, refresh: str, marks: Json, *, first_seen: bool, in_cookies: bool
    ) -> HttpResponse:
        settings, now = self._settings, self._settings.now()
        session = self._token("DS", user, settings.session_lifetime)
        expires = self._open[refresh].expires
        in_body: Json = {"sessionJwt": session, "refreshJwt": refresh, **dict.fromkeys(KINDS, ""), **marks}
        answer: Json = {
            **(dict.fromkeys(in_body, "") if in_cookies else in_body),
            "cookieDomain": settings.cookie_domain,
            "cookiePath": settings.cookie_path,
            "cookieMaxAge": expires - now,
            "cookieExpiration": expires,
            "user": user,
            "firstSeen": first_seen,
            "idpResponse": _NO_IDP_RESPONSE,
            "sessionExpiration": now + settings.session_lifetime,
            "nextRefreshSeconds": max(settings.session_lifetime - 20, 0),
            "cookieName": settings.refresh_cookie_name or "",
            "sessionCookieName": settings.session_cookie_name or "",
            "sessionCookieDomain": settings.cookie_domain,
            "externalToken": "",
            "tenantSSOID": "",
            "claims": {},
            "unsavedSSO": False,
        }
        cookies = [
            self._cookie(self._session_cookie_name, session, settings.session_lifetime),
            self._cookie(self._refresh_cookie_name, refresh, expires - now),
            *(self._cookie(KINDS[key][0], mark, settings.refresh_lifetime) for key, mark in marks.items()),
        ]
        return json_response(answer, *(cookies if in_cookies else []))

    def _token(self, kind: Literal["DS", "DSR"], user: Json, lifetime: int) -> str:
        now = self._settings.now()
        rexp = datetime.fromtimestamp(now + self._settings.refresh_lifetime, UTC)
        tenants = {
            tenant["tenantId"]: {"roles": tenant["roleNames"], "permissions": tenant["permissions"]}
            for tenant in user["userTenants"]
        }
        return self._settings.signer.encode(
            {
                "amr": ["oauth"],
                "drn": kind,
                "exp": now + lifetime,
                "iat": now,
                "iss": self._settings.project_id,
                "jti": self._settings.secret(22),
                "permissions": user["permissions"],
                "rexp": f"{rexp:%Y-%m-%dT%H:%M:%SZ}",
                "roles": user["roleNames"],
                "sub": user["userId"],
                "tenants": tenants,
            }
        )

    def _cookie(self, name: str, token: str, lifetime: int) -> tuple[str, str]:
        settings = self._settings
        expires = format_datetime(datetime.fromtimestamp(settings.now() + lifetime, UTC), usegmt=True)
        domain = f"; Domain={settings.cookie_domain}" if settings.cookie_domain else ""
        value = f"{name}={token}; Path={settings.cookie_path}{domain}; Expires={expires}; Max-Age={lifetime}"
        return "Set-Cookie", f"{value}; HttpOnly; Secure; SameSite=None"
