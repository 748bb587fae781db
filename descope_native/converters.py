"""Models to JSON and back. The only module that knows cattrs and the wire's names.

`make_converter` gives a cattrs ``Converter`` with our hooks, as cattrs' own preconf modules do. It decodes
strictly: only the JSON type that a field names is let in, nothing is coerced. `structure_answer` also mends.

A new answer is one entry in `ANSWERS`, a new request one in `REQUESTS`: the models inside are found by the
types of their fields.
"""

# What json.loads gives is Any, and looking at its type() makes that Unknown in the eyes of pyright.
# A cast at each place would cost every answer a call.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from itertools import islice
from operator import eq
from types import GenericAlias, NoneType
from typing import Any, Final, TypeVar, cast, get_args, get_origin

import attrs
from cattrs import ClassValidationError, Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from descope_native._tokens import MAX_TOKEN, is_token
from descope_native.models import (
    EMPTY,
    AppleUser,
    Drift,
    FinishRequest,
    FinishResult,
    FrozenDict,
    Json,
    LoginOptions,
    ObjectOrFalse,
    StartRequest,
    StartResult,
    Token,
)

__all__ = ["make_converter", "structure_answer"]

T = TypeVar("T")
Model = TypeVar("Model", bound=attrs.AttrsInstance)

ANSWERS: Final[tuple[type[attrs.AttrsInstance], ...]] = (FinishResult, StartResult)
REQUESTS: Final[tuple[type[attrs.AttrsInstance], ...]] = (FinishRequest, StartRequest)

# The JSON key of an attribute is its name in camelCase, except for these.
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
"""Below, a float is the integer that was spelled. From here on it may stand for another one."""

_MAX_DEPTH: Final = 100
"""How deep free-form JSON may nest: far beyond any real claim, far below the interpreter's stack."""

_MAX_DRIFT: Final = 100
"""How much drift of one object or list is listed. Each costs time, and a hostile answer could have a
million: what comes after them is left out."""

NOTHING_FOUND: Final = "nothing"

# Attributes that hold what no field describes. They have no key of their own on the wire.
_NOT_ON_THE_WIRE: Final = frozenset({"extra", "drift"})

_DEVICE_TOKEN_HEADERS: Final = {
    "known_device_jwt": "x-descope-known-device-token",
    "trusted_device_jwt": "x-descope-trusted-device-token",
}
"""What a request sends as headers, not in its body."""

_NOT_IN_THE_BODY: Final = frozenset({*_DEVICE_TOKEN_HEADERS, "refresh_jwt", "nonce"})

_JSON_TYPES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    NoneType: "null",
}

_NOT_JSON: Final = "something else"

_APPLE_NAME_PARTS: Final = {"given_name": "firstName", "middle_name": "middleName", "family_name": "lastName"}


def wire_name(attribute: str) -> str:
    """The JSON key of an attribute."""
    head, *tail = attribute.split("_")
    return _WIRE_NAMES.get(attribute, head + "".join(word.capitalize() for word in tail))


@cache
def _wire_types(cls: type[attrs.AttrsInstance]) -> Mapping[str, Any]:
    """The JSON keys of a model, and the type of each."""
    return {
        wire_name(field.name): field.type for field in attrs.fields(cls) if field.name not in _NOT_ON_THE_WIRE
    }


class _Mismatch(Exception):
    """A value is not as documented. ``partial`` is what could be read of it, or `attrs.NOTHING`."""

    def __init__(self, partial: Any, *drift: Drift) -> None:
        super().__init__()
        self.partial = partial
        self.drift = drift

    def under(self, place: str) -> list[Drift]:
        """The drift, with paths that start one level further out."""
        return [
            attrs.evolve(drift, path=f"{place}{'.' if drift.path[:1] not in {'', '['} else ''}{drift.path}")
            for drift in self.drift
        ]


def drift_at(path: str, expected: str, value: object) -> Drift:
    return Drift(path, expected, _JSON_TYPES.get(type(value), _NOT_JSON))


def _wrong_type(expected: str, value: object, path: str = "") -> _Mismatch:
    return _Mismatch(attrs.NOTHING, drift_at(path, expected, value))


def _unusable(expected: str, found: str) -> _Mismatch:
    return _Mismatch(attrs.NOTHING, Drift("", expected, found))


def _too_much_drift(path: str) -> Drift:
    return Drift(path, f"{_MAX_DRIFT} oddities at most", "more")


# Strict hooks, one for each type that a field may have. They are called for each field of each answer: what
# is as documented takes the first branch.

_IMMUTABLE: Final = frozenset({str, int, bool, NoneType})  # a float may be infinite


def _structure_string(value: Any, _: Any) -> str | None:
    if type(value) is str:
        return value or None
    if value is not None:
        raise _wrong_type("string", value)
    return None


def _structure_required_string(value: Any, _: Any) -> str:
    text = _structure_string(value, _)
    if text is None:  # null and "" mean the same as absent
        raise _unusable("string", NOTHING_FOUND)
    return text


def _structure_token(value: Any, _: Any) -> str | None:
    text = _structure_string(value, _)
    if text is not None and not is_token(text):
        is_long = len(text) > MAX_TOKEN
        raise _unusable("token", f"more than {MAX_TOKEN} characters" if is_long else "string")
    return text


def _structure_required_token(value: Any, _: Any) -> str:
    token = _structure_token(value, _)
    if token is None:
        raise _unusable("token", NOTHING_FOUND)
    return token


def _structure_boolean(value: Any, _: Any) -> bool:
    if type(value) is not bool:
        raise _wrong_type("boolean", value)
    return value


def _structure_integer(value: Any, _: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) < _MAX_EXACT:
        return int(value)  # JSON has one kind of number: 1.0 and 1e3 are integers
    raise _wrong_type("integer", value)


def _structure_strings(value: Any, _: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise _wrong_type("array", value)
    for item in value:
        if type(item) is not str:
            raise _wrong_type("string", item, path=f"[{value.index(item)}]")
    return tuple(value)


def _structure_flags(value: Any, _: Any) -> FrozenDict[bool]:
    if value is None:
        return FrozenDict()
    if type(value) is not dict:
        raise _wrong_type("object", value)
    for flag in value.values():
        if type(flag) is not bool:
            raise _wrong_type("boolean", flag, path="*")
    return FrozenDict(value)


def _structure_json(value: Any, _: Any) -> Any:
    return _freeze(value, _MAX_DEPTH)


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

_HOOKS: Final[Mapping[Any, Hook]] = {
    str: _structure_required_string,
    str | None: _structure_string,
    Token: _structure_required_token,
    cast("Any", Token) | None: _structure_token,
    bool: _structure_boolean,
    bool | None: _structure_boolean,
    int | None: _structure_integer,
    tuple[str, ...]: _structure_strings,
    Mapping[str, bool]: _structure_flags,
    Mapping[str, Json]: _structure_object,
    ObjectOrFalse: _structure_object_or_false,
}
_REQUIRED: Final[Mapping[Any, str]] = {str: "string", Token: "token"}
"""What is expected where a required key is absent, so that no hook is asked."""


def _structure_each(
    items: Iterator[tuple[Any, Any]], hook: Hook, place: str
) -> tuple[dict[Any, Any], list[Drift]]:
    """What could be read of a list or an object by its index or key, and the drift of the others."""
    read: dict[Any, Any] = {}
    drift: list[Drift] = []
    for key, item in items:
        try:
            read[key] = hook(item, None)
        except _Mismatch as mismatch:
            drift += mismatch.under(place.format(key))
            if mismatch.partial is not attrs.NOTHING:
                read[key] = mismatch.partial
            if len(drift) >= _MAX_DRIFT:
                drift += [_too_much_drift("") for _ in islice(items, 1)]
                break
    return read, drift


def _structure_extra(value: Any, _: Any) -> FrozenDict[Json]:
    read, drift = _structure_each(iter(value.items()), _structure_json, "")
    if drift:
        raise _Mismatch(FrozenDict(read), *drift)
    return FrozenDict(read)


def _list_hook(structure_item: Hook) -> Hook:
    def structure(value: Any, _: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise _wrong_type("array", value)
        read, drift = _structure_each(enumerate(value), structure_item, "[{}]")
        if drift:
            raise _Mismatch(tuple(read.values()), *drift)
        return tuple(read.values())

    return structure


def _optional_hook(hook: Hook) -> Hook:
    return lambda value, _: None if value is None else hook(value, _)


def _models_in(wanted: Any) -> Iterator[type[attrs.AttrsInstance]]:
    """The models that a type is made of, inner ones first."""
    for argument in get_args(wanted):
        yield from _models_in(argument)
    if attrs.has(wanted):
        for field_type in _wire_types(wanted).values():
            yield from _models_in(field_type)
        yield wanted


def _field_overrides(cls: type[attrs.AttrsInstance], hooks: Mapping[Any, Hook]) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for field in attrs.fields(cls):
        # cattrs would find a hook for any type, but one that coerces.
        if field.name not in _NOT_ON_THE_WIRE and field.type not in hooks:
            raise TypeError(f"{cls.__name__}.{field.name} has a type without a strict hook: {field.type}")
        overrides[field.name] = override(rename=wire_name(field.name))
    return overrides | {"extra": override(struct_hook=_structure_extra), "drift": override(omit=True)}


def _mismatch_of(error: Exception, wanted: Any, found: str) -> _Mismatch:
    error.__traceback__ = None  # a cycle: its frames hold the error, and the answer
    if isinstance(error, _Mismatch):
        return error
    # A KeyError, for the key is absent; or no stack was left to read the value.
    return _unusable(_REQUIRED.get(wanted, "value"), found)


def _model_hook(cls: type[Model], converter: Converter, hooks: Mapping[Any, Hook]) -> Hook:
    """A hook for one model, around the one that cattrs makes of its fields.

    With detailed validation, cattrs tells of every field that is refused. It costs nothing where none is.
    """
    structure_fields = make_dict_structure_fn(
        cls, converter, _cattrs_detailed_validation=True, **_field_overrides(cls, hooks)
    )
    types = _wire_types(cls)
    is_known = frozenset(types).issuperset
    required = [wire_name(field.name) for field in attrs.fields(cls) if field.default is attrs.NOTHING]

    def structure(value: Any, _: Any) -> Model:
        if type(value) is not dict:
            raise _wrong_type("object", value)
        if not is_known(value):
            value = {**value, "extra": {key: item for key, item in value.items() if key not in types}}
        try:
            return structure_fields(value, cls)
        except ClassValidationError as error:
            refused = error.group_exceptions()[0]
        raise leave_out(value, refused)

    def leave_out(value: dict[str, Any], refused: list[tuple[Exception, Any]]) -> _Mismatch:
        """The model without the fields that were refused, or with what could be read of them."""
        errors = {wire_name(note.name): (error, note) for error, note in refused}
        partial: dict[str, Any] = {}
        drift: list[Drift] = []
        for key in filter(errors.__contains__, dict.fromkeys((*required, *value))):
            error, note = errors[key]
            mismatch = _mismatch_of(error, note.type, _NOT_JSON if key in value else NOTHING_FOUND)
            drift += mismatch.under("*" if key == "extra" else key)
            if mismatch.partial is not attrs.NOTHING:
                partial[note.name] = mismatch.partial
        usable = {key: item for key, item in value.items() if key not in errors}
        try:
            instance: Any = structure_fields(usable, cls)
        except ClassValidationError as again:  # a required key is missing, or no stack is left
            for error in again.exceptions:
                error.__traceback__ = None
            return _Mismatch(attrs.NOTHING, *drift)
        return _Mismatch(attrs.evolve(instance, **partial), *drift)

    return structure


class _Converter(Converter):
    """Says what does not fit without a word about what it was."""

    def structure(self, obj: Any, cl: type[T]) -> T:
        try:
            return super().structure(obj, cl)
        except _Mismatch as mismatch:
            places = [
                TypeError(f"{d.path or '$'}: expected {d.expected}, found {d.found}") for d in mismatch.drift
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
    hooks: dict[Any, Hook] = dict(_HOOKS)

    def strict_hook(wanted: Any) -> Hook:
        return hooks[wanted]

    # cattrs asks its own hooks for these before any predicate, and they coerce.
    converter.register_structure_hook(str, hooks[str])
    converter.register_structure_hook(bool, hooks[bool])
    converter.register_structure_hook_factory(hooks.__contains__, strict_hook)
    for wanted in (Mapping[str, bool], Mapping[str, Json], ObjectOrFalse, tuple[str, ...]):
        converter.register_unstructure_hook_func(partial(eq, wanted), _thaw)
    converter.register_unstructure_hook(FrozenDict, _thaw)
    converter.register_unstructure_hook(AppleUser, _unstructure_apple_user)
    models = tuple(dict.fromkeys(model for answer in ANSWERS for model in _models_in(answer)))
    for cls in models:
        hook = hooks[cls] = _model_hook(cls, converter, hooks)
        hooks[cast("Any", cls) | None] = _optional_hook(hook)
        hooks[GenericAlias(tuple, (cls, ...))] = _list_hook(hook)
    for cls in (*models, LoginOptions, *REQUESTS):
        converter.register_unstructure_hook(cls, _unstructure_hook(cls, converter))
    return converter


@cache
def own_converter() -> Converter:
    """The one that calls are made with. Making one takes milliseconds, of each program that starts."""
    return make_converter()


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
    left_out = _NOT_IN_THE_BODY if cls in REQUESTS else _NOT_ON_THE_WIRE
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


def _mend(text: str, path: str, wanted: Any, mended: dict[str, None]) -> str:
    if text.isascii() or Token in (wanted, *get_args(wanted)):  # a token is not mended but left out
        return text
    whole, count = _HALF_PAIR.subn("\ufffd", text)
    if count:
        mended[path] = None
    return whole


def replace_half_pairs(
    cls: type[attrs.AttrsInstance], answer: dict[str, Any]
) -> tuple[dict[str, Any], list[Drift]]:
    """The same answer with U+FFFD for each half of a surrogate pair, and where there were some.

    UTF-8 cannot carry such a half. Of two keys that are the same afterwards, the last counts.
    """
    paths: dict[str, None] = {}

    def replace(value: Any, path: str, wanted: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return _mend(value, path, wanted, paths)
        if kind is not list and kind is not dict:
            return value
        arguments = get_args(wanted)
        if not depth:
            return None  # the field nests too deep and is left out later
        if kind is list:
            is_known = get_origin(wanted) is tuple
            inner = arguments[0] if is_known else None
            return [
                replace(item, f"{path}[{index}]" if is_known else path, inner, depth - 1)
                for index, item in enumerate(value)
            ]
        model = next(filter(attrs.has, (wanted, *arguments)), None)
        types = _wire_types(model) if model else {}
        replaced: dict[str, Any] = {}
        for key, item in value.items():
            place = path
            if model:  # an unknown key may be data, so no path names it
                place = f"{path}.{key if key in types else '*'}".lstrip(".")
            replaced[replace(key, place, None, depth)] = replace(item, place, types.get(key), depth - 1)
        return replaced

    # Deep enough that free-form JSON which nests too deep still does so in the deepest model.
    replaced: dict[str, Any] = replace(answer, "", cls, _MAX_DEPTH + 5)
    drift = [Drift(path, "text", "half a surrogate pair") for path in paths]
    if len(drift) > _MAX_DRIFT:
        drift[_MAX_DRIFT:] = [_too_much_drift("*")]
    return replaced, drift


def structure_answer(
    converter: Converter, cls: type[Model], answer: dict[str, Any]
) -> Model | tuple[Drift, ...]:
    """A result with whatever could be read, its `drift` filled; or the drift alone, where a required field
    is missing.

    Never raises, so that no traceback has a frame that holds the answer.
    """
    try:
        result: Model = converter.get_structure_hook(cls)(answer, cls)
    except _Mismatch as mismatch:
        partial, drift = mismatch.partial, mismatch.drift
    else:
        return result
    return drift if partial is attrs.NOTHING else attrs.evolve(partial, drift=drift)
