"""Bytes to a typed, checked, deeply immutable result, against what others make of the same bytes."""

import json
from collections.abc import Callable, Mapping
from types import GenericAlias
from typing import Any, Final

import attrs
from cattrs.gen import make_dict_structure_fn, override
from cattrs.preconf.json import make_converter as make_plain_converter

from benchmarks.answer import answer, as_body
from benchmarks.measure import Ratio, Settings, cpu_per_call, installed, interleaved, main, ratio
from descope_native import FinishRequest, FinishResult, HttpResponse, IdpResponse, User, UserTenant
from descope_native._service.answers import read_session
from descope_native._service.redaction import Redactor
from descope_native.converters import wire_name

OURS: Final = "bytes → FinishResult"
CLASSES: Final = (UserTenant, User, IdpResponse, FinishResult)  # inner ones first


def decode(settings: Settings) -> list[Ratio]:
    body = as_body(answer())
    candidates: dict[str, Callable[[], Any]] = {
        OURS: lambda: our_decode(body),
        "json.loads": lambda: json.loads(body),
        "plain cattrs": plain_cattrs(body),
    }
    if installed("pydantic"):
        candidates["pydantic"] = pydantic_models(body)
    assert our_decode(body).user.user_tenants[1].tenant_name == "Globex"
    times = settings.times(200)
    costs = interleaved(
        "decode", {name: cpu_per_call(call, times) for name, call in candidates.items()}, settings.rounds(60)
    )
    ratios = [
        ratio("decode", f"{OURS} ÷ json.loads", costs, (OURS, "json.loads"), 2.0),
        ratio("decode", f"{OURS} ÷ a plain cattrs converter", costs, (OURS, "plain cattrs")),
    ]
    if "pydantic" in costs:
        ratios += [ratio("decode", f"{OURS} ÷ pydantic frozen models", costs, (OURS, "pydantic"), 1.0)]
    return ratios


_REQUEST: Final = FinishRequest(provider="google", state_id="state", code="code")
_CENSOR: Final = Redactor(_REQUEST, None)
_HEADERS: Final = (("Content-Type", "application/json"), ("cf-ray", "8f0e1d2c3b4a5968-FRA"))


def our_decode(body: bytes) -> Any:
    """All that happens to an answer after the transport: a result, or an error."""
    return read_session(HttpResponse(200, _HEADERS, body), _CENSOR)


def plain_cattrs(body: bytes) -> Callable[[], Any]:
    """What cattrs' documentation leads to: its converter for JSON, the wire's names as overrides."""
    converter = make_plain_converter()
    converter.register_structure_hook_func(lambda t: t is object, lambda value, _: value)  # free-form JSON
    for cls in CLASSES:
        names: dict[str, Any] = {
            field.name: override(rename=wire_name(field.name)) for field in attrs.fields(cls)
        }
        converter.register_structure_hook(cls, make_dict_structure_fn(cls, converter, **names))
    return lambda: converter.loads(body, FinishResult)


def pydantic_models(body: bytes) -> Callable[[], Any]:
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
            if field.name not in {"extra", "drift"}
        }
        ours: Any = cls
        theirs: Any = pydantic.create_model(cls.__name__, __config__=config, **fields)
        models |= {ours: theirs, ours | None: theirs | None, tuples_of(ours): tuples_of(theirs)}
    return lambda: models[FinishResult].model_validate_json(body)


def tuples_of(item: type) -> GenericAlias:
    return GenericAlias(tuple, (item, ...))


if __name__ == "__main__":
    main(decode)
