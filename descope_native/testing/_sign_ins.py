"""The service between start and finish."""

from collections.abc import Mapping
from types import NoneType
from typing import Any

import attrs

from descope_native.testing._json import Json, RefusedError, optional, required
from descope_native.testing._phone import PROVIDER, Grant, Providers, Started, check_nonce, client_id_at
from descope_native.testing._settings import Settings, remember
from descope_native.testing._users import parse_apple_user_json


@attrs.frozen(kw_only=True)
class Start:
    """What a start asked for.

    Attributes:
        provider: as sent.
        implicit: as sent; None if it was not.
        login_options: as sent; None if they were not.
        user_id: of the person whose refresh token was in the bearer, for step-up; else None.
        known_device: whether a token for a known device came with it.
        trusted_device: the same of a trusted device.
    """

    provider: str
    implicit: bool | None = None
    login_options: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    user_id: str | None = None
    known_device: bool = False
    trusted_device: bool = False


@attrs.frozen(kw_only=True)
class Finish:
    """A finish that was accepted: what the provider vouches for, and the name that the app passed on."""

    grant: Grant
    told: Json


@attrs.frozen(kw_only=True)
class _State:
    provider: str
    implicit: bool
    nonce: str
    expires: float


class SignIns:
    """Those that have begun."""

    def __init__(self, settings: Settings, providers: Providers) -> None:
        self._settings = settings
        self._providers = providers
        self._states: dict[str, _State] = {}

    def begin(self, provider: str, *, implicit: bool) -> Started:
        """Mint a state and a nonce."""
        if not PROVIDER.fullmatch(provider):
            raise RefusedError(400, "E011004", "provider is 100 characters of printable ASCII at most")
        implicit = implicit or provider == "google"
        started = Started(
            client_id=client_id_at(provider),
            nonce=self._settings.secret(24),
            implicit=implicit,
            state_id=self._settings.secret(32),
        )
        expires = self._settings.clock() + self._settings.state_lifetime
        state = _State(provider=provider, implicit=implicit, nonce=started.nonce, expires=expires)
        remember(self._states, str(started.state_id), state)
        return started

    def finish(self, body: Json) -> Finish:
        """Check a proof. Whoever names a state in a well-formed request has spent it."""
        provider, state_id = required(body, "provider"), required(body, "stateId")
        code, id_token = optional(body, "code", str), optional(body, "idToken", str)
        told = parse_apple_user_json(optional(body, "user", (str, NoneType)) or "")
        if bool(code) == bool(id_token):
            raise RefusedError(400, "E011002", "exactly one of code and idToken is needed")
        state = self._states.pop(state_id, None)
        if state is None:
            raise RefusedError(400, "E061301", "the state is unknown, or spent")
        if state.expires <= self._settings.clock():
            raise RefusedError(400, "E061301", "the sign-in has expired")
        if state.provider != provider:
            raise RefusedError(400, "E061301", "the sign-in is with another provider")
        if state.implicit != bool(id_token):
            wanted = "an id token" if state.implicit else "a code"
            raise RefusedError(400, "E061301", f"start asked for {wanted}")
        grant = self._providers.redeem(code=code, id_token=id_token)
        if grant is None or grant.provider != provider:
            raise RefusedError(400, "E061301", "the provider did not issue this proof")
        check_nonce(grant, state.nonce)
        return Finish(grant=grant, told=told)
