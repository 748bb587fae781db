"""What an answer means: a result or an error.

The rules are those of the vendor's documentation and published SDKs; RFC numbers stand where a rule
is HTTP's own.
"""

import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar, cast

import attrs
from yarl import URL

from descope_native._service.json_text import decode_answer, decode_json
from descope_native._service.redaction import WITHHELD, Redactor
from descope_native._service.set_cookie import add_tokens_from_cookies
from descope_native._service.times import parse_retry_after, service_time
from descope_native.converters import NOTHING_FOUND, own_converter, structure_answer
from descope_native.errors import (
    ProjectRejectedError,
    RateLimitedError,
    RejectedError,
    ResponseError,
    ServerError,
    UnexpectedResponse,
)
from descope_native.models import Drift, FinishResult, StartResult
from descope_native.transports import HttpResponse

_ERROR_CODE: Final = re.compile(r"E\d{6}", re.ASCII)
_UNAUTHORIZED: Final = "E111119"
"""The code of a 401 in the published SDKs' tests. One that is about a proof has another (E061301, E0625…)."""

_TRACE_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)

_ERROR_ID: Final = re.compile(r"[\w.-]{1,64}", re.ASCII)

_NO_CODINGS: Final = frozenset({"", "identity"})

_converter: Final = own_converter()


class _Answer(attrs.AttrsInstance, Protocol):
    """What any operation's answer becomes."""

    @property
    def drift(self) -> tuple[Drift, ...]: ...


Result = TypeVar("Result", bound=_Answer)


def read_answer(
    read: Callable[[HttpResponse, Redactor], Result | UnexpectedResponse],
    response: HttpResponse,
    url: URL,
    redactor: Redactor,
    *,
    strict: bool,
    has_persons_token: bool = False,
) -> Result | ResponseError:
    """What the answer means: a result, or an error for the caller to raise.

    ``has_persons_token`` says that the request had a refresh token or a device token, which may be what is
    refused.
    """
    if not 200 <= response.status < 300:
        return _error_for(response, url, redactor, has_persons_token=has_persons_token)
    result = read(response, redactor)
    if strict and not isinstance(result, UnexpectedResponse) and result.drift:
        result = not_as_documented(result)
    if isinstance(result, UnexpectedResponse):
        trace_id = read_trace_id(response, redactor)
        return UnexpectedResponse(result.status, result.problem, trace_id, is_damaged=result.is_damaged)
    return result


def not_as_documented(result: _Answer, trace_id: str | None = None) -> UnexpectedResponse:
    """What ``strict`` makes of a result with drift."""
    status = next((int(each.found) for each in result.drift if each.path == "status"), 200)
    return UnexpectedResponse(status, _describe_drift(result.drift), trace_id)


def read_session(response: HttpResponse, _: Redactor) -> FinishResult | UnexpectedResponse:
    """The answer to a finish, its tokens taken from cookies where the body has none."""
    read = _read_object(response, FinishResult)
    if isinstance(read, UnexpectedResponse):
        return read
    answer, drift = read
    drift += add_tokens_from_cookies(answer, response)
    return _structure(FinishResult, answer, drift, response, "no session in body or cookies")


def read_start(response: HttpResponse, redactor: Redactor) -> StartResult | UnexpectedResponse:
    """The answer to a start."""
    read = _read_object(response, StartResult)
    if isinstance(read, UnexpectedResponse):
        return read
    answer, drift = read
    missing = "no state"
    error_id = answer.get("errorId")
    if isinstance(error_id, str) and _ERROR_ID.fullmatch(error_id) and not redactor.finds_secret_in(error_id):
        missing = f"no state, and the errorId {error_id}"
    return _structure(StartResult, answer, drift, response, missing)


def read_trace_id(response: HttpResponse, redactor: Redactor) -> str | None:
    """The id that the vendor's support asks for, where the answer has a harmless one."""
    trace_id = response.header("cf-ray")
    if trace_id and _TRACE_ID.fullmatch(trace_id) and not redactor.finds_secret_in(trace_id):
        return trace_id
    return None


def _read_object(
    response: HttpResponse, cls: type[Result]
) -> tuple[dict[str, Any], list[Drift]] | UnexpectedResponse:
    lines = response.header_values("Content-Encoding")
    is_encoded = bool(lines) and not _NO_CODINGS.issuperset(
        coding.strip().lower() for line in lines for coding in line.split(",")
    )
    try:
        answer, drift = decode_answer(response.body, cls)
    except ValueError:
        if is_encoded:
            return UnexpectedResponse(
                response.status, "the answer has a Content-Encoding that was not asked for"
            )
        return UnexpectedResponse(response.status, "the answer is not JSON", is_damaged=bool(response.body))
    except RecursionError:  # the interpreter's own limit may be lower
        return UnexpectedResponse(response.status, "the answer nests too deep for Python's JSON parser")
    if type(answer) is not dict:
        return UnexpectedResponse(response.status, "the answer is not a JSON object")
    if is_encoded:  # in name only: the body was read as it came
        drift.append(Drift("Content-Encoding", "identity", "another coding"))
    return cast("dict[str, Any]", answer), drift


def _structure(
    cls: type[Result], answer: dict[str, Any], drift: list[Drift], response: HttpResponse, missing: str
) -> Result | UnexpectedResponse:
    result: Any = structure_answer(_converter, cls, answer)
    if isinstance(result, tuple):
        misfits = cast("tuple[Drift, ...]", result)
        odd = [*drift, *(each for each in misfits if each.found != NOTHING_FOUND)]
        details = f" ({_describe_drift(odd)})" if odd else ""
        return UnexpectedResponse(response.status, f"the answer has {missing}{details}")
    if response.status != 200:
        drift.append(Drift("status", "200", str(response.status)))
    return cast("Result", attrs.evolve(result, drift=(*result.drift, *drift)) if drift else result)


def _describe_drift(drift: Sequence[Drift]) -> str:
    places = [f"{d.path}: expected {d.expected}, found {d.found}" for d in drift[:10]]
    if len(drift) > len(places):
        places.append(f"and {len(drift) - len(places)} more")
    return "not as documented: " + "; ".join(places)


def _error_for(
    response: HttpResponse, url: URL, redactor: Redactor, *, has_persons_token: bool
) -> ResponseError:
    status, trace_id = response.status, read_trace_id(response, redactor)
    hundreds = status // 100
    if hundreds == 3:
        origin = _origin(response.header("Location"), url, redactor)
        return UnexpectedResponse(status, f"the service redirected to {origin}; not followed", trace_id)
    if hundreds not in {4, 5}:
        return UnexpectedResponse(
            status, f"the service answered {status}, which means nothing here", trace_id
        )
    texts = _error_texts(response, redactor)
    if status in {408, 499} or hundreds == 5:
        return ServerError(status, trace_id, *texts)
    if status == 429:
        ours = service_time(response) or time.time()
        return RateLimitedError(
            status, trace_id, *texts, parse_retry_after(response.header_values("Retry-After"), ours)
        )
    if status in {401, 403} and texts[0] == _UNAUTHORIZED and not has_persons_token:
        return ProjectRejectedError(status, trace_id, *texts)
    rejection = RejectedError(status, trace_id, *texts)
    rejection.had_persons_token = has_persons_token
    return rejection


def _error_texts(response: HttpResponse, redactor: Redactor) -> tuple[str | None, str | None, str | None]:
    """The error JSON's code, description and message. Any body will do: it only decorates a status."""
    try:
        error = decode_json(response.body)
    except (ValueError, RecursionError):
        return None, None, None
    if type(error) is not dict:
        return None, None, None
    error = cast("dict[str, Any]", error)
    code = error.get("errorCode")
    if not isinstance(code, str) or not _ERROR_CODE.fullmatch(code) or redactor.finds_secret_in(code):
        code = None
    return code, _text(error.get("errorDescription"), redactor), _text(error.get("errorMessage"), redactor)


def _text(value: object, redactor: Redactor) -> str | None:
    return (redactor.show(value) or None) if isinstance(value, str) else None


def _origin(location: str | None, url: URL, redactor: Redactor) -> str:
    if not location:
        return "nowhere"
    try:
        origin = url.join(URL(location[:2048])).origin()
    except ValueError:
        return "no web address"
    shown = redactor.show(origin.human_repr())
    return f"an address ({shown})" if shown == WITHHELD else str(origin)
