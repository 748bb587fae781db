"""The starter: what goes out, what comes back, and when it may go out again."""

import enum
import json
import logging
import pickle
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from kit.support import PROJECT, Answer, Answering, as_json, only

from descope_native import (
    CallEvent,
    ConnectionLost,
    DescopeNativeError,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    InvalidRequestError,
    LoginOptions,
    NativeOAuthFinisher,
    NativeOAuthStarter,
    Outcome,
    ProjectRejectedError,
    RateLimitedError,
    RejectedError,
    RequestTimeout,
    Retry,
    ServerError,
    StartResult,
    UnexpectedResponse,
)
from descope_native.http_answer import answer_for
from descope_native.testing import FakeDescope

DEEP: Any = json.loads("[" * 70 + "]" * 70)
STARTED = {"clientId": "com.example.app", "stateId": "state-1", "nonce": "nonce-1", "implicit": True}


def answering_with(*answers: HttpResponse | Exception) -> Callable[[HttpRequest], HttpResponse]:
    left = list(answers)

    def answer(_: HttpRequest) -> HttpResponse:
        said = left.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    return answer


def starting(
    *answers: HttpResponse | Exception, **options: Any
) -> tuple[NativeOAuthStarter, list[HttpRequest]]:
    """A starter whose service answers with each of these in turn, and what it was sent."""
    transport = InMemoryTransport(answering_with(*answers))
    return NativeOAuthStarter(PROJECT, transport, **options), transport.requests


def ok(**changed: Any) -> HttpResponse:
    return HttpResponse(200, (), as_json({**STARTED, **changed}))


async def test_a_start_is_what_the_phone_needs(answering: Answering) -> None:
    """Over both transports; the request has the provider and nothing that was not given."""
    async with answering(Answer(body=as_json(STARTED))) as service:
        starter = NativeOAuthStarter(PROJECT, service.transport, base_url=service.url)
        started = await starter.start(provider="google", login_options={}, refresh_jwt="")
        assert started == StartResult(
            state_id="state-1", client_id="com.example.app", nonce="nonce-1", implicit=True
        )
        sent = only(service.received)
        assert json.loads(sent.body) == {"provider": "google", "loginOptions": {}}
        assert sent.path == "/v1/auth/oauth/native/start"


async def test_what_is_given_goes_out_under_the_names_of_the_wire() -> None:
    """The documented options, others beside them, and False, which is not the same as absent."""
    starter, requests = starting(ok(), ok())
    await starter.start(
        provider="apple",
        implicit=False,
        login_options=LoginOptions(
            stepup=True,
            mfa=False,
            custom_claims={"a": {"b": [1, 2.5, None, True]}},
            revoke_other_sessions=True,
            revoke_other_sessions_types=("sso", "password"),
            sso_app_id="app",
            tenant_id="T1",
            template_id="t",
            template_options={"k": "v"},
            locale="de",
            pkce_challenge="c",
            extra={"newOption": ["x"]},
        ),
    )
    assert json.loads(requests[0].body) == {
        "provider": "apple",
        "implicit": False,
        "loginOptions": {
            "stepup": True,
            "mfa": False,
            "customClaims": {"a": {"b": [1, 2.5, None, True]}},
            "revokeOtherSessions": True,
            "revokeOtherSessionsTypes": ["sso", "password"],
            "ssoAppId": "app",
            "tenantId": "T1",
            "templateId": "t",
            "templateOptions": {"k": "v"},
            "locale": "de",
            "pkceChallenge": "c",
            "newOption": ["x"],
        },
    }
    await starter.start(provider="google", login_options={"tenantId": "T2", "somethingNew": {"x": [1]}})
    assert json.loads(requests[1].body) == {
        "provider": "google",
        "loginOptions": {"tenantId": "T2", "somethingNew": {"x": [1]}},
    }


async def test_a_refresh_token_goes_into_the_bearer_and_nowhere_else() -> None:
    """For step-up; the next start has none of it. Device tokens are headers."""
    starter, requests = starting(ok(), ok())
    await starter.start(
        provider="google", refresh_jwt="r.e.f", known_device_jwt="k.n.o", trusted_device_jwt="t.r.u"
    )
    await starter.start(provider="google")
    first, second = requests
    assert first.headers["Authorization"] == f"Bearer {PROJECT}:r.e.f"
    assert second.headers["Authorization"] == f"Bearer {PROJECT}"
    assert first.headers["x-descope-known-device-token"] == "k.n.o"
    assert first.headers["x-descope-trusted-device-token"] == "t.r.u"
    assert json.loads(first.body) == {"provider": "google"}


async def test_a_refresh_token_and_a_management_key_do_not_go_together() -> None:
    """What the bearer would be is not documented, so nothing is sent."""
    starter, requests = starting(auth_management_key="K1")
    with pytest.raises(InvalidRequestError, match="refresh_jwt cannot be combined") as caught:
        await starter.start(provider="google", refresh_jwt="r.e.f")
    assert caught.value.argument == "refresh_jwt"
    assert requests == []


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("provider", ""),
        ("provider", 5),
        ("implicit", "true"),
        ("implicit", 1),
        ("refresh_jwt", "two words"),
        ("login_options", "tenantId"),
        ("login_options", [("tenantId", "T")]),
        ("login_options", {1: "x"}),
        ("login_options", {"x": float("nan")}),
        ("login_options", {"x": {5}}),
        ("login_options", {"x": "\ud800"}),
        ("login_options", {"x": 10**400}),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_what_cannot_be_right_is_refused_by_name(argument: str, value: Any) -> None:
    """Before anything is sent, and without the value."""
    starter, requests = starting()
    with pytest.raises(InvalidRequestError) as caught:
        await starter.start(**{"provider": "google", argument: value})
    assert caught.value.argument == argument
    assert str(caught.value).startswith(argument)
    assert requests == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("stepup", "yes"),
        ("mfa", 1),
        ("tenant_id", " "),
        ("locale", 5),
        ("revoke_other_sessions_types", "sso"),
        ("revoke_other_sessions_types", (5,)),
        ("template_options", {"a": 1}),
        ("template_options", 5),
        ("custom_claims", [1]),
        ("extra", {"a": {1}}),
        ("custom_claims", {"a": DEEP}),
    ],
    ids=lambda value: value if isinstance(value, str) else "value",
)
def test_a_login_option_that_cannot_be_right_is_refused_by_name(option: str, value: Any) -> None:
    """When it is made, not when it is sent."""
    with pytest.raises(InvalidRequestError) as caught:
        LoginOptions(**{option: value})
    assert caught.value.argument == option


def test_login_options_are_frozen_and_empty_is_not_given() -> None:
    """Lists become tuples, mappings cannot be changed, and an empty string is no value."""
    given = LoginOptions(
        custom_claims={"a": [1]},
        revoke_other_sessions_types=["sso"],
        locale="",
    )
    assert given == LoginOptions(custom_claims={"a": (1,)}, revoke_other_sessions_types=("sso",))
    assert hash(given) == hash(LoginOptions(custom_claims={"a": [1]}, revoke_other_sessions_types=("sso",)))
    assert given.locale is None


class Tier(str, enum.Enum):  # noqa: UP042 -- its str() is not its value
    GOLD = "gold"


SHARED: Any = []
for _ in range(40):
    SHARED = [SHARED, SHARED]


class Raising(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("canary")


async def test_an_enum_goes_out_by_its_value() -> None:
    """As json.dumps writes it, keys too."""
    starter, requests = starting(ok())
    await starter.start(provider="google", login_options={"customClaims": {Tier.GOLD: [Tier.GOLD]}})
    assert json.loads(requests[0].body)["loginOptions"] == {"customClaims": {"gold": ["gold"]}}


@pytest.mark.parametrize(
    "options",
    [
        {"x": ["a" * 60_000] * 2},
        {str(number): number for number in range(66_000)},
        {"x": SHARED},
        Raising(x=1),
    ],
    ids=["many characters", "many values", "shared lists", "a mapping that raises"],
)
async def test_login_options_are_bounded_as_a_whole(options: dict[str, Any]) -> None:
    """In no time, and with an error of ours."""
    starter, requests = starting()
    with pytest.raises(InvalidRequestError, match="login_options must be a JSON object"):
        await starter.start(provider="google", login_options=options)
    assert requests == []


# --- what comes back


async def test_an_odd_start_is_mended_and_told() -> None:
    """As for a session: what is odd takes its default, what is unknown is kept."""
    starter, _ = starting(ok(implicit="yes", clientId=5, region="eu", errorId=""))
    started = await starter.start(provider="google")
    assert (started.state_id, started.client_id, started.implicit) == ("state-1", None, None)
    assert {each.path for each in started.drift} == {"implicit", "clientId"}
    assert started.extra == {"region": "eu", "errorId": ""}
    strict, _ = starting(ok(implicit="yes"), strict=True)
    with pytest.raises(UnexpectedResponse, match="implicit: expected boolean, found string"):
        await strict.start(provider="google")


@pytest.mark.parametrize("state", [None, "", 5, ["x"]], ids=repr)
async def test_no_state_is_no_start(state: Any) -> None:
    """A 2xx without one names the errorId, where it has a harmless one."""
    starter, _ = starting(ok(stateId=state, errorId="E061301"), ok(stateId=state, errorId="a b\n"))
    with pytest.raises(UnexpectedResponse, match="no state, and the errorId E061301") as caught:
        await starter.start(provider="google")
    assert (caught.value.outcome, caught.value.safe_to_retry) == (Outcome.UNKNOWN, False)
    with pytest.raises(UnexpectedResponse, match=r"the answer has no state( \(|\ \[)"):
        await starter.start(provider="google")


async def test_a_start_shows_no_secret() -> None:
    """Neither state nor nonce is in its repr, and neither options nor tokens are in the request's."""
    starter, _ = starting(ok())
    assert "state-1" not in repr(started := await starter.start(provider="google"))
    assert "nonce-1" not in repr(started)
    options = LoginOptions(
        custom_claims={"a": "canary"}, pkce_challenge="canary", template_options={"a": "canary"}
    )
    assert "canary" not in repr(options)


# --- when it may go out again


@pytest.mark.parametrize(
    ("failure", "kind", "safe"),
    [
        (HttpResponse(503), ServerError, True),
        (HttpResponse(408), ServerError, True),
        (HttpResponse(200, (), b'{"stateId": "x'), UnexpectedResponse, True),
        (HttpResponse(200, (), b"[]"), UnexpectedResponse, False),
        (HttpResponse(302), UnexpectedResponse, False),
        (HttpResponse(400), RejectedError, False),
        (HttpResponse(429), RateLimitedError, True),
        (ConnectionResetError(), ConnectionLost, True),
        (TimeoutError(), RequestTimeout, True),
    ],
    ids=repr,
)
async def test_a_start_may_be_repeated_where_its_outcome_is_unknown(
    failure: HttpResponse | Exception, kind: type[DescopeNativeError], safe: bool
) -> None:
    """It spends nothing. The error says so after pickling as well; the same error of a finish does not."""
    starter, _ = starting(failure)
    with pytest.raises(kind) as caught:
        await starter.start(provider="google")
    assert caught.value.safe_to_retry is safe
    assert pickle.loads(pickle.dumps(caught.value)).safe_to_retry is safe
    if not isinstance(caught.value, RateLimitedError):
        transport = InMemoryTransport(answering_with(failure))
        finisher = NativeOAuthFinisher(PROJECT, transport)
        with pytest.raises(kind) as spent:
            await finisher.finish(provider="google", state_id="s", id_token="t")
        assert not spent.value.safe_to_retry


async def test_retry_repeats_a_start_and_never_a_rejection() -> None:
    """Two failures of which nobody knows the outcome, then a start; and one rejection."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    starter, requests = starting(HttpResponse(500), ConnectionResetError(), ok(), retry=Retry(sleep=sleep))
    assert (await starter.start(provider="google")).state_id == "state-1"
    assert len(requests) == 3
    assert len(waits) == 2
    starter, requests = starting(HttpResponse(403), retry=Retry(sleep=sleep))
    with pytest.raises(RejectedError):
        await starter.start(provider="google")
    assert len(requests) == 1


@pytest.mark.parametrize("token", ["refresh_jwt", "known_device_jwt", "trusted_device_jwt"])
async def test_a_persons_refused_token_is_not_the_projects_fault(token: str) -> None:
    """With one in the request "Unauthorized" may be about that, and a new sign-in without it may work."""
    said = HttpResponse(401, (), as_json({"errorCode": "E111119"}))
    starter, _ = starting(said, said)
    with pytest.raises(ProjectRejectedError):
        await starter.start(provider="google")
    given: dict[str, Any] = {token: "r.e.f"}
    with pytest.raises(RejectedError) as caught:
        await starter.start(provider="google", **given)
    assert type(caught.value) is RejectedError
    answer = answer_for(caught.value)
    assert (answer.status, answer.next) == (401, "start_over")
    assert answer_for(pickle.loads(pickle.dumps(caught.value))) == answer


async def test_a_step_up_with_an_expired_token_is_for_the_person_to_begin_anew() -> None:
    """The stand-in refuses a token as the service does, on start and on finish."""
    seconds = [1_800_000_000.0]
    fake = FakeDescope(clock=lambda: seconds[0], refresh_lifetime=100)
    transport = InMemoryTransport(fake)
    finisher = NativeOAuthFinisher(fake.project_id, transport)
    refresh_jwt = (await finisher.finish(**fake.sign_in("google").as_arguments())).refresh_jwt
    seconds[0] += 1000
    with pytest.raises(RejectedError) as expired:
        await NativeOAuthStarter(fake.project_id, transport).start(provider="google", refresh_jwt=refresh_jwt)
    with pytest.raises(RejectedError) as stale:
        await finisher.finish(**fake.sign_in("google").as_arguments(), known_device_jwt="old")
    for error in (expired.value, stale.value):
        assert type(error) is RejectedError
        assert answer_for(error).next == "start_over"


# --- what is told of it


async def test_each_call_is_told_once_to_whoever_counts(caplog: pytest.LogCaptureFixture) -> None:
    """Independent of log levels, on success, failure and refusal; what it raises costs nothing."""
    events: list[CallEvent] = []

    def count(event: CallEvent) -> None:
        events.append(event)
        raise RuntimeError("a broken counter")

    caplog.set_level(logging.CRITICAL)
    starter, _ = starting(ok(implicit=5), HttpResponse(429, (("Retry-After", "7"),)), on_call=count)
    await starter.start(provider="google")
    with pytest.raises(RateLimitedError):
        await starter.start(provider="my-own-provider")
    with pytest.raises(InvalidRequestError):
        await starter.start(provider="google", implicit=5)  # type: ignore[arg-type]  # wrong on purpose
    told = [(each.operation, each.outcome, each.error, each.status, each.attempts) for each in events]
    assert told == [
        ("start", "started", None, 200, 1),
        ("start", "rejected", "RateLimitedError", 429, 1),
        ("start", "not_sent", "InvalidRequestError", None, 0),
    ]
    assert (events[0].drift, events[0].drift_path, events[0].provider) == (1, "implicit", "google")
    assert (events[1].retry_after, events[1].provider, events[1].host) == (7.0, "custom", "api.descope.com")
    assert events[2].argument == "implicit"
    assert {"pool", "wait", "read"} <= events[0].phases.keys()
    assert sum(events[0].phases.values()) <= events[0].elapsed + 0.001


def test_an_empty_option_was_not_given() -> None:
    """Whatever it is meant to be."""
    for name in attrs.fields_dict(LoginOptions):
        empty: dict[str, Any] = {name: ""}
        assert LoginOptions(**empty) == LoginOptions(), name
