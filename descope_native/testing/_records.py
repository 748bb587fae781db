"""What goes in and out of the stand-in by hand: proofs, faults, and the record of calls."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from descope_native.transports import HttpResponse


@attrs.frozen(kw_only=True)
class Proof:
    """What a phone ends up with after a native sign-in.

    Attributes:
        provider: who vouches for the user.
        state_id: what the service calls this sign-in.
        code: the authorization code, or None.
        id_token: the id token, or None. Exactly one of the two is there.
        nonce: what the id token repeats.
        user: the JSON text with the name that Apple tells at a user's first sign-in, else None.
    """

    provider: str
    state_id: str = attrs.field(repr=False)
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
class Fault:
    """What goes wrong with one call. Several things may.

    Attributes:
        delay: seconds that pass before the answer, after the request took effect.
        drop: the connection is closed ``"before"`` the service looked at the request, ``"after"`` it did,
            or ``"halfway"`` through the answer's body.
        status: answer this instead, with ``headers`` and ``body``.
        headers: pairs, or a mapping.
        body: the bytes of that answer.
        applied: whether the request takes effect (the code is spent) although no answer of the service's
            own comes back: true for ``drop="after"`` and false for ``status``, unless given.
        tokens: ``"cookies"`` leaves the tokens out of this answer's body.
        fields: merged into the JSON of the answer, to add unknown keys or ill-typed values.
    """

    delay: float = 0.0
    drop: Literal["before", "after", "halfway"] | None = None
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=lambda given: _pairs(given))
    body: bytes = attrs.field(default=b"", repr=False)
    applied: bool | None = None
    tokens: Literal["body", "cookies"] | None = None
    fields: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.status is None and (self.headers or self.body):
            raise ValueError("headers and body are those of another answer: give its status")
        if self.applied is not None and self.status is None and self.drop != "after":
            raise ValueError("applied is a choice only with a status or with drop='after'")

    @property
    def takes_effect(self) -> bool:
        """Whether the service acts on the request."""
        if self.drop == "before":
            return False
        return self.status is None if self.applied is None else self.applied


def _pairs(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(headers.items() if isinstance(headers, Mapping) else headers)


@attrs.frozen(kw_only=True)
class Call:
    """One request as the stand-in saw it, with everything masked that may be a secret.

    Attributes:
        method: as sent.
        path: as sent, without a query.
        headers: pairs.
        body: the JSON object with its values masked, but for harmless ones; None if it was none.
        status: of the answer; None if the connection was dropped instead.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: Mapping[str, Any] | None
    status: int | None


class DroppedError(ConnectionResetError):
    """The connection ends here, with this much of an answer sent."""

    def __init__(self, partial: HttpResponse | None = None) -> None:
        super().__init__("the stand-in dropped the connection")
        self.partial = partial
