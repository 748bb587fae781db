"""The stand-in itself, as Python code has it."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

import attrs

from descope_native.testing._control import Control
from descope_native.testing._faults import DroppedError, Fault, Faults
from descope_native.testing._journal import Call, append, record
from descope_native.testing._json import RefusedError
from descope_native.testing._openapi import FINISH
from descope_native.testing._phone import Proof, Providers, hashed, read_started
from descope_native.testing._service import Service
from descope_native.testing._settings import Settings
from descope_native.testing._sign_ins import SignIns, Start
from descope_native.testing._users import describe
from descope_native.transports import HttpRequest, HttpResponse


class FakeDescope:
    """Descope's native sign-in without Descope.

    A handler for ``InMemoryTransport``; `serve` puts the same thing on a socket. It keeps one project's
    sign-ins and users in memory. Any well-formed finish spends the state that it names, whether or not it
    gets a session for it.

    Tokens are signed (RS256) where joserfc is installed, which the extra ``testing`` brings. Without it they
    are unsecured JWTs, which say so in their header, and the key set is empty.

    Args:
        project_id: the one project that it knows.
        auth_management_key: what requests must have beside the project id, if anything.
        tokens: where an answer has them: ``"body"``, or ``"cookies"`` only.
        device_tokens: whether finish gives tokens that mark the device. Those that a request has are
            checked in any case.
        session_cookie_name: instead of ``DS``; then the answer names it.
        refresh_cookie_name: instead of ``DSR``; then the answer names it.
        cookie_domain: of the cookies; the host's own if empty.
        cookie_path: of the cookies.
        state_lifetime: seconds from start to finish.
        session_lifetime: seconds that a session token is valid for.
        refresh_lifetime: seconds that a refresh token, its cookie and a device token are valid for.
        clock: tells unix seconds.
        signed: true insists on signed tokens, false on unsecured ones; None takes what can be had.
        seed: makes ids, states, codes and the signing key the same each time, instead of secrets that
            nobody can guess. With a ``clock`` that stands still, tokens are the same in every process.

    Raises:
        ValueError: ``tokens`` is neither of the two, or a cookie's name, domain or path cannot be one.
        ImportError: ``signed`` is true, and joserfc is not installed.

    Attributes:
        project_id: as given.
        calls: the last 1000 requests that it got, secrets masked, in order.
        starts: what the last 1000 accepted starts asked for, in order.
    """

    def __init__(
        self,
        project_id: str = "P2fakeProject0000000000000000",
        *,
        auth_management_key: str | None = None,
        tokens: Literal["body", "cookies"] = "body",
        device_tokens: bool = False,
        session_cookie_name: str | None = None,
        refresh_cookie_name: str | None = None,
        cookie_domain: str | None = None,
        cookie_path: str | None = None,
        state_lifetime: float = 600.0,
        session_lifetime: int = 600,
        refresh_lifetime: int = 2_419_200,
        clock: Callable[[], float] = time.time,
        signed: bool | None = None,
        seed: int | None = None,
    ) -> None:
        self.project_id = project_id
        self.calls: list[Call] = []
        self.starts: list[Start] = []
        self._settings = settings = Settings(
            project_id=project_id,
            auth_management_key=auth_management_key,
            tokens=tokens,
            device_tokens=device_tokens,
            session_cookie_name=session_cookie_name,
            refresh_cookie_name=refresh_cookie_name,
            cookie_domain=cookie_domain or "",
            cookie_path=cookie_path or "/",
            state_lifetime=state_lifetime,
            session_lifetime=session_lifetime,
            refresh_lifetime=refresh_lifetime,
            clock=clock,
            signed=signed,
            seed=seed,
        )
        self._providers = Providers(settings)
        self._sign_ins = SignIns(settings, self._providers)
        self._faults = Faults()
        self._routes = {**Service(settings, self._sign_ins, self.starts).routes(), **Control(self).routes()}

    def __repr__(self) -> str:
        return f"<FakeDescope {self.project_id}, {len(self.calls)} calls>"

    def serve(
        self,
        host: str = "localhost",
        port: int = 0,
        *,
        allowed_hosts: Collection[str] = (),
        request_timeout: float = 60.0,
    ) -> AbstractAsyncContextManager[str]:
        """An async context manager that serves over HTTP and gives the base URL.

        POST takes JSON only, pages of other sites are refused, and so is a ``Host`` that is neither an IP
        address, ``localhost``, nor the name that is served, lest a name that is bound to this machine lets
        another site's page read it. A line for each request goes to the logger ``descope_native.testing``.

        Args:
            host: a name or an address; every address of a name is listened on.
            port: 0 for a free one.
            allowed_hosts: more names that it answers to, as those of a container.
            request_timeout: seconds that a request may take to arrive, and a connection may idle.
        """
        from descope_native.testing._server import serve  # noqa: PLC0415 -- loads aiohttp

        return serve(self, host, port, allowed_hosts, request_timeout)

    # --- the phone

    def sign_in(
        self,
        provider: str = "google",
        *,
        email: str = "ada@example.com",
        name: str = "Ada Lovelace",
        implicit: bool = False,
        user: Mapping[str, Any] | None = None,
    ) -> Proof:
        """Start a sign-in and be the phone, in one: return what the app then has.

        Args:
            provider: Apple tells a user's name the first time only.
            email: who the user is: the same email is the same user.
            name: given names first, family name last.
            implicit: whether the app gets an id token or a code. From Google it is always an id token.
            user: more of the answer's ``user`` object, under its wire names.

        Raises:
            ValueError: ``user`` cannot be in an answer.
        """
        described = describe(email, name, user or {})
        started = self._sign_ins.begin(provider, implicit=implicit)
        return self._providers.sign_in(started, described, started.nonce)

    def phone(
        self,
        started: object,
        *,
        email: str = "ada@example.com",
        name: str = "Ada Lovelace",
        user: Mapping[str, Any] | None = None,
        hash_nonce: bool = False,
        send_nonce: bool = True,
    ) -> Proof:
        """Be the phone for a sign-in that was started: return what the app then has.

        Args:
            started: what start gave: a ``StartResult`` or another object with its names, or a mapping such
                as the JSON answer. The phone needs ``client_id`` and ``nonce``; ``implicit`` decides between
                id token and code, and is false unless given; ``state_id`` only ends up in the proof.
            email, name, user: as for `sign_in`.
            hash_nonce: let the provider have the nonce's SHA-256, as some libraries do. Finish refuses it.
            send_nonce: false keeps the nonce from the provider, as some libraries do. Finish refuses it.

        Raises:
            ValueError: ``started`` is not what start gave, or ``user`` cannot be in an answer.
        """
        described = describe(email, name, user or {})
        read = read_started(started)
        nonce = hashed(read.nonce) if hash_nonce else read.nonce
        return self._providers.sign_in(read, described, nonce if send_nonce else None)

    # --- faults

    def fail_next(self, *faults: Fault) -> None:
        """Let the next finish calls go wrong, one for each fault, whatever the rules say."""
        self._faults.fail_next(*faults)

    def fail_when(self, predicate: Callable[[HttpRequest], bool], fault: Fault) -> None:
        """Let every call go wrong of which the predicate is true; the oldest rule first."""
        self._faults.fail_when(predicate, fault)

    def mend(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def reset(self) -> None:
        """Forget all faults, `calls` and `starts`. Users, sign-ins and sessions stay."""
        self._faults.clear()
        self.calls.clear()
        self.starts.clear()

    # --- the service

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer; where a fault drops the connection, raise ``ConnectionResetError``."""
        fault = self._faults.take(request, is_finish=request.url.path == FINISH)
        answer = fault.spoil(self._answer(request, fault) if fault.takes_effect else None)
        append(self.calls, record(request, answer))
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if answer is None or fault.drop:
            request.progress.phase = "read" if answer else "wait"
            raise DroppedError(answer)
        return answer

    def _answer(self, request: HttpRequest, fault: Fault) -> HttpResponse:
        trace_id = ("cf-ray", f"{self._settings.secret(16)}-FAKE")
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
