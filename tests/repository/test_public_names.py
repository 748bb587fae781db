"""The public names: pinned, so that none goes or changes its arguments unnoticed."""

import inspect
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

import descope_native
from descope_native import converters, cookies, errors, models, retrying, single_flight, transports
from descope_native.transports import aiohttp, memory

TOP = {
    "AiohttpTransport",
    "AppleUser",
    "CallEvent",
    "ConnectError",
    "ConnectionLost",
    "DescopeNativeError",
    "Drift",
    "FinishRequest",
    "FinishResult",
    "FrozenDict",
    "HttpRequest",
    "HttpResponse",
    "IdpResponse",
    "InMemoryTransport",
    "InvalidRequestError",
    "LoginOptions",
    "NativeOAuthFinisher",
    "NativeOAuthStarter",
    "Outcome",
    "ProjectRejectedError",
    "RateLimitedError",
    "RejectedError",
    "RequestTimeout",
    "ResponseError",
    "Retry",
    "ServerError",
    "SingleFlight",
    "StartRequest",
    "StartResult",
    "TLSError",
    "Transport",
    "TransportClosed",
    "TransportError",
    "UnexpectedResponse",
    "User",
    "UserTenant",
    "__version__",
}


def test_the_top_level_names_are_these() -> None:
    """No more and no fewer, all of them there, and all of them reached by a star import."""
    assert set(descope_native.__all__) == TOP
    assert len(descope_native.__all__) == len(TOP)
    namespace: dict[str, Any] = {}
    exec("from descope_native import *", namespace)
    assert namespace.keys() - {"__builtins__"} == TOP


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """The lazy transport does not swallow typos."""
    with pytest.raises(AttributeError, match="module 'descope_native' has no attribute 'AiohtpTransport'"):
        descope_native.AiohtpTransport  # type: ignore[attr-defined]  # noqa: B018 -- looking is enough


@pytest.mark.parametrize(
    "module", [converters, errors, models, retrying, single_flight, transports, aiohttp, memory]
)
def test_each_module_says_what_is_public(module: Any) -> None:
    """And keeps its word."""
    for name in module.__all__:
        assert hasattr(module, name)


CLIENT = (
    "(project_id, transport, *, base_url=None, auth_management_key=None, timeout=15.0, retry=None,"
    " single_flight=None, on_call=None, strict=False, allow_http=False)"
)
PROOF = "provider, state_id, code=None, id_token=None, user=None"
DEVICE = "known_device_jwt=None, trusted_device_jwt=None"
SIGNATURES: dict[str, tuple[Any, str]] = {
    "finisher": (descope_native.NativeOAuthFinisher, CLIENT),
    "starter": (descope_native.NativeOAuthStarter, CLIENT),
    "open": (descope_native.NativeOAuthFinisher.open, "(project_id, **options)"),
    "finish": (
        descope_native.NativeOAuthFinisher.finish,
        f"(self, *, {PROOF}, nonce=None, {DEVICE}, timeout=None)",
    ),
    "start": (
        descope_native.NativeOAuthStarter.start,
        f"(self, *, provider, login_options=None, implicit=None, refresh_jwt=None, {DEVICE}, timeout=None)",
    ),
    "AppleUser": (descope_native.AppleUser, "(*, given_name=None, middle_name=None, family_name=None)"),
    "FinishRequest": (
        descope_native.FinishRequest,
        f"(*, {PROOF}, {DEVICE}, nonce=None)",
    ),
    "HttpRequest": (descope_native.HttpRequest, "(*, method, url, headers, body, timeout, progress=NOTHING)"),
    "HttpResponse": (descope_native.HttpResponse, "(status, headers=(), body=b'')"),
    "send": (descope_native.Transport.send, "(self, request, /)"),
    "InMemoryTransport": (descope_native.InMemoryTransport, "(handler, *, max_body=1048576)"),
    "AiohttpTransport": (
        descope_native.AiohttpTransport,
        "(session, *, proxy=None, connect_timeout=5.0, keepalive_timeout=55.0, max_body=1048576)",
    ),
    "AiohttpTransport.open": (
        descope_native.AiohttpTransport.open,
        (
            "(*, ssl=True, proxy=None, trust_env=False, limit=100, connect_timeout=5.0,"
            " keepalive_timeout=55.0, keep_warm=False, reuse_connections=True, max_body=1048576)"
        ),
    ),
    "make_converter": (converters.make_converter, "()"),
    "SingleFlight": (
        descope_native.SingleFlight,
        "(*, remember=30.0, store=None, store_timeout=0.5, max_entries=10000, when_store_fails='send')",
    ),
    "RedisStore": (single_flight.RedisStore, "(redis, *, prefix='descope_native:')"),
    "claim": (single_flight.Store.claim, "(self, key, claim, seconds, /)"),
    "settle": (single_flight.Store.settle, "(self, key, result, seconds, spent, /)"),
    "release": (single_flight.Store.release, "(self, key, claim, /)"),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_arguments_are_these(name: str) -> None:
    """Their names, order, kinds and defaults."""
    thing, expected = SIGNATURES[name]
    signature = inspect.signature(thing)
    bare = signature.replace(
        parameters=[
            parameter.replace(annotation=inspect.Parameter.empty)
            for parameter in signature.parameters.values()
        ],
        return_annotation=inspect.Signature.empty,
    )
    assert str(bare) == expected


def test_the_outcomes_are_three() -> None:
    """By name and by value: both end up in logs and metrics."""
    assert {outcome.name: outcome.value for outcome in descope_native.Outcome} == {
        "NOT_SENT": "not_sent",
        "REJECTED": "rejected",
        "UNKNOWN": "unknown",
    }


def public_things() -> list[tuple[str, Any]]:
    things = []
    for name in sorted(TOP - {"__version__"}):
        thing = getattr(descope_native, name)
        things.append((name, thing))
        for attribute, member in vars(thing).items():
            if not attribute.startswith("_") and (
                inspect.isfunction(member) or isinstance(member, property | classmethod)
            ):
                things.append((f"{name}.{attribute}", member))
    return things


@pytest.mark.parametrize("thing", [pytest.param(thing, id=name) for name, thing in public_things()])
def test_each_public_name_is_documented(thing: Any) -> None:
    """In its own words, not by a docstring that it inherited or that attrs made up."""
    doc = thing.__doc__
    assert doc
    assert not doc.startswith("Method generated by attrs")


def test_the_version_is_that_of_the_project() -> None:
    """A static one, the same in both places that have it."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert descope_native.__version__ == project["version"]


@pytest.mark.parametrize(
    ("type_", "words"),
    [
        (errors.Phase, "pool connect send wait read"),
        (errors.ConnectReason, "dns refused unreachable reset proxy tls other"),
        (cookies.SameSite, "lax strict none"),
    ],
)
def test_a_type_has_these_words(type_: object, words: str) -> None:
    """Whoever matches on them wants to be told of another one."""
    assert get_args(type_) == tuple(words.split())


def test_what_an_answer_did_not_say_is_none() -> None:
    """Of an error that somebody makes by hand as well."""
    error = descope_native.RateLimitedError(429)
    assert (error.trace_id, error.code, error.description, error.message, error.retry_after) == (None,) * 5
