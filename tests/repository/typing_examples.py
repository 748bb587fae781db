"""Example calls as mypy and pyright see them. It is checked, never run.

What is right must be let through with exactly these types. What is wrong must be refused: each wrong
line has an ignore, which both mind, and one that is not needed is an error of its own.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Literal, assert_type

import aiohttp
from cattrs import Converter
from yarl import URL

from descope_native import (
    AiohttpTransport,
    AppleUser,
    ConnectError,
    DescopeNativeError,
    Drift,
    FinishRequest,
    FinishResult,
    FrozenDict,
    HttpRequest,
    HttpResponse,
    IdpResponse,
    InMemoryTransport,
    InvalidRequestError,
    NativeOAuthFinisher,
    Outcome,
    RateLimitedError,
    RejectedError,
    RequestTimeout,
    ResponseError,
    Retry,
    ServerError,
    Transport,
    TransportError,
    UnexpectedResponse,
    User,
    UserTenant,
)
from descope_native.converters import make_converter
from descope_native.models import Json


async def the_ten_lines() -> None:
    async with NativeOAuthFinisher.open("P2abc") as finisher:
        assert_type(finisher, NativeOAuthFinisher)
        result = await finisher.finish(provider="google", state_id="s", id_token="t")
        assert_type(result, FinishResult)
        assert_type(result.session_jwt, str)
        assert_type(result.refresh_jwt, str | None)
        assert_type(result.user, User | None)
        assert_type(result.first_seen, bool | None)
        assert_type(result.idp_response, IdpResponse | None)
        assert_type(result.session_expiration, int | None)
        assert_type(result.session_expires_at, datetime | None)
        assert_type(result.drift, tuple[Drift, ...])
        assert_type(result.extra, Mapping[str, Json])
        assert_type(result.claims, Mapping[str, Json])
        print(result.user.email)  # type: ignore[union-attr]
        if result.user is not None:
            assert_type(result.user.email, str | None)
            assert_type(result.user.login_ids, tuple[str, ...])
            assert_type(result.user.user_tenants, tuple[UserTenant, ...])
            assert_type(result.user.oauth, Mapping[str, bool])
            assert_type(result.user.verified_email, bool)
            assert_type(result.user.created_at, datetime | None)


async def every_option(session: aiohttp.ClientSession) -> None:
    opening = NativeOAuthFinisher.open(
        "P2abc",
        base_url=URL("https://auth.example.com"),
        auth_management_key="K2abc",
        timeout=5,
        retry=Retry(attempts=3, initial=0.2, maximum=5),
        strict=True,
        allow_http=False,
    )
    assert_type(opening, AbstractAsyncContextManager[NativeOAuthFinisher, bool | None])
    borrowed = AiohttpTransport(session, proxy="http://proxy.example:3128", connect_timeout=2, max_body=1000)
    finisher = NativeOAuthFinisher("P2abc", borrowed, base_url=None, timeout=2.5)
    await finisher.finish(
        provider="apple", state_id="s", code="c", user=AppleUser(given_name="Ada"), timeout=1
    )
    await finisher.finish(provider="apple", state_id="s", code="c", user='{"name": {}}', timeout=None)
    async with AiohttpTransport.open(ssl=True, limit=10, reuse_connections=False) as transport:
        assert_type(transport, AiohttpTransport)
        assert_type(await transport.send(request()), HttpResponse)


def request() -> HttpRequest:
    return HttpRequest(method="POST", url=URL("https://a.example"), headers={}, body=b"", timeout=1.0)


async def transports() -> None:
    def now(request: HttpRequest) -> HttpResponse:
        assert_type(request.url, URL)
        assert_type(request.headers, Mapping[str, str])
        return HttpResponse(200, [("Set-Cookie", "DS=s")], json.dumps({"sessionJwt": "s"}).encode())

    async def later(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)
        return HttpResponse(status=401, headers=iter([("cf-ray", "x")]))

    class Mine:
        async def send(self, whatever_name: HttpRequest, /) -> HttpResponse:
            return HttpResponse(whatever_name.url.port or 200)

    class NotAsync:
        def send(self, request: HttpRequest, /) -> HttpResponse:
            return HttpResponse(200)

    transport: Transport = InMemoryTransport(now)
    transport = InMemoryTransport(later)
    transport = Mine()
    assert_type(InMemoryTransport(now).requests, list[HttpRequest])
    assert_type(HttpResponse(429, {"Retry-After": "3"}).headers, tuple[tuple[str, str], ...])
    assert_type(HttpResponse(200).header("cf-ray"), str | None)
    assert_type(HttpResponse(200).header_values("Set-Cookie"), list[str])
    NativeOAuthFinisher("P2abc", transport)
    NativeOAuthFinisher("P2abc", NotAsync())  # type: ignore[arg-type]
    NativeOAuthFinisher("P2abc", aiohttp.ClientSession())  # type: ignore[arg-type]
    InMemoryTransport(lambda: HttpResponse(200))  # type: ignore[arg-type, misc]
    HttpResponse(429, {"Retry-After": 3})  # type: ignore[arg-type]
    HttpResponse(200, (), "text")  # type: ignore[arg-type]


async def errors(finisher: NativeOAuthFinisher) -> str | float | None:  # noqa: PLR0911 -- one per error
    try:
        await finisher.finish(provider="google", state_id="s", id_token="t")
    except RateLimitedError as error:
        return assert_type(error.retry_after, float | None)
    except (RejectedError, ServerError, UnexpectedResponse) as error:
        assert_type(error.status, int)
        assert_type(error.trace_id, str | None)
        return assert_type(error.code, str | None)
    except ResponseError as error:
        return assert_type(error.message, str | None)
    except RequestTimeout as error:
        return assert_type(error.seconds, float)
    except ConnectError as error:
        assert_type(error.reason, Literal["dns", "refused", "unreachable", "reset", "proxy", "tls", "other"])
        return None
    except TransportError as error:
        return assert_type(error.phase, Literal["pool", "connect", "send", "wait", "read"])
    except InvalidRequestError as error:
        return assert_type(error.problem, str)
    except DescopeNativeError as error:
        assert_type(error.outcome, Outcome)
        assert_type(error.safe_to_retry, bool)
        error.outcome = Outcome.NOT_SENT  # type: ignore[misc]
        return None
    return None


def exhaustive(outcome: Outcome) -> str:
    match outcome:
        case Outcome.NOT_SENT:
            return "try again"
        case Outcome.REJECTED:
            return "sign in again"
        case Outcome.UNKNOWN:
            return "sign in again, and say sorry"


def conversion(result: FinishResult) -> None:
    converter = make_converter()
    assert_type(converter, Converter)
    assert_type(converter.structure({}, FinishResult), FinishResult)
    assert_type(converter.unstructure(result), Any)


def values() -> None:
    FinishResult(
        session_jwt="s", user=User(custom_attributes={"tier": "gold"}), claims=FrozenDict({"a": (1,)})
    )
    FinishRequest(provider="google", state_id="s", id_token="t")
    assert_type(FrozenDict({"a": True})["a"], bool)


async def what_is_wrong(finisher: NativeOAuthFinisher, result: FinishResult) -> None:
    await finisher.finish("google", "s", "c")  # type: ignore[call-arg]
    await finisher.finish(provider="google", id_token="t")  # type: ignore[call-arg]
    await finisher.finish(provider="google", state_id="s", id_token=b"t")  # type: ignore[arg-type]
    await finisher.finish(provider="google", state_id=None, id_token="t")  # type: ignore[arg-type]
    await finisher.finish(provider="apple", state_id="s", code="c", user={"name": {}})  # type: ignore[arg-type]
    await finisher.finish(provider="apple", state_id="s", code="c", timeout="5")  # type: ignore[arg-type]
    NativeOAuthFinisher("P2abc")  # type: ignore[call-arg]
    Retry(3)  # type: ignore[call-arg]
    Retry(attempts="3")  # type: ignore[arg-type]
    AppleUser("Ada")  # type: ignore[call-arg]
    FinishRequest("google", "s", "c")  # type: ignore[call-arg]
    result.session_jwt = "other"  # type: ignore[misc]
    result.claims["a"] = 1  # type: ignore[index]
    print(result.sessionJwt)  # type: ignore[attr-defined]


def sleepers(sleep: Callable[[float], Awaitable[None]]) -> Retry:
    return Retry(sleep=sleep, clock=lambda: 0.0)
