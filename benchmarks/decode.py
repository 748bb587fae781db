"""Bytes to a typed, checked, deeply immutable result, against what others make of the same bytes."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from types import GenericAlias
from typing import Any, Final

import attrs
from cattrs.gen import make_dict_structure_fn, override
from cattrs.preconf.json import JsonConverter
from cattrs.preconf.json import make_converter as make_plain_converter

from benchmarks.answer import TENANT, answer, as_body
from benchmarks.measure import Ratio, Settings, cpu_per_call, installed, interleaved, main, ratio
from descope_native import (
    FinishRequest,
    FinishResult,
    HttpResponse,
    IdpResponse,
    StartResult,
    User,
    UserTenant,
)
from descope_native._service.answers import read_session
from descope_native._service.redaction import Redactor
from descope_native.converters import make_converter, structure_answer, wire_name

OURS: Final = "bytes → FinishResult"
STOCK: Final = "stock cattrs"
CLASSES: Final = (UserTenant, User, IdpResponse, FinishResult, StartResult)  # inner ones first
NOT_ON_THE_WIRE: Final = frozenset({"extra", "drift"})


def decode(settings: Settings) -> list[Ratio]:
    body = as_body(answer())
    converter = plain_converter()
    candidates: dict[str, Callable[[], Any]] = {
        OURS: lambda: our_decode(body),
        "json.loads": lambda: json.loads(body),
        STOCK: lambda: converter.loads(body, FinishResult),
    }
    if installed("pydantic"):
        candidates["pydantic"] = partial(pydantic_reader(), body)
    assert our_decode(body).user.user_tenants[1].tenant_name == "Globex"
    times = settings.times(200)
    costs = interleaved(
        "decode", {name: cpu_per_call(call, times) for name, call in candidates.items()}, settings.rounds(60)
    )
    ratios = [
        ratio("decode", f"{OURS} ÷ {STOCK}", costs, (OURS, STOCK)),
        ratio("decode", f"{OURS} ÷ json.loads", costs, (OURS, "json.loads")),
    ]
    if "pydantic" in costs:
        ratios += [ratio("decode", f"{OURS} ÷ pydantic frozen models", costs, (OURS, "pydantic"))]
    return [*ratios, structure(settings), odd_answer(settings)]


_CONVERTER: Final = make_converter()
STRUCTURE: Final = "parsed JSON → FinishResult"


def structure(settings: Settings) -> Ratio:
    """The converter by itself, after `json.loads`."""
    parsed = answer()
    plain = plain_converter()
    candidates: dict[str, Callable[[], Any]] = {
        STRUCTURE: lambda: structure_answer(_CONVERTER, FinishResult, parsed),
        STOCK: lambda: plain.structure(parsed, FinishResult),
    }
    times = settings.times(200)
    costs = interleaved(
        "structure",
        {name: cpu_per_call(call, times) for name, call in candidates.items()},
        settings.rounds(60),
    )
    return ratio("decode", f"{STRUCTURE} ÷ {STOCK}", costs, (STRUCTURE, STOCK))


def odd_answer(settings: Settings) -> Ratio:
    """1 MiB of tenants, parsed: what one oddity at the end costs."""
    tenants = [{**TENANT, "permissions": ["read"]} for _ in range(2**20 // 120)]
    odd, good = "one tenant is odd", "none is"
    costs = interleaved(
        "odd answer",
        {
            name: cpu_per_call(partial(structure_answer, _CONVERTER, FinishResult, parsed), 1)
            for name, parsed in (
                (good, {"sessionJwt": "s.e.s", "user": {"userTenants": tenants}}),
                (odd, {"sessionJwt": "s.e.s", "user": {"userTenants": [*tenants, {"tenantId": 1}]}}),
            )
        },
        settings.rounds(20),
    )
    return ratio("decode", f"1 MiB of tenants: {odd} ÷ {good}", costs, (odd, good), 3.0, unit="ms")


_OPTIONS: Final[Mapping[str, Mapping[str, bool]]] = {
    "none": {"detailed_validation": False},
    "detailed_validation": {"detailed_validation": True},
    "forbid_extra_keys": {"detailed_validation": False, "forbid_extra_keys": True},
    "prefer_attrib_converters": {"detailed_validation": False, "prefer_attrib_converters": True},
}


def options(settings: Settings) -> list[Ratio]:
    """What each of cattrs' options costs a plain converter."""
    parsed, times = answer(), settings.times(200)
    converters = {name: plain_converter(**each) for name, each in _OPTIONS.items()}
    costs = interleaved(
        "options",
        {
            name: cpu_per_call(partial(converter.structure, parsed, FinishResult), times)
            for name, converter in converters.items()
        },
        settings.rounds(60),
    )
    return [ratio("cattrs", f"{name} ÷ none", costs, (name, "none")) for name in _OPTIONS if name != "none"]


_REQUEST: Final = FinishRequest(provider="google", state_id="state", code="code")
_CENSOR: Final = Redactor(_REQUEST, None)
_HEADERS: Final = (("Content-Type", "application/json"), ("cf-ray", "8f0e1d2c3b4a5968-FRA"))


def our_decode(body: bytes) -> Any:
    """All that happens to an answer after the transport: a result, or an error."""
    return read_session(HttpResponse(200, _HEADERS, body), _CENSOR)


def plain_converter(**options: Any) -> JsonConverter:
    """What cattrs' documentation leads to: its converter for JSON, the wire's names as overrides."""
    converter = make_plain_converter(**options)
    converter.register_structure_hook_func(lambda t: t is object, lambda value, _: value)  # free-form JSON
    for cls in CLASSES:
        names: dict[str, Any] = {
            field.name: override(rename=wire_name(field.name), omit=field.name in NOT_ON_THE_WIRE)
            for field in attrs.fields(cls)
        }
        converter.register_structure_hook(cls, make_dict_structure_fn(cls, converter, **names))
    return converter


def pydantic_reader() -> Callable[[bytes], Any]:
    """Frozen models of the same fields, strict as ours, read by pydantic's own JSON parser."""
    import pydantic

    models: dict[Any, Any] = {
        Mapping[str, bool]: dict[str, bool],
        attrs.fields(User).custom_attributes.type: dict[str, Any],
        attrs.fields(IdpResponse).idp_saml_attributes.type: dict[str, Any],
    }
    config = pydantic.ConfigDict(frozen=True, strict=True)
    for cls in CLASSES:
        fields: Any = {
            field.name: (
                models.get(field.type, field.type),
                pydantic.Field(
                    ... if field.default is attrs.NOTHING else field.default, alias=wire_name(field.name)
                ),
            )
            for field in attrs.fields(cls)
            if field.name not in NOT_ON_THE_WIRE
        }
        ours: Any = cls
        theirs: Any = pydantic.create_model(cls.__name__, __config__=config, **fields)
        models |= {ours: theirs, ours | None: theirs | None, tuples_of(ours): tuples_of(theirs)}
    read: Callable[[bytes], Any] = models[FinishResult].model_validate_json
    return read


def tuples_of(item: type) -> GenericAlias:
    return GenericAlias(tuple, (item, ...))


if __name__ == "__main__":
    main(decode, options)
