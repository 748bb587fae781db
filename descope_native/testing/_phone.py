"""The phone, and the provider whose dialog it shows: what start gave goes in, a proof comes out."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from descope_native.testing._json import Json, RefusedError, check_text
from descope_native.testing._settings import Settings, remember
from descope_native.testing._users import apple_user_json

PROVIDER: Final = re.compile(r"[ -~]{1,100}")
"""What a provider may be called, wherever one is named."""

_CLIENT_ID: Final = "com.example."


@attrs.frozen(kw_only=True)
class Proof:
    """What a phone ends up with after a native sign-in.

    Attributes:
        provider: who vouches for the user.
        state_id: what the service calls this sign-in; None where the phone was not told.
        code: the authorization code, or None.
        id_token: the id token, or None. Exactly one of the two is there.
        nonce: the one that start gave.
        user: the JSON text with the name that Apple tells at a user's first sign-in, else None.
    """

    provider: str
    state_id: str | None = attrs.field(repr=False)
    code: str | None = attrs.field(default=None, repr=False)
    id_token: str | None = attrs.field(default=None, repr=False)
    nonce: str = attrs.field(repr=False)
    user: str | None = attrs.field(default=None, repr=False)

    def as_arguments(self) -> dict[str, Any]:
        """The keyword arguments of ``NativeOAuthFinisher.finish``."""
        facts = attrs.asdict(self, filter=lambda _, value: value is not None)
        del facts["nonce"]
        return facts

    def as_json(self) -> dict[str, Any]:
        """The body of ``POST /v1/auth/oauth/native/finish``."""
        names = {"state_id": "stateId", "id_token": "idToken"}
        return {names.get(name, name): value for name, value in self.as_arguments().items()}


@attrs.frozen(kw_only=True)
class Started:
    """What start gave, as far as a phone needs it."""

    client_id: str
    nonce: str
    implicit: bool | None
    state_id: str | None

    @property
    def provider(self) -> str:
        """Who knows this client id."""
        provider = self.client_id.removeprefix(_CLIENT_ID)
        if provider == self.client_id or not PROVIDER.fullmatch(provider):
            raise RefusedError(409, "E011004", "no provider knows this client id")
        return provider


def client_id_at(provider: str) -> str:
    """Who the app is to a provider."""
    return f"{_CLIENT_ID}{provider}"


def read_started(started: object) -> Started:
    """The answer of start, as JSON or as an object, with the service's names or Python's."""
    found: dict[str, Any] = {
        name: _part(started, name, wire_name)
        for name, wire_name in (
            ("client_id", "clientId"),
            ("nonce", "nonce"),
            ("implicit", "implicit"),
            ("state_id", "stateId"),
        )
    }
    for name in ("client_id", "nonce"):
        if not found[name]:
            raise RefusedError(400, "E011002", f"{name} is missing; the phone needs what start gave")
    kinds = {"implicit": bool}
    for name, value in found.items():
        if value is not None and not isinstance(value, kinds.get(name, str)):
            raise RefusedError(400, "E011001", f"{name} has the wrong type")
    check_text(found, "what start gave")
    return Started(**found)


def _part(started: object, name: str, wire_name: str) -> Any:
    if isinstance(started, Mapping):
        given = cast("Mapping[str, Any]", started)
        return given.get(wire_name, given.get(name))
    return getattr(started, name, None)


@attrs.frozen(kw_only=True)
class Grant:
    """What a provider vouches for."""

    provider: str
    nonce: str | None
    described: Json


class Providers:
    """Apple, Google and the others. They know client ids, and nothing of states."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._grants: dict[str, Grant] = {}
        self._told_by_apple: dict[str, str] = {}

    def sign_in(self, started: Started, described: Json, nonce: str | None) -> Proof:
        """Show the dialog. The nonce is what the phone's library made of the one that it was given."""
        provider = started.provider
        grant = Grant(provider=provider, nonce=nonce, described=described)
        proof = Proof(
            provider=provider,
            state_id=started.state_id,
            nonce=started.nonce,
            user=self._apple_user_json_once(grant),
        )
        if started.implicit or provider == "google":
            proof = attrs.evolve(proof, id_token=self._id_token(started, grant))
        else:
            proof = attrs.evolve(proof, code=self._settings.secret(43))
        remember(self._grants, proof.code or str(proof.id_token), grant)
        return proof

    def redeem(self, *, code: str | None, id_token: str | None) -> Grant | None:
        """What stands behind a proof. A code is good once; of an id token, that is for others to see to."""
        return self._grants.pop(code, None) if code else self._grants.get(str(id_token))

    def _apple_user_json_once(self, grant: Grant) -> str | None:
        email = grant.described["email"]
        if grant.provider != "apple" or email in self._told_by_apple:
            return None
        remember(self._told_by_apple, email, email)
        return apple_user_json(grant.described)

    def _id_token(self, started: Started, grant: Grant) -> str:
        now = self._settings.now()
        claims = {
            "iss": f"https://{grant.provider}.example.com",
            "aud": started.client_id,
            "sub": grant.described["email"],
            "email": grant.described["email"],
            "nonce": grant.nonce,
            "iat": now,
            "exp": now + 3600,
        }
        return self._settings.signer.encode(
            {key: value for key, value in claims.items() if value is not None}
        )


def hashed(nonce: str) -> str:
    """What some libraries of the phone send instead of the nonce."""
    return hashlib.sha256(nonce.encode()).hexdigest()


def check_nonce(grant: Grant, nonce: str) -> None:
    """Refuse a proof for another sign-in, and say what happened to the nonce on its way."""
    if grant.nonce == nonce:
        return
    if grant.nonce is None:
        problem = "the id token has no nonce: the phone's library did not pass it on"
    elif grant.nonce == hashed(nonce):
        problem = (
            "the id token's nonce is the SHA-256 of the one that start gave: the phone's library hashes it"
        )
    else:
        problem = "the id token's nonce is not the one that start gave"
    raise RefusedError(400, "E061301", problem)
