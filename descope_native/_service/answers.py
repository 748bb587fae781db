"""What an answer means: a result or an error.

The rules are those of the vendor's documentation and published SDKs; RFC numbers stand where a rule
is HTTP's own.
"""

import re
import time
from typing import Any, Final, cast
from urllib.parse import urlsplit

import attrs
from yarl import URL

from descope_native._service.endpoint import Endpoint
from descope_native._service.json_text import decode_answer, decode_json
from descope_native._service.redaction import LONGEST_SHOWN, Censor
from descope_native._service.set_cookie import add_tokens_from_cookies
from descope_native._service.times import parse_retry_after, service_time
from descope_native.converters import NOTHING_FOUND, make_converter, structure_answer
from descope_native.errors import (
    RateLimitedError,
    RejectedError,
    ResponseError,
    ServerError,
    UnexpectedResponse,
)
from descope_native.models import Drift, FinishRequest, FinishResult
from descope_native.transports import HttpResponse

_ERROR_CODE: Final = re.compile(r"E\d{6}", re.ASCII)
_TRACE_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)

_converter: Final = make_converter()


def read_answer(
    endpoint: Endpoint, request: FinishRequest, response: HttpResponse, *, strict: bool
) -> FinishResult:
    """What the answer means: a result, or a `ResponseError`."""
    # What was read is handed over by return value: this frame is in tracebacks, and the answer's
    # tokens must not be among its locals.
    if not 200 <= response.status < 300:
        raise _error_for(response, endpoint.url, Censor(request, endpoint.key))
    result = _read_session(response)
    if isinstance(result, str):
        problem = result
    elif strict and result.drift:
        problem = _describe_drift(result.drift)
    else:
        return result
    del result
    raise UnexpectedResponse(response.status, problem, read_trace_id(endpoint, request, response))


def read_trace_id(endpoint: Endpoint, request: FinishRequest, response: HttpResponse) -> str | None:
    """The id that the vendor's support asks for, where the answer has a harmless one."""
    return _trace_id(response, Censor(request, endpoint.key))


_NO_CODINGS: Final = frozenset({"", "identity"})


def _read_session(response: HttpResponse) -> FinishResult | str:
    """A result, or what kept the answer from being one. Never raises."""
    lines = response.header_values("Content-Encoding")
    is_encoded = bool(lines) and not _NO_CODINGS.issuperset(
        coding.strip().lower() for line in lines for coding in line.split(",")
    )
    try:
        answer, drift = decode_answer(response.body, FinishResult)
    except ValueError:
        if is_encoded:
            return "the answer has a Content-Encoding that was not asked for"
        return "the answer is not JSON"
    except RecursionError:  # the interpreter's own limit may be lower
        return "the answer nests too deep"
    if type(answer) is not dict:
        return "the answer is not a JSON object"
    answer = cast("dict[str, Any]", answer)
    if is_encoded:  # in name only: the body was read as it came
        drift.append(Drift("Content-Encoding", "identity", "another coding"))
    drift += add_tokens_from_cookies(answer, response)
    result = structure_answer(_converter, FinishResult, answer)
    if not isinstance(result, FinishResult):
        odd = tuple(each for each in result if each.found != NOTHING_FOUND)
        details = f" ({_describe_drift((*drift, *odd))})" if drift or odd else ""
        return f"the answer has no session in body or cookies{details}"
    if response.status != 200:
        drift.append(Drift("status", "200", str(response.status)))
    return attrs.evolve(result, drift=(*result.drift, *drift)) if drift else result


def _describe_drift(drift: tuple[Drift, ...]) -> str:
    places = [f"{d.path}: expected {d.expected}, found {d.found}" for d in drift[:10]]
    if len(drift) > len(places):
        places.append(f"and {len(drift) - len(places)} more")
    return "not as documented: " + "; ".join(places)


def _error_for(response: HttpResponse, url: URL, censor: Censor) -> ResponseError:
    status = response.status
    trace_id = _trace_id(response, censor)
    hundreds = status // 100
    if status in {408, 499} or hundreds == 5:
        return ServerError(status, trace_id, *_error_texts(response, censor))
    if status == 429:
        retry_after = parse_retry_after(
            response.header_values("Retry-After"), service_time(response) or time.time()
        )
        return RateLimitedError(status, trace_id, *_error_texts(response, censor), retry_after)
    if hundreds == 4:
        return RejectedError(status, trace_id, *_error_texts(response, censor))
    if hundreds == 3:
        origin = _origin(response.header("Location"), url, censor)
        return UnexpectedResponse(status, f"the service redirected to {origin}; not followed", trace_id)
    return UnexpectedResponse(status, f"the service answered {status}, which means nothing here", trace_id)


def _error_texts(response: HttpResponse, censor: Censor) -> tuple[str | None, str | None, str | None]:
    """The error JSON's code, description and message. Any body will do: it only decorates a status."""
    try:
        error = decode_json(response.body)
    except (ValueError, RecursionError):
        return None, None, None
    if type(error) is not dict:
        return None, None, None
    error = cast("dict[str, Any]", error)
    code = error.get("errorCode")
    if not isinstance(code, str) or not _ERROR_CODE.fullmatch(code) or censor.is_secret(code):
        code = None
    return code, _text(error.get("errorDescription"), censor), _text(error.get("errorMessage"), censor)


def _text(value: object, censor: Censor) -> str | None:
    if not isinstance(value, str):
        return None
    # More is looked at than can be shown, or what is left of a secret at its end could not be told for one.
    printable = "".join(char if char.isprintable() else " " for char in value[: 4 * LONGEST_SHOWN])
    return censor.black_out(printable, 2 * LONGEST_SHOWN).strip()[:LONGEST_SHOWN] or None


def _trace_id(response: HttpResponse, censor: Censor) -> str | None:
    trace_id = response.header("cf-ray")
    if trace_id and _TRACE_ID.fullmatch(trace_id) and not censor.is_secret(trace_id):
        return trace_id
    return None


def _origin(location: str | None, url: URL, censor: Censor) -> str:
    if not location:
        return "nowhere"
    try:
        origin = url.join(URL(location[:2048])).origin()
        # As it came: a URL makes its host lower case, and no secret would be told in that.
        netloc = urlsplit(location[:2048]).netloc.rpartition("@")[2]
    except ValueError:
        return "no web address"
    if (shown := censor.black_out(netloc)) != netloc:
        return f"{origin.scheme}://{shown}"
    return censor.black_out(str(origin))
