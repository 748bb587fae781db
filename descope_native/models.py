"""What goes in and what comes out, as frozen attrs classes."""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, Self, TypeVar, cast

import attrs

from descope_native._tokens import MAX_TOKEN, is_token, read_claims
from descope_native.errors import InvalidRequestError

__all__ = [
    "AppleUser",
    "Drift",
    "FinishRequest",
    "FinishResult",
    "FrozenDict",
    "IdpResponse",
    "Json",
    "LoginOptions",
    "ObjectOrFalse",
    "StartRequest",
    "StartResult",
    "Token",
    "User",
    "UserTenant",
]

V = TypeVar("V")

_fill: Final[Callable[..., None]] = cast("Any", dict).update


class FrozenDict(dict[str, V]):
    """A `dict` that refuses every change: hashable, picklable, and JSON to whatever takes a `dict`.

    ``dict(frozen)`` gives a copy that can be changed, and ``frozen | {…}`` a new `FrozenDict`.
    """

    __slots__ = ()

    def __new__(cls, items: Mapping[str, V] | Iterable[tuple[str, V]] = (), /) -> Self:
        self = super().__new__(cls)
        _fill(self, items)
        return self

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        """Refused, with a `TypeError`."""
        raise TypeError("a FrozenDict cannot be changed; dict() of it makes a copy that can")

    if TYPE_CHECKING:

        def __init__(self, items: Mapping[str, V] | Iterable[tuple[str, V]] = (), /) -> None: ...

    else:
        __init__ = object.__init__  # which does nothing; dict's adds to it when called again
        # Type checkers know a dict's, whose types these keep.
        __setitem__ = __delitem__ = __ior__ = _refuse
        clear = pop = popitem = setdefault = update = _refuse

    def copy(self) -> Self:
        """Itself, as the copy of a ``frozenset`` is."""
        return self

    def __or__(self, other: Any, /) -> Any:
        merged = super().__or__(other)
        return merged if merged is NotImplemented else FrozenDict(merged)

    def __hash__(self) -> int:  # type: ignore[override]  # dict has None there
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return f"FrozenDict({super().__repr__()})"

    def __reduce__(self) -> tuple[object, ...]:
        return (FrozenDict, (dict(self),))


if TYPE_CHECKING:
    Json = str | int | float | bool | None | tuple["Json", ...] | FrozenDict["Json"]
    """Any JSON value, deeply immutable: arrays are tuples, objects are `FrozenDict`."""
else:
    Json = object  # cattrs resolves the alias inside itself once, and equals nothing of ours afterwards

_MAX_INPUT: Final = 64 * 1024
"""Far beyond any code or id token; far below what would hold up the event loop."""

_MAX_USER: Final = 4096
_TEXT: Final = f"must be text that is not blank, {_MAX_INPUT} characters of UTF-8 at most"
_MAX_BRACKETS: Final = 64  # Apple's JSON has four, and less than 1,024 characters
_USER: Final = f"the JSON text of an object, {_MAX_USER} characters and {_MAX_BRACKETS} brackets at most"

_MAX_NUMBER: Final = 1e300
"""Beyond any claim, and below what Python refuses to write down."""

Token = Annotated[str, "cookie-octets of RFC 6265, 16 KiB at most"]
"""What ends up in somebody's header or cookie, so an answer's token is let in only in that form."""

ObjectOrFalse = Annotated[Mapping[str, Json], "false on the wire means none"]

SESSION_COOKIE: Final = "DS"
REFRESH_COOKIE: Final = "DSR"
"""What the cookies that hold the tokens are called, unless the answer says otherwise."""

EMPTY: Final[FrozenDict[Json]] = FrozenDict()
_NO_FLAGS: Final[FrozenDict[bool]] = FrozenDict()


def _hidden(value: object) -> str:
    """For a repr: whether there is one, and no more."""
    return "None" if value is None else "<hidden>"


def none_if_empty(value: Any) -> Any:
    """What is empty was not given: apps, forms and docker compose write it so."""
    return None if isinstance(value, str) and not value else value


def _optional_text(text: str | None) -> str | None:
    """As `none_if_empty`, with the types that callers see in an ``__init__``."""
    return cast("str | None", none_if_empty(text))


def _optional_flag(flag: bool | None) -> bool | None:  # noqa: FBT001 -- attrs calls it so
    return cast("bool | None", none_if_empty(flag))


def _none_if_blank(part: str | None) -> str | None:
    return None if isinstance(part, str) and not part.strip() else part


@attrs.frozen(kw_only=True)
class AppleUser:
    """The name that Apple gives to the app, once: at the person's first sign-in with it.

    A part with nothing in it is None. Raises `InvalidRequestError` for a part that is neither a string of
    UTF-8, 4,096 characters at most, nor None.
    """

    given_name: str | None = attrs.field(default=None, converter=_none_if_blank, repr=False)
    middle_name: str | None = attrs.field(default=None, converter=_none_if_blank, repr=False)
    family_name: str | None = attrs.field(default=None, converter=_none_if_blank, repr=False)

    def __attrs_post_init__(self) -> None:
        for part in attrs.fields_dict(AppleUser):
            if getattr(self, part) is not None and not _is_string(getattr(self, part), _MAX_USER):
                raise _refusal(part, f"must be a string, {_MAX_USER} characters at most, or None")


def _name_to_send(user: AppleUser | str | None) -> AppleUser | str | None:
    """The user, or None where the name is empty: sent as it is, it would wipe the one that is there."""
    user = none_if_empty(user)
    if user == AppleUser() or (isinstance(user, str) and not user.strip()):
        return None
    if isinstance(user, AppleUser | None) or not _is_json_text(user):
        return user  # what is no JSON is refused later
    parsed = _parse_json(user)
    if not _is_filled(parsed):
        return None
    if not isinstance(parsed, dict) or "name" not in parsed:
        return user
    fields = cast("dict[str, Any]", parsed)
    name = filled = fields["name"]
    if isinstance(name, dict):
        parts = cast("dict[str, Any]", name)
        filled = {key: part for key, part in parts.items() if _is_filled(part)}
    if not _is_filled(filled):
        return None
    # As it came, where nothing had to be left out.
    return user if filled == name else json.dumps(fields | {"name": filled})


def _is_filled(part: object) -> bool:
    """Whether there is anything in it, at any depth."""
    if isinstance(part, str):
        return bool(part.strip())
    if isinstance(part, dict):
        part = list(cast("dict[str, object]", part).values())
    if isinstance(part, list):
        return any(map(_is_filled, cast("list[object]", part)))
    return part is not None and part is not False


class _Budget:
    """What a JSON object of the caller's may have in all, so that none holds up the event loop."""

    def __init__(self) -> None:
        self.left = _MAX_INPUT

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ValueError


def _json_of_the_caller(value: Any, budget: _Budget, depth: int = 0) -> Any:
    """JSON that a caller gave, made deeply immutable. Raises ValueError for what is no JSON, or too much."""
    budget.spend(1)
    if isinstance(value, str):
        return _text_of_the_caller(value, budget)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        number = int(value) if isinstance(value, int) else float(value)
        if abs(number) < _MAX_NUMBER:
            return number
        raise ValueError
    if depth < _MAX_BRACKETS:
        if isinstance(value, Mapping):
            mapping = cast("Mapping[object, object]", value)
            return FrozenDict(
                {
                    _text_of_the_caller(key, budget): _json_of_the_caller(item, budget, depth + 1)
                    for key, item in mapping.items()
                }
            )
        if isinstance(value, list | tuple):
            items = cast("list[object]", value)
            return tuple([_json_of_the_caller(item, budget, depth + 1) for item in items])
    raise ValueError


def _text_of_the_caller(text: object, budget: _Budget) -> str:
    if not isinstance(text, str) or not _is_string(text):
        raise ValueError
    budget.spend(len(text))
    return str.__str__(text)  # of an enum its value, which is what it is equal to


_JSON_OBJECT: Final = (
    f"JSON object with {_MAX_BRACKETS} levels and {_MAX_INPUT} characters and values at most"
)


def _object_of(what: str, value: Any) -> Any:
    """None, or a mapping made deeply immutable."""
    value = none_if_empty(value)
    if value is None:
        return None
    converted = None
    with suppress(Exception):  # whatever somebody's mapping raises
        converted = _json_of_the_caller(value, _Budget()) if isinstance(value, Mapping) else None
    del value  # it may name a person, and this frame is in the traceback
    if converted is None:
        raise _refusal(what, f"must be a {_JSON_OBJECT}, or None")
    return converted


def _custom_claims(claims: Mapping[str, Any] | None) -> Mapping[str, Json] | None:
    return cast("Mapping[str, Json] | None", _object_of("custom_claims", claims))


def _template_options(options: Mapping[str, str] | None) -> Mapping[str, str] | None:
    return cast("Mapping[str, str] | None", _object_of("template_options", options))


def _extra(extra: Mapping[str, Any] | None) -> Mapping[str, Json] | None:
    return cast("Mapping[str, Json] | None", _object_of("extra", extra))


def _texts(values: Iterable[str] | None) -> tuple[str, ...] | None:
    values = none_if_empty(values)
    return tuple(values) if isinstance(values, list) else cast("tuple[str, ...] | None", values)


@attrs.frozen(kw_only=True)
class LoginOptions:
    """What a start may ask for. The list is open: what is not named here goes into ``extra``.

    An optional attribute that is ``""`` is None, and what is None is not sent.

    Attributes:
        stepup, mfa: the sign-in adds to the session of somebody who is signed in, whose ``refresh_jwt``
            goes along.
        custom_claims: any JSON, to be put into the session token.
        revoke_other_sessions: end the person's other sessions.
        revoke_other_sessions_types: of these kinds only.
        sso_app_id, tenant_id: the SSO application and the tenant that the sign-in is for.
        template_id, template_options, locale: for the messages that the service sends.
        pkce_challenge: see RFC 7636.
        extra: what else goes into ``loginOptions``, under the wire's own names.

    Raises `InvalidRequestError` where that cannot be right.
    """

    stepup: bool | None = attrs.field(default=None, converter=_optional_flag)
    mfa: bool | None = attrs.field(default=None, converter=_optional_flag)
    custom_claims: Mapping[str, Json] | None = attrs.field(default=None, converter=_custom_claims, repr=False)
    revoke_other_sessions: bool | None = attrs.field(default=None, converter=_optional_flag)
    revoke_other_sessions_types: tuple[str, ...] | None = attrs.field(default=None, converter=_texts)
    sso_app_id: str | None = attrs.field(default=None, converter=_optional_text)
    tenant_id: str | None = attrs.field(default=None, converter=_optional_text)
    template_id: str | None = attrs.field(default=None, converter=_optional_text)
    template_options: Mapping[str, str] | None = attrs.field(
        default=None, converter=_template_options, repr=False
    )
    locale: str | None = attrs.field(default=None, converter=_optional_text)
    pkce_challenge: str | None = attrs.field(default=None, converter=_optional_text, repr=False)
    extra: Mapping[str, Json] | None = attrs.field(default=None, converter=_extra, repr=False)

    def __attrs_post_init__(self) -> None:
        if refusal := _check_options(self):
            raise refusal


def _check_options(options: LoginOptions) -> InvalidRequestError | None:
    for name in ("stepup", "mfa", "revoke_other_sessions"):
        if not isinstance(getattr(options, name), bool | None):
            return _refusal(name, "must be True, False or None")
    types = options.revoke_other_sessions_types
    if types is not None and not (isinstance(types, tuple) and all(map(_is_nonblank, types))):
        return _refusal("revoke_other_sessions_types", "must be a list of texts, or None")
    if not all(isinstance(value, str) for value in (options.template_options or {}).values()):
        return _refusal("template_options", "must have texts as values")
    return _check_optional_texts(
        options, "sso_app_id", "tenant_id", "template_id", "locale", "pkce_challenge"
    )


def _options_to_send(
    options: LoginOptions | Mapping[str, Any] | None,
) -> LoginOptions | Mapping[str, Json] | None:
    options = none_if_empty(options)
    return options if isinstance(options, LoginOptions) else _object_of("login_options", options)


@attrs.frozen(kw_only=True)
class StartRequest:
    """The beginning of one native sign-in. Its repr shows the provider and ``implicit`` only.

    Attributes:
        provider: ``google``, ``apple``, or the name of a custom provider. Case-sensitive.
        login_options: `LoginOptions`, or a mapping in the wire's own names.
        implicit: True: the phone gets an id token. False: Apple gives a code. None: the service chooses.
        refresh_jwt: the refresh token of the person who is signed in, for step-up or MFA.
        known_device_jwt, trusted_device_jwt: as in `FinishRequest`.

    Raises `InvalidRequestError` where that cannot be right.
    """

    provider: str
    login_options: LoginOptions | Mapping[str, Json] | None = attrs.field(
        default=None, converter=_options_to_send, repr=False
    )
    implicit: bool | None = attrs.field(default=None, converter=none_if_empty)
    refresh_jwt: str | None = attrs.field(default=None, converter=_optional_text, repr=_hidden)
    known_device_jwt: str | None = attrs.field(default=None, converter=_optional_text, repr=_hidden)
    trusted_device_jwt: str | None = attrs.field(default=None, converter=_optional_text, repr=_hidden)

    def __attrs_post_init__(self) -> None:
        # Only self is in this frame when it raises: a collector of locals sees a repr, no secret.
        if refusal := _check_start(self):
            raise refusal


def _check_start(request: StartRequest) -> InvalidRequestError | None:
    if refusal := _check_texts(request, "provider"):
        return refusal
    implicit: object = request.implicit
    if not isinstance(implicit, bool | None):
        return _refusal("implicit", "must be True, False or None")
    return _check_tokens(request, "refresh_jwt", "known_device_jwt", "trusted_device_jwt")


def _refusal(argument: str, problem: str) -> InvalidRequestError:
    return InvalidRequestError(f"{argument} {problem}", argument)


def _check_texts(request: object, *names: str) -> InvalidRequestError | None:
    for name in names:
        value = getattr(request, name)
        if isinstance(value, str) and not value:
            return _refusal(name, "is empty")
        if not _is_nonblank(value):
            return _refusal(name, _TEXT)
    return None


def _check_optional_texts(request: object, *names: str) -> InvalidRequestError | None:
    for name in names:
        if getattr(request, name) is not None and not _is_nonblank(getattr(request, name)):
            return _refusal(name, f"{_TEXT}, or None")
    return None


def _check_tokens(request: object, *names: str) -> InvalidRequestError | None:
    for name in names:
        value = getattr(request, name)
        if value is not None and not (isinstance(value, str) and is_token(value)):
            return _refusal(name, f"must be a token, {MAX_TOKEN} characters at most, or None")
    return None


@attrs.frozen(kw_only=True)
class FinishRequest:
    """The proof of one native sign-in. Its repr shows the provider only.

    An optional attribute that is ``""`` is None.

    Attributes:
        provider: ``google``, ``apple``, or the name of a custom provider. Case-sensitive.
        state_id: the ``stateId`` that ``/v1/auth/oauth/native/start`` gave.
        code: the authorization code. Exactly one of ``code`` and ``id_token`` is set: Google gives
            an id token, Apple a code where start said ``implicit: false``, else an id token.
        id_token: the id token.
        user: the name Apple gave, as an `AppleUser` or as the JSON text for the wire, 4,096 characters
            and 64 opening brackets at most. Empty parts are left out, and one without a name is None:
            Apple names the person at the first sign-in only.
        known_device_jwt, trusted_device_jwt: what an earlier result had under these names, and the app
            kept. Of the form of a token: cookie-octets of RFC 6265, 16 KiB at most.
        nonce: what the start gave. An id token that is a JWT with another ``nonce`` is refused.
            It is not sent.

    Raises `InvalidRequestError` where that cannot be right.
    """

    provider: str
    state_id: str = attrs.field(repr=_hidden)
    code: str | None = attrs.field(default=None, converter=_optional_text, repr=_hidden)
    id_token: str | None = attrs.field(default=None, converter=_optional_text, repr=_hidden)
    user: AppleUser | str | None = attrs.field(default=None, converter=_name_to_send, repr=False)
    known_device_jwt: str | None = attrs.field(default=None, converter=_optional_text, repr=_hidden)
    trusted_device_jwt: str | None = attrs.field(default=None, converter=_optional_text, repr=_hidden)
    nonce: str | None = attrs.field(default=None, converter=_optional_text, repr=_hidden)

    def __attrs_post_init__(self) -> None:
        # Only self is in this frame when it raises: a collector of locals sees a repr, no secret.
        if refusal := _check_finish(self):
            raise refusal


def _check_finish(request: FinishRequest) -> InvalidRequestError | None:
    if refusal := _check_texts(request, "provider", "state_id"):
        return refusal
    if refusal := _check_optional_texts(request, "code", "id_token", "nonce"):
        return refusal
    if (request.code is None) == (request.id_token is None):
        return InvalidRequestError("exactly one of code and id_token must be given", "code")
    if not (request.user is None or isinstance(request.user, AppleUser) or _is_object_text(request.user)):
        return _refusal("user", f"must be an AppleUser or {_USER}")
    return _check_tokens(request, "known_device_jwt", "trusted_device_jwt") or _check_nonce(request)


def _check_nonce(request: FinishRequest) -> InvalidRequestError | None:
    """Whether the id token was made for the nonce that start gave. The service verifies it."""
    if request.nonce is None or request.id_token is None:
        return None
    claims = read_claims(request.id_token)
    if claims is None or claims.get("nonce") == request.nonce:
        return None
    found = claims.get("nonce")
    if found is None or found == "":
        return _refusal("id_token", "has no nonce; the phone must send the one that start gave")
    if _is_hash(str(found), request.nonce):
        return _refusal(
            "id_token",
            "holds the SHA-256 of the nonce; the phone's library hashes nonces, and must be told not to",
        )
    return _refusal("id_token", "holds another nonce than the one that start gave")


def _is_hash(text: str, nonce: str) -> bool:
    """Whether it is the SHA-256 of the nonce: hexadecimal, or base64 of either alphabet, padded or not."""
    digest = sha256(nonce.encode()).digest()
    in_base64 = text.rstrip("=").replace("-", "+").replace("_", "/")
    return text.lower() == digest.hex() or in_base64 == base64.b64encode(digest).decode().rstrip("=")


def _is_nonblank(value: object, longest: int = _MAX_INPUT) -> bool:
    """Whether it is a string with something in it."""
    return _is_string(value, longest) and value != "" and not str(value).isspace()


def _is_string(value: object, longest: int = _MAX_INPUT) -> bool:
    """Whether it is a string of a size that makes sense, and of characters that UTF-8 can carry."""
    if not isinstance(value, str) or len(value) > longest:
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse_constant(_: str) -> None:
    """NaN and Infinity, which json.loads takes for JSON unless it is given this."""
    raise ValueError


def _is_json_text(value: object) -> bool:
    if not _is_nonblank(value, _MAX_USER):
        return False
    text = str(value)
    if text.count("{") + text.count("[") > _MAX_BRACKETS:  # nested too deep to be read back everywhere
        return False
    try:
        _parse_json(text)
    except (ValueError, RecursionError):
        return False
    return True


def _parse_json(text: str) -> Any:
    return json.loads(text, parse_constant=refuse_constant)


def _is_object_text(value: object) -> bool:
    return _is_json_text(value) and isinstance(_parse_json(str(value)), dict)


def _instant(seconds: int | None) -> datetime | None:
    """An aware time, or None where it is unset (0 or absent) or beyond what a calendar holds."""
    if not seconds:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


# The classes below are what an answer becomes. Secrets and what may name a person are left out of every
# repr: a logged result shows ids, roles and permissions.


@attrs.frozen(kw_only=True)
class UserTenant:
    """One tenant the user belongs to, and what the user may do there.

    Attributes:
        tenant_id: its id.
        tenant_name: what people call it.
        role_names: the user's roles in this tenant only.
        permissions: the user's permissions in this tenant only.
        extra: what came under keys that nobody knew when this release was made.
    """

    tenant_id: str | None = None
    tenant_name: str | None = attrs.field(default=None, repr=False)
    role_names: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    extra: Mapping[str, Json] = attrs.field(default=EMPTY, repr=False)


@attrs.frozen(kw_only=True)
class User:
    """The person who signed in, as the service knows them.

    Times are unix seconds; 0 means unset, and the ``datetime`` property beside it is None then.

    Attributes:
        user_id: the service's own id of the user.
        name, given_name, middle_name, family_name: as the provider or the person gave them.
        email, phone: where the user can be reached; ``verified_email`` and ``verified_phone`` say
            whether that was proved. ``recovery_…`` likewise, for getting back in.
        picture: need not be a URL.
        status: ``enabled``, ``disabled``, ``invited``, …: an open set.
        test: a test user of the project.
        editable: whether the user may be changed in the console.
        password, webauthn, totp, push, saml, oidc, scim: ways the user can sign in or came by.
        login_ids: what the user can sign in as.
        external_ids: ids the user has elsewhere.
        role_names, permissions: of the user in the project as a whole; for tenants see theirs.
        user_tenants: the tenants the user belongs to.
        sso_app_ids: the SSO applications the user may open.
        oauth: which OAuth providers the user has signed in with.
        custom_attributes: any JSON, deeply immutable.
        created_time, modified_time: unix seconds; ``created_at``, ``modified_at``.
        consent_expiration: unix seconds; ``consent_expires_at``.
        extra: what came under keys that nobody knew when this release was made.
    """

    user_id: str | None = None
    name: str | None = attrs.field(default=None, repr=False)
    given_name: str | None = attrs.field(default=None, repr=False)
    middle_name: str | None = attrs.field(default=None, repr=False)
    family_name: str | None = attrs.field(default=None, repr=False)
    email: str | None = attrs.field(default=None, repr=False)
    phone: str | None = attrs.field(default=None, repr=False)
    recovery_email: str | None = attrs.field(default=None, repr=False)
    recovery_phone: str | None = attrs.field(default=None, repr=False)
    picture: str | None = attrs.field(default=None, repr=False)
    status: str | None = None
    verified_email: bool = False
    verified_phone: bool = False
    verified_recovery_email: bool = attrs.field(default=False, repr=False)
    verified_recovery_phone: bool = attrs.field(default=False, repr=False)
    test: bool = False
    editable: bool = attrs.field(default=False, repr=False)
    password: bool = attrs.field(default=False, repr=False)
    webauthn: bool = attrs.field(default=False, repr=False)
    totp: bool = attrs.field(default=False, repr=False)
    push: bool = attrs.field(default=False, repr=False)
    saml: bool = attrs.field(default=False, repr=False)
    oidc: bool = attrs.field(default=False, repr=False)
    scim: bool = attrs.field(default=False, repr=False)
    login_ids: tuple[str, ...] = attrs.field(default=(), repr=False)
    external_ids: tuple[str, ...] = attrs.field(default=(), repr=False)
    role_names: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    user_tenants: tuple[UserTenant, ...] = ()
    sso_app_ids: tuple[str, ...] = attrs.field(default=(), repr=False)
    oauth: Mapping[str, bool] = attrs.field(default=_NO_FLAGS, repr=False)
    custom_attributes: Mapping[str, Json] = attrs.field(default=EMPTY, repr=False)
    created_time: int | None = None
    modified_time: int | None = attrs.field(default=None, repr=False)
    consent_expiration: int | None = attrs.field(default=None, repr=False)
    extra: Mapping[str, Json] = attrs.field(default=EMPTY, repr=False)

    @property
    def created_at(self) -> datetime | None:
        """``created_time`` as an aware datetime (UTC), None where unset."""
        return _instant(self.created_time)

    @property
    def modified_at(self) -> datetime | None:
        """``modified_time`` as an aware datetime (UTC), None where unset."""
        return _instant(self.modified_time)

    @property
    def consent_expires_at(self) -> datetime | None:
        """``consent_expiration`` as an aware datetime (UTC), None where unset."""
        return _instant(self.consent_expiration)


@attrs.frozen(kw_only=True)
class IdpResponse:
    """What the identity provider said, where the project asks for it. Personal data throughout.

    Attributes:
        saml_response, oidc_response: what the provider answered, as text.
        saml_generated_user, oidc_generated_user: the user made from it, as text.
        saml_generated_roles, oidc_generated_roles: the roles made from it, as text.
        idp_groups: the groups the provider has the user in.
        idp_saml_attributes, idp_oidc_claims: any JSON, deeply immutable.
        extra: what came under keys that nobody knew when this release was made.
    """

    saml_response: str | None = attrs.field(default=None, repr=False)
    saml_generated_user: str | None = attrs.field(default=None, repr=False)
    saml_generated_roles: str | None = attrs.field(default=None, repr=False)
    oidc_response: str | None = attrs.field(default=None, repr=False)
    oidc_generated_user: str | None = attrs.field(default=None, repr=False)
    oidc_generated_roles: str | None = attrs.field(default=None, repr=False)
    idp_groups: tuple[str, ...] = attrs.field(default=(), repr=False)
    idp_saml_attributes: ObjectOrFalse = attrs.field(default=EMPTY, repr=False)
    idp_oidc_claims: Mapping[str, Json] = attrs.field(default=EMPTY, repr=False)
    extra: Mapping[str, Json] = attrs.field(default=EMPTY, repr=False)


@attrs.frozen
class Drift:
    """One place where an answer was not as documented. Never the value found there.

    Attributes:
        path: where, in the wire's names: ``user.userTenants[0].roleNames``; ``status``, ``body`` or
            ``Content-Encoding`` for what is odd about the answer as a whole; ``*`` for an unknown key.
        expected: the JSON type that the contract names.
        found: the JSON type that was there.
    """

    path: str
    expected: str
    found: str


@attrs.frozen(kw_only=True)
class StartResult:
    """A sign-in that has begun. Frozen, hashable, picklable; its repr shows neither state nor nonce.

    The phone needs ``client_id``, ``nonce`` and ``implicit``. ``state_id`` stays with the device that
    started, in its session or sealed, or a stranger could have somebody else finish the stranger's
    sign-in (RFC 9700 §4.7).

    Attributes:
        state_id: what `NativeOAuthFinisher.finish` takes. Used once.
        client_id: the OAuth client that the phone's request to Apple or Google names.
        nonce: goes into that request as it is, not hashed, and comes back as a claim of the id token.
        implicit: True: the phone gets an id token. False: it gets a code. None where the answer does not say.
        extra: what came under keys that nobody knew when this release was made.
        drift: what was not as documented. Not part of equality.
    """

    state_id: str = attrs.field(repr=_hidden)
    client_id: str | None = None
    nonce: str | None = attrs.field(default=None, repr=_hidden)
    implicit: bool | None = None
    extra: Mapping[str, Json] = attrs.field(default=EMPTY, repr=False)
    drift: tuple[Drift, ...] = attrs.field(default=(), eq=False)


@attrs.frozen(kw_only=True)
class FinishResult:
    """A session. Frozen, hashable, picklable; its repr shows no secret.

    What a finisher or a converter made is frozen through and through; who makes one by hand gives
    tuples and `FrozenDict` for the same. `descope_native.converters.make_converter` turns it into
    plain JSON.

    Attributes:
        session_jwt: the session token, from the body or, in cookie mode, from its cookie.
        refresh_jwt: the refresh token; a project may be set to give none.
        cookie_domain, cookie_path: where the refresh cookie belongs; server data, which
            `descope_native.cookies` checks before it becomes a header.
        cookie_max_age: seconds.
        cookie_expiration: unix seconds; 0 means unset.
        first_seen: whether this sign-in created the user; None where the answer does not say.
        session_expiration: unix seconds; 0 means unset.
        next_refresh_seconds: seconds until the session should be refreshed.
        cookie_name: the name of the *refresh* cookie, where the project has a custom one.
        session_cookie_name, session_cookie_domain: the same of the session cookie.
        external_token: a token of another system, where the project is connected to one. Unchecked.
        trusted_device_jwt, known_device_jwt: tokens that mark this device as trusted and as known; the
            app keeps them and gives them to the next sign-in.
        tenant_sso_id: the id of the tenant's SSO configuration that was used.
        unsaved_sso: whether an SSO configuration is being tried out that is not saved yet.
        user: the person; None where the answer has none.
        idp_response: what the identity provider said; None where the answer has none.
        claims: custom claims, opaque.
        extra: what came under keys that nobody knew when this release was made.
        drift: what was not as documented. What could be saved of it was, the rest has its default. Not
            part of equality: it tells how the answer came, not what it says.
    """

    session_jwt: Token = attrs.field(repr=_hidden)
    refresh_jwt: Token | None = attrs.field(default=None, repr=_hidden)
    cookie_domain: str | None = None
    cookie_path: str | None = None
    cookie_name: str | None = None
    session_cookie_name: str | None = None
    session_cookie_domain: str | None = None
    external_token: str | None = attrs.field(default=None, repr=False)
    trusted_device_jwt: Token | None = attrs.field(default=None, repr=_hidden)
    known_device_jwt: Token | None = attrs.field(default=None, repr=_hidden)
    tenant_sso_id: str | None = None
    unsaved_sso: bool = False
    user: User | None = None
    idp_response: IdpResponse | None = None
    first_seen: bool | None = None
    cookie_max_age: int | None = None
    cookie_expiration: int | None = None
    session_expiration: int | None = None
    next_refresh_seconds: int | None = None
    claims: Mapping[str, Json] = attrs.field(default=EMPTY, repr=False)
    extra: Mapping[str, Json] = attrs.field(default=EMPTY, repr=False)
    drift: tuple[Drift, ...] = attrs.field(default=(), eq=False)

    @property
    def cookie_expires_at(self) -> datetime | None:
        """``cookie_expiration`` as an aware datetime (UTC), None where unset."""
        return _instant(self.cookie_expiration)

    @property
    def session_expires_at(self) -> datetime | None:
        """``session_expiration`` as an aware datetime (UTC), None where unset."""
        return _instant(self.session_expiration)
