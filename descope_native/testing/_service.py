"""The stand-in itself: what it remembers, and what it answers."""

import asyncio
import json
import random
import string
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from copy import deepcopy
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final, Literal

import attrs

from descope_native.testing._openapi import openapi
from descope_native.testing._records import Call, DroppedError, Fault, Proof
from descope_native.testing._tokens import Json, Signer, make_signer
from descope_native.transports import HttpRequest, HttpResponse

START: Final = "/v1/auth/oauth/native/start"
FINISH: Final = "/v1/auth/oauth/native/finish"
KEYS: Final = "/v2/keys/"
SIGN_IN: Final = "/stand-in/sign-in"
DESCRIPTION: Final = "/stand-in/openapi.json"

_MASK: Final = "[masked]"
_HARMLESS_KEYS: Final = {"provider", "implicit"}
_HARMLESS_HEADERS: Final = {
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
}
_ALPHABET: Final = string.ascii_letters + string.digits
_NO_FAULT: Final = Fault()


class FakeDescope:
    """Descope's native sign-in without Descope.

    A handler for ``InMemoryTransport``; `serve` puts the same thing on a socket. It keeps one project's
    sign-ins and users in memory. A finish that is well-formed spends the state it names, whether or not
    it gets a session.

    Tokens are signed (RS256, one key per process) where joserfc is installed, which the extra ``testing``
    brings; without it they are unsecured JWTs, which say so in their header, and the key set is empty.

    Args:
        project_id: the one project it knows.
        auth_management_key: what requests must have beside the project id, if anything.
        tokens: where the answer has them: ``"body"``, or ``"cookies"`` only.
        session_cookie_name: instead of ``DS``; then the answer names it.
        refresh_cookie_name: instead of ``DSR``; then the answer names it.
        cookie_domain: for the cookies and the answer; none if empty.
        cookie_path: likewise.
        state_lifetime: seconds from start to finish.
        session_lifetime: seconds.
        refresh_lifetime: seconds.
        clock: tells unix seconds.
        seed: makes ids, states and codes the same each time. Random ones that nobody can guess, unless given.

    Attributes:
        calls: each request it got, secrets masked, in order.
    """

    def __init__(
        self,
        project_id: str = "P2fakeProject0000000000000000",
        *,
        auth_management_key: str | None = None,
        tokens: Literal["body", "cookies"] = "body",
        session_cookie_name: str | None = None,
        refresh_cookie_name: str | None = None,
        cookie_domain: str = "",
        cookie_path: str = "/",
        state_lifetime: float = 600.0,
        session_lifetime: int = 600,
        refresh_lifetime: int = 2_419_200,
        clock: Callable[[], float] = time.time,
        seed: int | None = None,
    ) -> None:
        self.project_id = project_id
        self.calls: list[Call] = []
        self._bearer = f"Bearer {project_id}:{auth_management_key}" if auth_management_key else f"Bearer {project_id}"
        self._tokens = tokens
        self._session_cookie_name = session_cookie_name
        self._refresh_cookie_name = refresh_cookie_name
        self._cookie_domain = cookie_domain
        self._cookie_path = cookie_path
        self._state_lifetime = state_lifetime
        self._session_lifetime = session_lifetime
        self._refresh_lifetime = refresh_lifetime
        self._clock = clock
        self._random = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311 -- asked for
        self._signer: Signer | None = None
        self._states: dict[str, _State] = {}
        self._users: dict[str, Json] = {}
        self._told_by_apple: set[str] = set()
        self._next_faults: list[Fault] = []
        self._rules: list[tuple[Callable[[HttpRequest], bool], Fault]] = []
        self._routes: dict[str, tuple[str, Callable[[HttpRequest, bool], HttpResponse]]] = {
            START: ("POST", self._start),
            FINISH: ("POST", self._finish),
            KEYS + project_id: ("GET", self._keys),
            SIGN_IN: ("POST", self._sign_in),
            DESCRIPTION: ("GET", self._openapi),
        }

    def __repr__(self) -> str:
        return f"<FakeDescope {self.project_id}, {len(self.calls)} calls>"

    # --- the phone

    def sign_in(
        self,
        provider: str | None = None,
        *,
        email: str = "ada@example.com",
        name: str = "Ada Lovelace",
        state_id: str | None = None,
        implicit: bool | None = None,
        user: Mapping[str, Any] | None = None,
    ) -> Proof:
        """Be the phone: sign in with the provider, and return what the app then has.

        Args:
            provider: ``google`` unless given. Apple tells its app the name only the first time.
            email: who the user is; the same email is the same user.
            name: given names first, family name last.
            state_id: from an earlier ``/v1/auth/oauth/native/start``, which this call makes if it is not given.
            implicit: whether an id token comes, or a code. Google: always an id token. Else a code, unless given.
            user: more of the answer's ``user`` object, under its wire names.

        Raises:
            ValueError: the state is unknown, or for another provider.
        """
        if state_id is None:
            state_id, state = self._begin(provider or "google", implicit=bool(implicit))
        elif state_id not in self._states:
            raise ValueError("no sign-in has this state")
        else:
            state = self._states[state_id]
            if provider not in {None, state.provider} or implicit not in {None, state.implicit}:
                raise ValueError("the sign-in was started differently")
        given, _, family = name.rpartition(" ")
        profile = {"name": name, "givenName": given or family, "familyName": family if given else ""}
        state.user = {**profile, **(user or {}), "email": email}
        if state.implicit:
            state.id_token = self._sign(self._id_token_claims(state))
        else:
            state.code = self._secret(43)
        return Proof(
            provider=state.provider,
            state_id=state_id,
            code=state.code,
            id_token=state.id_token,
            nonce=state.nonce,
            user=self._told_name(state),
        )

    def _begin(self, provider: str, *, implicit: bool) -> "tuple[str, _State]":
        state_id = self._secret(32)
        state = self._states[state_id] = _State(
            provider=provider,
            implicit=implicit or provider == "google",
            nonce=self._secret(24),
            expires=self._clock() + self._state_lifetime,
        )
        return state_id, state

    def _told_name(self, state: "_State") -> str | None:
        if state.provider != "apple" or state.user["email"] in self._told_by_apple:
            return None
        self._told_by_apple.add(state.user["email"])
        parts = {"firstName": "givenName", "middleName": "middleName", "lastName": "familyName"}
        told = {part: state.user[key] for part, key in parts.items() if state.user.get(key)}
        return json.dumps({"name": told}, ensure_ascii=False)

    # --- faults

    def fail_next(self, *faults: Fault) -> None:
        """Let the next finish calls fail, one for each fault, before any rule."""
        self._next_faults += faults

    def fail_when(self, predicate: Callable[[HttpRequest], bool], fault: Fault) -> None:
        """Let every call fail of which the predicate is true, the oldest rule first."""
        self._rules.append((predicate, fault))

    def mend(self) -> None:
        """Forget all faults."""
        self._next_faults.clear()
        self._rules.clear()

    def _fault_for(self, request: HttpRequest) -> Fault:
        if self._next_faults and request.url.path == FINISH:
            return self._next_faults.pop(0)
        return next((fault for applies, fault in self._rules if applies(request)), _NO_FAULT)

    # --- the service

    def serve(self, host: str = "localhost", port: int = 0) -> AbstractAsyncContextManager[str]:
        """An async context manager that serves over HTTP and gives the base URL.

        Args:
            host: a name or an address; every address that the name has is listened on.
            port: 0 for a free one.
        """
        from descope_native.testing._server import serve  # noqa: PLC0415 -- loads aiohttp

        return serve(self, host, port)

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, or raise ``ConnectionResetError`` where a fault drops the connection."""
        fault = self._fault_for(request)
        in_cookies = (fault.tokens or self._tokens) == "cookies"
        answer = self._answer(request, in_cookies) if fault.takes_effect else HttpResponse(0)
        if fault.status is not None:
            answer = HttpResponse(fault.status, fault.headers, fault.body)
        if fault.fields:
            answer = attrs.evolve(answer, body=_dump(_merge(json.loads(answer.body), fault.fields)))
        if fault.status is None:
            answer = attrs.evolve(answer, headers=(*answer.headers, ("cf-ray", f"{self._secret(16)}-FAKE")))
        dropped = fault.drop in {"before", "after"}
        self.calls.append(_record(request, None if dropped else answer.status))
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if dropped:
            raise DroppedError
        if fault.drop:
            request.progress.phase = "read"
            raise DroppedError(answer)
        return answer

    def _answer(self, request: HttpRequest, in_cookies: bool) -> HttpResponse:
        try:
            method, respond = self._routes[request.url.path]
        except KeyError:
            return _error(404, "E011003", "no such path")
        if request.method != method:
            answer = _error(405, "E011003", f"{method} it, please")
            return attrs.evolve(answer, headers=(*answer.headers, ("Allow", method)))
        try:
            return respond(request, in_cookies)
        except _RefusedError as refusal:
            return _error(refusal.status, refusal.code, refusal.message)

    def _start(self, request: HttpRequest, _: bool) -> HttpResponse:
        self._authorize(request)
        body = _json_object(request.body)
        _optional(body, "loginOptions", dict)
        implicit = _optional(body, "implicit", bool)
        state_id, state = self._begin(_required(body, "provider"), implicit=bool(implicit))
        return _ok(
            {
                "clientId": f"com.example.{state.provider}",
                "stateId": state_id,
                "nonce": state.nonce,
                "implicit": state.implicit,
            }
        )

    def _finish(self, request: HttpRequest, in_cookies: bool) -> HttpResponse:
        self._authorize(request)
        body = _json_object(request.body)
        provider, state_id = _required(body, "provider"), _required(body, "stateId")
        proof = {key: _optional(body, key, str) for key in ("code", "idToken")}
        told = _told_name(_optional(body, "user", str))
        if all(proof.values()):
            raise _RefusedError(400, "E011003", "code or idToken, not both")
        if not any(proof.values()):
            raise _RefusedError(400, "E011002", "code or idToken is missing")
        state = self._states.pop(state_id, None)
        if state is None:
            raise _RefusedError(400, "E061301", "the state is unknown, or spent")
        if state.expires <= self._clock():
            raise _RefusedError(400, "E061301", "the sign-in has expired")
        if state.provider != provider:
            raise _RefusedError(400, "E061301", "the sign-in is with another provider")
        if proof != {"code": state.code, "idToken": state.id_token}:
            raise _RefusedError(400, "E061301", "the provider does not know this proof")
        return self._session(state, told, in_cookies)

    def _session(self, state: "_State", told: Json, in_cookies: bool) -> HttpResponse:
        now = int(self._clock())
        email = state.user["email"]
        first_seen = email not in self._users
        user = self._users[email] = self._user(state, told, self._users.get(email), now)
        session, refresh = self._session_tokens(user, now)
        answer = {
            "sessionJwt": "" if in_cookies else session,
            "refreshJwt": "" if in_cookies else refresh,
            "cookieDomain": self._cookie_domain,
            "cookiePath": self._cookie_path,
            "cookieMaxAge": self._refresh_lifetime,
            "cookieExpiration": now + self._refresh_lifetime,
            "user": user,
            "firstSeen": first_seen,
            "idpResponse": {
                "samlResponse": "",
                "samlGeneratedUser": "",
                "samlGeneratedRoles": "",
                "oidcResponse": "",
                "oidcGeneratedUser": "",
                "oidcGeneratedRoles": "",
                "idpGroups": [],
                "idpSAMLAttributes": {},
                "idpOIDCClaims": {},
            },
            "sessionExpiration": now + self._session_lifetime,
            "nextRefreshSeconds": max(self._session_lifetime - 20, 0),
            "cookieName": self._refresh_cookie_name or "",
            "sessionCookieName": self._session_cookie_name or "",
            "sessionCookieDomain": self._cookie_domain,
            "externalToken": "",
            "trustedDeviceJwt": "",
            "tenantSSOID": "",
            "claims": {},
            "unsavedSSO": False,
        }
        cookies = (
            self._cookie(self._session_cookie_name or "DS", session, now, self._session_lifetime),
            self._cookie(self._refresh_cookie_name or "DSR", refresh, now, self._refresh_lifetime),
        )
        return _ok(answer, cookies if in_cookies else ())

    def _user(self, state: "_State", told: Json, known: Json | None, now: int) -> Json:
        described = deepcopy(state.user)
        if state.provider == "apple":  # its id tokens hold no name
            for key in ("name", "givenName", "middleName", "familyName"):
                described.pop(key, None)
            described |= told
        blank = {
            "loginIds": [described["email"]],
            "userId": f"U2{self._secret(25)}",
            "name": "",
            "email": "",
            "phone": "",
            "verifiedEmail": True,
            "verifiedPhone": False,
            "roleNames": [],
            "userTenants": [],
            "status": "enabled",
            "externalIds": [described["email"]],
            "picture": "",
            "test": False,
            "customAttributes": {},
            "createdTime": now,
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
            "modifiedTime": now,
            "consentExpiration": 0,
            "recoveryEmail": "",
            "recoveryPhone": "",
            "verifiedRecoveryEmail": False,
            "verifiedRecoveryPhone": False,
        }
        user = {**blank, **(known or {}), **described}
        return {**user, "OAuth": {**user["OAuth"], state.provider: True}}

    def _session_tokens(self, user: Json, now: int) -> tuple[str, str]:
        common = {
            "amr": ["oauth"],
            "iat": now,
            "iss": self.project_id,
            "sub": user["userId"],
            "rexp": datetime.fromtimestamp(now + self._refresh_lifetime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tenants": {
                tenant["tenantId"]: {
                    "roles": tenant.get("roleNames", []),
                    "permissions": tenant.get("permissions", []),
                }
                for tenant in user["userTenants"]
            },
            "roles": user["roleNames"],
            "permissions": user["permissions"],
        }
        return (
            self._sign({**common, "drn": "DS", "exp": now + self._session_lifetime}),
            self._sign({**common, "drn": "DSR", "exp": now + self._refresh_lifetime}),
        )

    def _cookie(self, name: str, token: str, now: int, lifetime: int) -> tuple[str, str]:
        expires = format_datetime(datetime.fromtimestamp(now + lifetime, UTC), usegmt=True)
        domain = f"; Domain={self._cookie_domain}" if self._cookie_domain else ""
        return (
            "Set-Cookie",
            f"{name}={token}; Path={self._cookie_path}{domain}; Expires={expires}; Max-Age={lifetime}"
            "; HttpOnly; Secure; SameSite=None",
        )

    def _keys(self, _: HttpRequest, __: bool) -> HttpResponse:
        return _ok({"keys": self._ready_signer().keys})

    def _sign_in(self, request: HttpRequest, _: bool) -> HttpResponse:
        body = _json_object(request.body)
        user = _optional(body, "user", dict) or {}
        names = {key: _required(user, key) for key in ("email", "name") if key in user}
        try:
            proof = self.sign_in(
                _optional(body, "provider", str),
                state_id=_optional(body, "stateId", str),
                implicit=_optional(body, "implicit", bool),
                user=user,
                **names,
            )
        except ValueError as error:
            raise _RefusedError(400, "E011004", str(error)) from None
        return _ok({**proof.as_json(), "nonce": proof.nonce})

    def _openapi(self, _: HttpRequest, __: bool) -> HttpResponse:
        return _ok(openapi())

    def _authorize(self, request: HttpRequest) -> None:
        if _header(request, "authorization") != self._bearer:
            raise _RefusedError(401, "E111119", "unauthorized")

    # --- secrets

    def _secret(self, length: int) -> str:
        return "".join(self._random.choices(_ALPHABET, k=length))

    def _ready_signer(self) -> Signer:
        if self._signer is None:
            self._signer = make_signer()
        return self._signer

    def _sign(self, claims: Json) -> str:
        return self._ready_signer().encode({**claims, "jti": self._secret(22)})

    def _id_token_claims(self, state: "_State") -> Json:
        now = int(self._clock())
        return {
            "iss": f"https://{state.provider}.example.com",
            "aud": f"com.example.{state.provider}",
            "sub": state.user["email"],
            "email": state.user["email"],
            "nonce": state.nonce,
            "iat": now,
            "exp": now + 3600,
        }


@attrs.define(kw_only=True)
class _State:
    """A sign-in between start and finish."""

    provider: str
    implicit: bool
    nonce: str
    expires: float
    user: Json = attrs.field(factory=dict)
    code: str | None = None
    id_token: str | None = None


class _RefusedError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message


# --- JSON, in and out


def _json_object(body: bytes) -> Json:
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _RefusedError(400, "E011001", "the body is not a JSON object")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _optional(body: Json, key: str, kind: type[Any]) -> Any:
    value = body.get(key)
    if key in body and not isinstance(value, kind):
        raise _RefusedError(400, "E011001", f"{key} has the wrong type")
    return value


def _required(body: Json, key: str) -> str:
    value: str = _optional(body, key, str)
    if not value:
        raise _RefusedError(400, "E011002", f"{key} is missing")
    return value


def _told_name(text: str | None) -> Json:
    """The name parts of Apple's JSON text, under the answer's names."""
    if text is None:
        return {}
    try:
        name = json.loads(text)["name"]
        parts = {
            "givenName": name.get("firstName", ""),
            "middleName": name.get("middleName", ""),
            "familyName": name.get("lastName", ""),
        }
        return {"name": " ".join(part for part in parts.values() if part), **parts}
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise _RefusedError(400, "E011004", "user is not the JSON text of a name") from None


def _ok(answer: Json, headers: tuple[tuple[str, str], ...] = ()) -> HttpResponse:
    return HttpResponse(200, (("Content-Type", "application/json"), *headers), _dump(answer))


def _error(status: int, code: str, message: str) -> HttpResponse:
    error = {"errorCode": code, "errorDescription": _DESCRIPTIONS[code], "errorMessage": message}
    return HttpResponse(status, (("Content-Type", "application/json"),), _dump(error))


_DESCRIPTIONS: Final = {
    "E011001": "Request is malformed",
    "E011002": "Request is missing required arguments",
    "E011003": "Request is invalid",
    "E011004": "Request has an invalid argument",
    "E061301": "Failed to exchange code",
    "E111119": "Unauthorized",
}


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _merge(into: Any, fields: Mapping[str, Any]) -> Json:
    merged = dict(into) if isinstance(into, dict) else {}
    for key, value in fields.items():
        merged[key] = _merge(merged.get(key), value) if isinstance(value, Mapping) else value
    return merged


# --- the record


def _record(request: HttpRequest, status: int | None) -> Call:
    try:
        body = _json_object(request.body)
    except _RefusedError:
        body = None
    return Call(
        method=request.method,
        path=request.url.path,
        headers=tuple((name, _masked_header(name, value)) for name, value in request.headers.items()),
        body=body and {key: value if key in _HARMLESS_KEYS else _MASK for key, value in body.items()},
        status=status,
    )


def _masked_header(name: str, value: str) -> str:
    name = name.lower()
    return value if name in _HARMLESS_HEADERS or name.startswith("x-descope-sdk-") else _MASK


def _header(request: HttpRequest, name: str) -> str | None:
    return next((value for key, value in request.headers.items() if key.lower() == name), None)
