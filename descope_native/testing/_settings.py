"""What a stand-in was made with, and what follows from that alone: its clock, its secrets, its signatures."""

import re
import string
from collections.abc import Callable
from functools import cached_property
from random import Random, SystemRandom
from typing import Any, Final, Literal

import attrs

from descope_native.testing._tokens import Signer, make_signer

Place = Literal["body", "cookies"]

_ALPHABET: Final = string.ascii_letters + string.digits
_COOKIE_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_COOKIE_PART: Final = re.compile(r"[\x20-\x3a\x3c-\x7e]*")
_MAX_REMEMBERED: Final = 10_000


def make_random(seed: int | None) -> Random:
    """Where secrets come from."""
    return SystemRandom() if seed is None else Random(seed)  # noqa: S311 -- asked for


@attrs.frozen(kw_only=True)
class Settings:
    """The arguments of ``FakeDescope``, checked."""

    project_id: str
    auth_management_key: str | None
    tokens: Place
    device_tokens: bool
    session_cookie_name: str | None
    refresh_cookie_name: str | None
    cookie_domain: str
    cookie_path: str
    state_lifetime: float
    session_lifetime: int
    refresh_lifetime: int
    clock: Callable[[], float]
    signed: bool | None
    seed: int | None
    random: Random = attrs.field(
        init=False, default=attrs.Factory(lambda self: make_random(self.seed), takes_self=True)
    )

    def __attrs_post_init__(self) -> None:
        if self.tokens not in {"body", "cookies"}:
            raise ValueError("tokens is 'body' or 'cookies'")
        names = (self.session_cookie_name or "DS", self.refresh_cookie_name or "DSR")
        if not all(map(_COOKIE_NAME.fullmatch, names)):
            raise ValueError("a cookie's name is a token as RFC 6265 has it")
        if not all(map(_COOKIE_PART.fullmatch, (self.cookie_domain, self.cookie_path))):
            raise ValueError("a cookie's domain and path are printable ASCII without a semicolon")
        if self.signed:
            _ = self.signer  # which refuses here, not at the first token

    @cached_property
    def signer(self) -> Signer:
        """How tokens are signed."""
        return make_signer(signed=self.signed, seed=self.seed)

    def now(self) -> int:
        """Unix seconds, as tokens have them."""
        return int(self.clock())

    def secret(self, length: int) -> str:
        """What nobody can guess, unless a seed was given."""
        return "".join(self.random.choices(_ALPHABET, k=length))


def remember(store: dict[str, Any], key: str, value: object) -> None:
    """Keep this, and forget the oldest where there is too much to keep."""
    store[key] = value
    if len(store) > _MAX_REMEMBERED:
        del store[next(iter(store))]
