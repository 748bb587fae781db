"""The stand-in itself: what it remembers, and what it answers."""

import asyncio
import json
import random
import string
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cached_property
from types import NoneType
from typing import Any, Final, Literal

import attrs

from descope_native.testing._json import (
    Json,
    RefusedError,
    dump,
    json_response,
    merge,
    optional,
    read_object,
    required,
)
from descope_native.testing._openapi import (
    CALLS,
    DESCRIPTION,
    FAIL_NEXT,
    FINISH,
    KEYS,
    SIGN_IN,
    START,
    openapi,
)
from descope_native.testing._records import Call, DroppedError, Fault, Proof, read_fault, record
from descope_native.testing._tokens import Signer, make_signer
from descope_native.testing._users import (
    apple_user_json,
    check_text,
    describe,
    made_user,
    parse_apple_user_json,
    with_name,
)
from descope_native.transports import HttpRequest, HttpResponse

_ALPHABET: Final = string.ascii_letters + string.digits
_NO_FAULT: Final = Fault()


class FakeDescope:
    """Descope's native sign-in without Descope.

    A handler for ``InMemoryTransport``; `serve` puts the same thing on a socket. It keeps one project's
    sign-ins and users in memory. Any well-formed finish spends the state that it names, whether or not it
    gets a session for it.

    Tokens are signed (RS256, one key per process) where joserfc is installed, which the extra ``testing``
    brings. Without it they are unsecured JWTs, which say so in their header, and the key set is empty.

    Args:
        project_id: the one project that it knows.
        auth_management_key: what requests must have beside the project id, if anything.
        tokens: where an answer has them: ``"body"``, or ``"cookies"`` only.
        session_cookie_name: instead of ``DS``; then the answer names it.
        refresh_cookie_name: instead of ``DSR``; then the answer names it.
        cookie_domain: of the cookies; the host's own if empty.
        cookie_path: of the cookies.
        state_lifetime: seconds from start to finish.
        session_lifetime: seconds that a session token is valid for.
        refresh_lifetime: seconds that a refresh token and its cookie are valid for.
        clock: tells unix seconds.
        seed: makes ids, states and codes the same each time, instead of secrets that nobody can guess.

    Raises:
        ValueError: ``tokens`` is neither of the two.

    Attributes:
        project_id: as given.
        calls: the requests that it got, secrets masked, in order.
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
        if tokens not in {"body", "cookies"}:
            raise ValueError("tokens is 'body' or 'cookies'")
        self.project_id = project_id
        self.calls: list[Call] = []
        credentials = f"{project_id}:{auth_management_key}" if auth_management_key else project_id
        self._authorization = f"Bearer {credentials}"
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
        self._states: dict[str, _State] = {}
        self._users: dict[str, Json] = {}
        self._told_by_apple: set[str] = set()
        self._next_faults: list[Fault] = []
        self._rules: list[tuple[Callable[[HttpRequest], bool], Fault]] = []
        self._routes: dict[str, tuple[str, Callable[[HttpRequest, Fault], HttpResponse]]] = {
            START: ("POST", self._start),
            FINISH: ("POST", self._finish),
            KEYS.format(projectId=project_id): ("GET", self._keys),
            SIGN_IN: ("POST", self._sign_in),
            FAIL_NEXT: ("POST", self._fail_next),
            CALLS: ("GET", self._list_calls),
            DESCRIPTION: ("GET", self._describe_itself),
        }

    def __repr__(self) -> str:
        return f"<FakeDescope {self.project_id}, {len(self.calls)} calls>"

    def serve(self, host: str = "localhost", port: int = 0) -> AbstractAsyncContextManager[str]:
        """An async context manager that serves over HTTP and gives the base URL.

        Args:
            host: a name or an address; every address of a name is listened on.
            port: 0 for a free one.
        """
        from descope_native.testing._server import serve  # noqa: PLC0415 -- loads aiohttp

        return serve(self, host, port)

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
            provider: ``google`` unless given. Apple tells a user's name the first time only.
            email: who the user is: the same email is the same user.
            name: given names first, family name last.
            state_id: from an earlier ``/v1/auth/oauth/native/start``. Without it, this call starts too.
            implicit: whether the app gets an id token or a code. From Google it is always an id token,
                from others a code unless given.
            user: more of the answer's ``user`` object, under its wire names.

        Raises:
            ValueError: ``user`` cannot be in an answer; the state is unknown, or was started otherwise.
        """
        described = describe(email, name, user or {})
        if state_id is None:
            state_id = self._begin(provider or "google", implicit=bool(implicit))
        state = self._states.get(state_id)
        if state is None:
            raise RefusedError(409, "E011004", "no sign-in has this state")
        if provider not in {None, state.provider} or (implicit and not state.implicit):
            raise RefusedError(409, "E011004", "the sign-in was started otherwise")
        state.described = described
        if state.implicit:
            state.id_token = self._id_token(state)
        else:
            state.code = self._secret(43)
        return Proof(
            provider=state.provider,
            state_id=state_id,
            code=state.code,
            id_token=state.id_token,
            nonce=state.nonce,
            user=self._apple_user_json_once(state),
        )

    def _begin(self, provider: str, *, implicit: bool) -> str:
        check_text(provider, "provider")
        state_id = self._secret(32)
        self._states[state_id] = _State(
            provider=provider,
            implicit=implicit or provider == "google",
            nonce=self._secret(24),
            expires=self._clock() + self._state_lifetime,
        )
        return state_id

    def _apple_user_json_once(self, state: "_State") -> str | None:
        email = state.described["email"]
        if state.provider != "apple" or email in self._told_by_apple:
            return None
        self._told_by_apple.add(email)
        return apple_user_json(state.described)

    # --- faults

    def fail_next(self, *faults: Fault) -> None:
        """Let the next finish calls go wrong, one for each fault, whatever the rules say."""
        self._next_faults += faults

    def fail_when(self, predicate: Callable[[HttpRequest], bool], fault: Fault) -> None:
        """Let every call go wrong of which the predicate is true; the oldest rule first."""
        self._rules.append((predicate, fault))

    def mend(self) -> None:
        """Forget all faults."""
        self._next_faults.clear()
        self._rules.clear()

    def _fault_for(self, request: HttpRequest) -> Fault:
        if self._next_faults and request.url.path == FINISH:
            return self._next_faults.pop(0)
        return next((fault for predicate, fault in self._rules if predicate(request)), _NO_FAULT)

    # --- the service

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer; where a fault drops the connection, raise ``ConnectionResetError``."""
        fault = self._fault_for(request)
        own_answer = self._answer(request, fault) if fault.takes_effect else None
        if fault.drop in {"before", "after"}:
            answer = None
        elif fault.status is not None:
            answer = HttpResponse(fault.status, fault.headers, fault.body)
        else:
            answer = own_answer
        if answer is not None and fault.fields:
            answer = attrs.evolve(answer, body=dump(merge(json.loads(answer.body), fault.fields)))
        self.calls.append(record(request, None if answer is None else answer.status))
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if answer is None or fault.drop:
            request.progress.phase = "read" if answer else "wait"
            raise DroppedError(answer)
        return answer

    def _answer(self, request: HttpRequest, fault: Fault) -> HttpResponse:
        trace_id = ("cf-ray", f"{self._secret(16)}-FAKE")
        route = self._routes.get(request.url.path)
        if route is None:
            return RefusedError(404, "E011003", "there is no such path").as_response(trace_id)
        method, respond = route
        if request.method != method:
            refusal = RefusedError(405, "E011003", f"the method is {method}")
            return refusal.as_response(trace_id, ("Allow", method))
        try:
            answer = respond(request, fault)
        except RefusedError as refusal:
            return refusal.as_response(trace_id)
        return attrs.evolve(answer, headers=(*answer.headers, trace_id))

    def _authorize(self, request: HttpRequest) -> None:
        given = [value for name, value in request.headers.items() if name.lower() == "authorization"]
        if given != [self._authorization]:
            raise RefusedError(401, "E111119", "the project id or key is wrong")

    def _start(self, request: HttpRequest, _: Fault) -> HttpResponse:
        self._authorize(request)
        body = read_object(request.body)
        optional(body, "loginOptions", dict)
        state_id = self._begin(required(body, "provider"), implicit=optional(body, "implicit", bool) or False)
        state = self._states[state_id]
        return json_response(
            {
                "clientId": state.client_id,
                "stateId": state_id,
                "nonce": state.nonce,
                "implicit": state.implicit,
            }
        )

    def _finish(self, request: HttpRequest, fault: Fault) -> HttpResponse:
        self._authorize(request)
        body = read_object(request.body)
        provider, state_id = required(body, "provider"), required(body, "stateId")
        code, id_token = optional(body, "code", str), optional(body, "idToken", str)
        told = parse_apple_user_json(optional(body, "user", (str, NoneType)) or "")
        if bool(code) == bool(id_token):
            raise RefusedError(400, "E011002", "exactly one of code and idToken is needed")
        state = self._states.pop(state_id, None)
        if state is None:
            raise RefusedError(400, "E061301", "the state is unknown, or spent")
        if state.expires <= self._clock():
            raise RefusedError(400, "E061301", "the sign-in has expired")
        if state.provider != provider:
            raise RefusedError(400, "E061301", "the sign-in is with another provider")
        if (state.code, state.id_token) != (code, id_token):
            raise RefusedError(400, "E061301", "the provider did not issue this proof")
        return self._session(state, told, in_cookies=(fault.tokens or self._tokens) == "cookies")

    def _session(self, state: "_State", told: Json, *, in_cookies: bool) -> HttpResponse:
        now = int(self._clock())
        known = self._users.get(state.described["email"])
        user = made_user(
            with_name(state.described, told, known) if state.provider == "apple" else state.described,
            known,
            user_id=f"U2{self._secret(25)}",
            provider=state.provider,
            now=now,
        )
        self._users[user["email"]] = user
        session = self._token("DS", user, now, self._session_lifetime)
        refresh = self._token("DSR", user, now, self._refresh_lifetime)
        answer: Json = {
            "sessionJwt": "" if in_cookies else session,
            "refreshJwt": "" if in_cookies else refresh,
            "cookieDomain": self._cookie_domain,
            "cookiePath": self._cookie_path,
            "cookieMaxAge": self._refresh_lifetime,
            "cookieExpiration": now + self._refresh_lifetime,
            "user": user,
            "firstSeen": known is None,
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
        cookies = [
            self._cookie(self._session_cookie_name or "DS", session, now, self._session_lifetime),
            self._cookie(self._refresh_cookie_name or "DSR", refresh, now, self._refresh_lifetime),
        ]
        return json_response(answer, *(cookies if in_cookies else []))

    def _keys(self, _: HttpRequest, __: Fault) -> HttpResponse:
        return json_response({"keys": self._signer.keys})

    def _sign_in(self, request: HttpRequest, _: Fault) -> HttpResponse:
        body = read_object(request.body)
        proof = self.sign_in(
            optional(body, "provider", str),
            state_id=optional(body, "stateId", str),
            implicit=optional(body, "implicit", bool),
            user=optional(body, "user", dict),
        )
        return json_response({**proof.as_json(), "nonce": proof.nonce})

    def _fail_next(self, request: HttpRequest, _: Fault) -> HttpResponse:
        self.fail_next(read_fault(read_object(request.body)))
        return json_response({})

    def _list_calls(self, _: HttpRequest, __: Fault) -> HttpResponse:
        return json_response({"calls": [attrs.asdict(call) for call in self.calls]})

    def _describe_itself(self, _: HttpRequest, __: Fault) -> HttpResponse:
        return json_response(openapi())

    # --- secrets

    def _secret(self, length: int) -> str:
        return "".join(self._random.choices(_ALPHABET, k=length))

    @cached_property
    def _signer(self) -> Signer:
        return make_signer()

    def _id_token(self, state: "_State") -> str:
        now = int(self._clock())
        return self._signer.encode(
            {
                "iss": f"https://{state.provider}.example.com",
                "aud": state.client_id,
                "sub": state.described["email"],
                "email": state.described["email"],
                "nonce": state.nonce,
                "iat": now,
                "exp": now + 3600,
            }
        )

    def _token(self, kind: Literal["DS", "DSR"], user: Json, now: int, lifetime: int) -> str:
        rexp = datetime.fromtimestamp(now + self._refresh_lifetime, UTC)
        tenants = {
            tenant["tenantId"]: {"roles": tenant["roleNames"], "permissions": tenant["permissions"]}
            for tenant in user["userTenants"]
        }
        return self._signer.encode(
            {
                "amr": ["oauth"],
                "drn": kind,
                "exp": now + lifetime,
                "iat": now,
                "iss": self.project_id,
                "jti": self._secret(22),
                "permissions": user["permissions"],
                "rexp": f"{rexp:%Y-%m-%dT%H:%M:%SZ}",
                "roles": user["roleNames"],
                "sub": user["userId"],
                "tenants": tenants,
            }
        )

    def _cookie(self, name: str, token: str, now: int, lifetime: int) -> tuple[str, str]:
        expires = format_datetime(datetime.fromtimestamp(now + lifetime, UTC), usegmt=True)
        domain = f"; Domain={self._cookie_domain}" if self._cookie_domain else ""
        value = f"{name}={token}; Path={self._cookie_path}{domain}; Expires={expires}; Max-Age={lifetime}"
        return "Set-Cookie", f"{value}; HttpOnly; Secure; SameSite=None"


@attrs.define(kw_only=True)
class _State:
    """A sign-in between start and finish."""

    provider: str
    implicit: bool
    nonce: str
    expires: float
    described: Json = attrs.field(factory=dict[str, Any])
    code: str | None = None
    id_token: str | None = None

    @property
    def client_id(self) -> str:
        return f"com.example.{self.provider}"
