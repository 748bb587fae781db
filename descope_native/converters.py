"""Models to JSON and back. The only module that knows cattrs and the wire's names.

`make_converter` gives a cattrs ``Converter`` with our hooks, spelled as cattrs' own preconf modules
spell it. It decodes strictly: only the JSON type that a field names is let in, nothing is coerced.
"""

# What json.loads gives is Any, and looking at its type() makes that Unknown in the eyes of pyright.
# A cast at each place would cost every answer a call.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import json
import linecache
import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from operator import eq
from types import GenericAlias, NoneType
from typing import Any, Final, TypeVar, cast

import attrs
from cattrs import ClassValidationError, Converter
from cattrs.gen import make_dict_unstructure_fn, override

from descope_native._tokens import is_token
from descope_native.models import (
    EMPTY,
    AppleUser,
    Drift,
    FinishRequest,
    FinishResult,
    FrozenDict,
    IdpResponse,
    Json,
    LoginOptions,
    ObjectOrFalse,
    StartRequest,
    StartResult,
    Token,
    User,
    UserTenant,
)

__all__ = ["make_converter", "structure_answer"]

T = TypeVar("T")
Model = TypeVar("Model", bound=attrs.AttrsInstance)

_OPTIONAL_TOKEN: Final = cast("Any", Token) | None

# A field is called on the wire what it is called here, in camelCase; but for these.
_WIRE_NAMES: Final = {
    "totp": "TOTP",
    "saml": "SAML",
    "oauth": "OAuth",
    "scim": "SCIM",
    "oidc": "OIDC",
    "tenant_sso_id": "tenantSSOID",
    "unsaved_sso": "unsavedSSO",
    "idp_saml_attributes": "idpSAMLAttributes",
    "idp_oidc_claims": "idpOIDCClaims",
}

_MAX_EXACT: Final = 2**53
"""Up to here a float holds every integer. Beyond, it may be another than the one that was spelled."""

_MAX_DEPTH: Final = 100
"""How deep free-form JSON may nest: far beyond any real claim, far below the interpreter's stack."""

_MOST_DRIFT: Final = 100
"""How many oddities of one object or list are looked at. Each costs, and a hostile answer could have a
million: what comes after them is left out."""

NOTHING_FOUND: Final = "nothing"

# These two tell how a result came about; no key of the wire is theirs.
_OFF_THE_WIRE: Final = frozenset({"extra", "drift"})

_DEVICE_TOKEN_HEADERS: Final = {
    "known_device_jwt": "x-descope-known-device-token",
    "trusted_device_jwt": "x-descope-trusted-device-token",
}
"""What a request sends as headers, not in its body."""

_JSON_TYPES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    NoneType: "null",
}

_APPLE_NAME_PARTS: Final = {"given_name": "firstName", "middle_name": "middleName", "family_name": "lastName"}


def wire_name(attribute: str) -> str:
    """The JSON key of an attribute."""
    head, *tail = attribute.split("_")
    return _WIRE_NAMES.get(attribute, head + "".join(word.capitalize() for word in tail))


class _Misfit(Exception):
    """Something was not as documented. Brings what could be saved, and where the rest is missing."""

    def __init__(self, saved: Any, *drift: Drift) -> None:
        super().__init__()
        self.saved = saved
        self.drift = drift

    def under(self, place: str) -> list[Drift]:
        return [
            attrs.evolve(drift, path=f"{place}{'.' if drift.path[:1] not in {'', '['} else ''}{drift.path}")
            for drift in self.drift
        ]


def drift_at(path: str, expected: str, value: object) -> Drift:
    return Drift(path, expected, _JSON_TYPES.get(type(value), "something else"))


def _wrong_type(expected: str, value: object, path: str = "") -> _Misfit:
    return _Misfit(attrs.NOTHING, drift_at(path, expected, value))


def _left_out(path: str) -> Drift:
    return Drift(path, f"{_MOST_DRIFT} oddities at most", "more")


def _unusable(expected: str, found: str) -> _Misfit:
    return _Misfit(attrs.NOTHING, Drift("", expected, found))


# How each type is let in. A hook is given what json.loads made of the value.

_BOOLEAN: Final = frozenset({bool})
_IMMUTABLE: Final = frozenset({str, int, bool, NoneType})  # a float may be infinite


def _structure_string(value: Any, _: Any) -> str | None:
    if value is not None and type(value) is not str:
        raise _wrong_type("string", value)
    return value or None


def _structure_token(value: Any, _: Any) -> str | None:
    text = _structure_string(value, _)
    if text is not None and not is_token(text):
        raise _unusable("token", "string")
    return text


def _structure_required_token(value: Any, _: Any) -> str:
    token = _structure_token(value, _)
    if token is None:  # absent, null and "" are the wire's three ways to leave it out
        raise _unusable("token", NOTHING_FOUND)
    return token


def _structure_required_string(value: Any, _: Any) -> str:
    text = _structure_string(value, _)
    if text is None:
        raise _unusable("string", NOTHING_FOUND)
    return text


def _structure_boolean(value: Any, _: Any) -> bool:
    if type(value) is not bool:
        raise _wrong_type("boolean", value)
    return value


def _structure_integer(value: Any, _: Any) -> int:
    if type(value) is float and value.is_integer() and abs(value) <= _MAX_EXACT:
        return int(value)  # JSON has one kind of number: 1.0 and 1e3 are integers
    if type(value) is not int:
        raise _wrong_type("integer", value)
    return value


def _structure_strings(value: Any, _: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise _wrong_type("array", value)
    for index, item in enumerate(value):
        if type(item) is not str:
            raise _wrong_type("string", item, path=f"[{index}]")
    return tuple(value)


def _structure_flags(value: Any, _: Any) -> FrozenDict[bool]:
    if value is None:
        return FrozenDict()
    if type(value) is not dict:
        raise _wrong_type("object", value)
    if not _BOOLEAN.issuperset(map(type, value.values())):
        raise _wrong_type(
            "boolean", next(flag for flag in value.values() if type(flag) is not bool), path="*"
        )
    return FrozenDict(value)


def _structure_object(value: Any, _: Any) -> FrozenDict[Json]:
    if value is None or value == {}:
        return EMPTY
    if type(value) is not dict:
        raise _wrong_type("object", value)
    frozen: FrozenDict[Json] = _freeze(value, _MAX_DEPTH)
    return frozen


def _structure_object_or_false(value: Any, _: Any) -> FrozenDict[Json]:
    return _structure_object(None if value is False else value, _)


def _freeze(value: Any, depth: int) -> Any:
    """JSON made deeply immutable."""
    kind = type(value)
    if kind is float and not math.isfinite(value):
        raise _unusable("finite number", "NaN" if math.isnan(value) else "infinity")
    if kind is not list and kind is not dict:
        return value
    if not depth:
        raise _unusable(f"nesting of {_MAX_DEPTH} at most", "more")
    if not value:
        return () if kind is list else EMPTY
    if kind is list:
        if not _IMMUTABLE.issuperset(map(type, value)):
            value = [_freeze(item, depth - 1) for item in value]
        return tuple(value)
    if not _IMMUTABLE.issuperset(map(type, value.values())):
        value = {key: _freeze(item, depth - 1) for key, item in value.items()}
    return FrozenDict(value)


def _thaw(value: Any) -> Any:
    """The way back, for json.dumps."""
    if isinstance(value, Mapping):
        return {key: _thaw(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_thaw(item) for item in value]
    return value


Hook = Callable[[Any, Any], Any]


@attrs.frozen
class _Hooks:
    """How one type is let in: `straight` raises where anything is odd, `careful` saves what it can.

    An odd answer is read straight once, then carefully once, at whatever depth the oddity is.
    """

    straight: Hook
    careful: Hook

    def __call__(self, value: Any, _: Any) -> Any:
        try:
            return self.straight(value, _)
        except (_Misfit, TypeError):
            return self.careful(value, _)


_HOOKS: Final[Mapping[Any, Hook]] = {
    str: _structure_required_string,
    str | None: _structure_string,
    Token: _structure_required_token,
    _OPTIONAL_TOKEN: _structure_token,
    bool: _structure_boolean,
    bool | None: _structure_boolean,
    int | None: _structure_integer,
    tuple[str, ...]: _structure_strings,
    Mapping[str, bool]: _structure_flags,
    Mapping[str, Json]: _structure_object,
    ObjectOrFalse: _structure_object_or_false,
}


def _unfrozen(cls: type[Model]) -> type[Model]:
    """The same class while it is being filled; an instance is told its real class once that is done.

    A frozen class can only be filled around the `__setattr__` that forbids it, by one call for each
    field, which makes it four times as dear.
    """
    # Both, for CPython sets an attribute without a lookup only where neither is overridden.
    members = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    return cast("type[Model]", type(cls.__name__, (cls,), members))


# A class's hook is put together as source, a few lines for each field by its type, and compiled, as cattrs
# does it: an answer has seventy fields, and one call for each would be most of what it costs. Where
# anything is not as it should be, the careful hooks look at all of it again, so these lines only have to
# notice.

_HEAD: Final = """
def structure(obj, _):
    if type(obj) is not dict:
        raise Misfit(None)
    get = obj.get
    instance = new(unfrozen)
"""
_BY_TYPE: Final[Mapping[Any, str]] = {
    Token: """
    value = get({key!r})
    if type(value) is not str or not is_token(value):
        raise Misfit(None)
    instance.{name} = value
""",
    str: """
    value = get({key!r})
    if type(value) is not str or not value:
        raise Misfit(None)
    instance.{name} = value
""",
    _OPTIONAL_TOKEN: """
    value = get({key!r})
    if value is not None and value != "" and (type(value) is not str or not is_token(value)):
        raise Misfit(None)
    instance.{name} = value or None
""",
    str | None: """
    value = get({key!r})
    if type(value) is not str and value is not None:
        raise Misfit(None)
    instance.{name} = value or None
""",
    bool: """
    value = get({key!r}, False)
    if value is not True and value is not False:
        raise Misfit(None)
    instance.{name} = value
""",
    bool | None: """
    value = get({key!r}, absent)
    if type(value) is not bool and value is not absent:  # null is not as documented
        raise Misfit(None)
    instance.{name} = None if value is absent else value
""",
    int | None: """
    value = get({key!r}, absent)
    if type(value) is not int and value is not absent:
        value = structure_{name}(value, None)
    instance.{name} = None if value is absent else value
""",
    tuple[str, ...]: """
    value = get({key!r}, absent)
    if type(value) is list:
        join(value)  # a TypeError where one is no string
    elif value is not absent:
        raise Misfit(None)
    instance.{name} = () if value is absent else tuple(value)
""",
}
_BY_HOOK: Final = """
    value = get({key!r}, absent)
    instance.{name} = default_{name} if value is absent else structure_{name}(value, None)
"""
_OFF_THE_WIRE_LINES: Final = """
    instance.{name} = default_{name}
"""
_TAIL: Final = """
    if not is_known(obj):
        instance.extra = structure_extra(obj)
    instance.__class__ = cls
    return instance
"""


def _source(cls: type[Model]) -> str:
    """What is compiled. Of a tenant's ``tenant_name`` it makes

    value = get('tenantName')
    if type(value) is not str and value is not None:
        raise Misfit(None)
    instance.tenant_name = value or None
    """
    lines = [_HEAD]
    for field in attrs.fields(cls):
        template = _BY_TYPE.get(field.type, _BY_HOOK)
        if field.name in _OFF_THE_WIRE:
            template = _OFF_THE_WIRE_LINES
        lines.append(template.format(name=field.name, key=wire_name(field.name)))
    return "".join([*lines, _TAIL])


def _careful_hook(  # noqa: C901 -- one branch for each kind of oddity
    cls: type[Model], fields: Mapping[str, "attrs.Attribute[Any]"], hooks: Mapping[str, Hook]
) -> Hook:
    """A hook that saves what it can of an object that is not as documented, and tells the rest."""
    required = {key: None for key, field in fields.items() if field.default is attrs.NOTHING}
    defaults: dict[str, Any] = {key: field.default for key, field in fields.items()} | required

    def structure_carefully(obj: Any, _: Any) -> Model:
        if type(obj) is not dict:
            raise _wrong_type("object", obj)
        values = dict(defaults)
        extra: dict[str, Json] = {}
        drift: list[Drift] = []
        is_cut = False
        for key, value in {**required, **obj}.items():
            try:
                if key in fields:
                    values[key] = hooks[key](value, None)
                elif len(drift) < _MOST_DRIFT:
                    extra[key] = _freeze(value, _MAX_DEPTH)
                else:
                    is_cut = True
            except _Misfit as misfit:
                drift += misfit.under(key if key in fields else "*")
                if misfit.saved is not attrs.NOTHING:
                    values[key] = misfit.saved
        if is_cut:
            drift.append(_left_out("*"))
        if any(values[key] is None for key in required):
            raise _Misfit(attrs.NOTHING, *drift)
        by_name = {fields[key].name: value for key, value in values.items()}
        instance: Model = cast("Any", cls)(**by_name, extra=FrozenDict(extra))
        if drift:
            raise _Misfit(instance, *drift)
        return instance

    return structure_carefully


def _class_hooks(cls: type[Model], known: Mapping[Any, _Hooks]) -> _Hooks:
    """Hooks that are made for one class. Those that cattrs makes coerce, or call for each field."""
    fields = {wire_name(field.name): field for field in attrs.fields(cls) if field.name not in _OFF_THE_WIRE}
    for field in fields.values():
        if field.type not in known:  # cattrs would have a hook for it, which coerces
            raise TypeError(f"{cls.__name__}.{field.name} has a type without a strict hook: {field.type}")
    straight = {key: known[field.type].straight for key, field in fields.items()}
    careful = {key: known[field.type].careful for key, field in fields.items()}

    def structure_extra(obj: dict[str, Any]) -> FrozenDict[Json]:
        return _structure_object({key: value for key, value in obj.items() if key not in fields}, None)

    names: dict[str, Any] = {
        "absent": object(),
        "cls": cls,
        "is_known": frozenset(fields).issuperset,
        "is_token": is_token,
        "join": "".join,
        "Misfit": _Misfit,
        "new": object.__new__,
        "structure_extra": structure_extra,
        "unfrozen": _unfrozen(cls),
    }
    names |= {f"default_{field.name}": field.default for field in attrs.fields(cls)}
    names |= {f"structure_{field.name}": straight[key] for key, field in fields.items()}
    source, file = _source(cls), f"<descope_native structure {cls.__name__}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # for debuggers
    exec(compile(source, file, "exec"), names)  # noqa: S102 -- of nobody's words but our own
    return _Hooks(names["structure"], _careful_hook(cls, fields, careful))


def _or_none(hook: Hook) -> Hook:
    return lambda value, _: None if value is None else hook(value, _)


def _tuple_of(hooks: _Hooks) -> _Hooks:
    structure_item = hooks.straight

    def structure(value: Any, _: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise _Misfit(None)
        return tuple([structure_item(item, _) for item in value])

    def structure_carefully(value: Any, _: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise _wrong_type("array", value)
        saved: list[Any] = []
        drift: list[Drift] = []
        for index, item in enumerate(value):
            if len(drift) >= _MOST_DRIFT:
                drift.append(_left_out(""))
                break
            try:
                saved.append(hooks(item, None))
            except _Misfit as misfit:
                drift += misfit.under(f"[{index}]")
                if misfit.saved is not attrs.NOTHING:
                    saved.append(misfit.saved)
        if drift:
            raise _Misfit(tuple(saved), *drift)
        return tuple(saved)

    return _Hooks(structure, structure_carefully)


def _register(converter: Converter, wanted: Any, hook: Hook) -> None:
    if isinstance(wanted, type):  # cattrs looks here first, and has hooks of its own that coerce
        converter.register_structure_hook(wanted, hook)
    else:
        converter.register_structure_hook_func(lambda t: t == wanted, hook)


class _Converter(Converter):
    """Says what does not fit without a word about what it was."""

    def structure(self, obj: Any, cl: type[T]) -> T:
        try:
            return super().structure(obj, cl)
        except _Misfit as misfit:
            places = [
                TypeError(f"{d.path or '$'}: expected {d.expected}, found {d.found}") for d in misfit.drift
            ]
        finally:
            del obj  # it holds tokens, and this frame is in the traceback of what follows
        message = f"While structuring {getattr(cl, '__name__', cl)}"
        raise ClassValidationError(message, places, cl)  # pyright: ignore[reportCallIssue] -- sees __init__ only, cattrs has __new__


def make_converter() -> Converter:
    """A cattrs converter between the models and the wire's JSON.

    ``unstructure(result)`` gives a JSON-able dict in the wire's own form: what is None is left
    out, ``extra`` is put back, and ``drift``, which is no part of a session, is dropped.
    ``structure(dict, FinishResult)`` takes it back, strictly: what does not fit raises
    ``cattrs.ClassValidationError``, whose sub-exceptions name the places, never the values.
    """
    converter = _Converter(detailed_validation=False)
    known = {wanted: _Hooks(hook, hook) for wanted, hook in _HOOKS.items()}
    models: tuple[type[attrs.AttrsInstance], ...] = (UserTenant, User, IdpResponse, FinishResult, StartResult)
    for cls in models:  # inner ones first
        hooks = known[cls] = _class_hooks(cls, known)
        known[cast("Any", cls) | None] = _Hooks(_or_none(hooks.straight), _or_none(hooks.careful))
        known[GenericAlias(tuple, (cls, ...))] = _tuple_of(hooks)
    for wanted, hooks in known.items():
        _register(converter, wanted, hooks)
    for thawed in (Mapping[str, bool], Mapping[str, Json], ObjectOrFalse, tuple[str, ...]):
        converter.register_unstructure_hook_func(partial(eq, thawed), _thaw)
    converter.register_unstructure_hook(FrozenDict, _thaw)
    converter.register_unstructure_hook(AppleUser, _unstructure_apple_user)
    for cls in (*models, LoginOptions, StartRequest, FinishRequest):
        converter.register_unstructure_hook(cls, _unstructure_hook(cls, converter))
    return converter


def _unstructure_apple_user(user: AppleUser) -> str:
    """The JSON *text* that the wire wants inside its JSON."""
    name = {
        key: part
        for attribute, key in _APPLE_NAME_PARTS.items()
        if (part := getattr(user, attribute)) is not None
    }
    return json.dumps({"name": name})


def device_token_headers(request: attrs.AttrsInstance) -> dict[str, str]:
    """The headers of a request that the app's device tokens become."""
    return {
        header: token
        for attribute, header in _DEVICE_TOKEN_HEADERS.items()
        if (token := getattr(request, attribute, None)) is not None
    }


def _unstructure_hook(cls: type[Model], converter: Converter) -> Callable[[Model], dict[str, Any]]:
    left_out = _OFF_THE_WIRE
    if cls in {StartRequest, FinishRequest}:
        left_out = left_out.union(_DEVICE_TOKEN_HEADERS, {"refresh_jwt", "nonce"})
    overrides: dict[str, Any] = {
        field.name: override(
            rename=wire_name(field.name),
            omit=field.name in left_out,
            omit_if_default=field.default is None,
        )
        for field in attrs.fields(cls)
    }
    unstructure_fields = make_dict_unstructure_fn(cls, converter, **overrides)

    def unstructure(instance: Model) -> dict[str, Any]:
        wire = unstructure_fields(instance)
        if extra := getattr(instance, "extra", None):
            wire.update(_thaw(extra))
        return wire

    return unstructure


_HALF_PAIR: Final = re.compile(r"[\ud800-\udfff]")
_MODELS: Final[Mapping[Any, type[attrs.AttrsInstance]]] = {
    FinishResult: FinishResult,
    cast("Any", User) | None: User,
    cast("Any", IdpResponse) | None: IdpResponse,
    UserTenant: UserTenant,
}
_TOKENS: Final[frozenset[Any]] = frozenset({Token, _OPTIONAL_TOKEN})
_LISTS: Final[Mapping[Any, Any]] = {tuple[str, ...]: str, tuple[UserTenant, ...]: UserTenant}


def replace_half_pairs(answer: dict[str, Any]) -> tuple[dict[str, Any], list[Drift]]:
    """The same answer with U+FFFD for each half of a surrogate pair, and where there were some.

    UTF-8 cannot carry such a half. Of two keys that are the same afterwards, the last counts.
    """
    paths: dict[str, None] = {}

    def replace(value: Any, path: str, wanted: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            if wanted in _TOKENS:  # it is not mended but left out
                return value
            text, count = _HALF_PAIR.subn("\ufffd", value)
            if count:
                paths[path] = None
            return text
        if kind is not list and kind is not dict:
            return value
        if not depth:
            return None  # the field nests too deep and is left out later
        if kind is list:
            inner, is_known = _LISTS.get(wanted), wanted in _LISTS
            return [
                replace(item, f"{path}[{index}]" if is_known else path, inner, depth - 1)
                for index, item in enumerate(value)
            ]
        model = _MODELS.get(wanted)
        fields = {wire_name(field.name): field.type for field in attrs.fields(model)} if model else {}
        replaced: dict[str, Any] = {}
        for key, item in value.items():
            place = path
            if model:  # an unknown key may be data, so no path names it
                place = f"{path}.{key if key in fields else '*'}".lstrip(".")
            replaced[replace(key, place, None, depth)] = replace(item, place, fields.get(key), depth - 1)
        return replaced

    # Deep enough that free-form JSON which nests too deep still does so in the deepest model.
    replaced: dict[str, Any] = replace(answer, "", FinishResult, _MAX_DEPTH + 5)
    drift = [Drift(path, "text", "half a surrogate pair") for path in paths]
    return replaced, drift if len(drift) <= _MOST_DRIFT else [*drift[:_MOST_DRIFT], _left_out("*")]


def structure_answer(
    converter: Converter, cls: type[Model], answer: dict[str, Any]
) -> Model | tuple[Drift, ...]:
    """A result with whatever could be saved, its `drift` filled; or the drift alone, where that was
    not enough for one.

    Never raises, so that no traceback has a frame that holds the answer.
    """
    try:
        result: Model = converter.get_structure_hook(cls)(answer, cls)
    except _Misfit as misfit:
        if misfit.saved is attrs.NOTHING:
            return misfit.drift
        saved: Any = misfit.saved
        return cast("Model", attrs.evolve(saved, drift=misfit.drift))
    return result
