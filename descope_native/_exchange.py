"""The service's HTTP rules: what a request looks like, and what an answer means. Nothing here waits.

The rules are those of the vendor's documentation and published SDKs; RFC numbers stand where a rule
is HTTP's own.
"""

import ipaddress
import json
import math
import platform
import re
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final, cast
from urllib.parse import urlsplit

import attrs
from yarl import URL

from descope_native._redaction import LONGEST_SHOWN, Censor
from descope_native._tokens import is_token, read_times
from descope_native._version import __version__
from descope_native.converters import (
    NOTHING_FOUND,
    device_token_headers,
    drift_at,
    make_converter,
    replace_half_pairs,
    structure_result,
)
from descope_native.errors import (
    InvalidRequestError,
    RateLimitedError,
    RejectedError,
    ResponseError,
    ServerError,
    UnexpectedResponse,
)
from descope_native.models import (
    REFRESH_COOKIE,
    SESSION_COOKIE,
    Drift,
    FinishRequest,
    FinishResult,
    none_if_empty,
    refuse_constant,
)
from descope_native.transports import HttpRequest, HttpResponse

FINISH_PATH: Final = "/v1/auth/oauth/native/finish"

# What the cookies of the device tokens are called; no answer names them otherwise.
_TRUSTED_DEVICE_COOKIE: Final = "DTD"
_KNOWN_DEVICE_COOKIE: Final = "DKD"

_DEFAULT_BASE_URL: Final = "https://api.descope.com"
_SHORTEST_REGIONAL_ID: Final = 32
"""From this length on, the four characters after the first of a project id name its region."""

_PROJECT_ID: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)  # a token, RFC 9110 §5.6.2
_REGION: Final = re.compile(r"[A-Za-z0-9]{4}", re.ASCII)
_KEY: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)
_URL: Final = re.compile(r"[\w.~:/?#\[\]@!$&'()*+,;=%-]+", re.ASCII)  # RFC 3986 §2

_ERROR_CODE: Final = re.compile(r"E\d{6}", re.ASCII)
_TRACE_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
_MAX_RETRY_AFTER: Final = 3600

_MAX_NESTING: Final = 4000
"""How deep an answer may nest in a thread, whose stack may be of 512 KiB. Python's JSON parser takes 100
bytes of it for each level, and some versions end the process where there are no more."""

_NO_BRACKETS: Final = bytes(octet for octet in range(256) if octet not in b"[]{}")
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # one level down; as a signed char, one up


def _integer_or_infinity(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return math.inf


_quote: Final = json.encoder.encode_basestring_ascii
_read_json: Final = json.JSONDecoder(parse_constant=refuse_constant).raw_decode
_read_json_of_any_size: Final = json.JSONDecoder(
    parse_constant=refuse_constant, parse_int=_integer_or_infinity
).raw_decode


def _encode_strings(fields: dict[str, str]) -> bytes:
    """A JSON object of strings. json.dumps makes an encoder for each, which takes as long again."""
    members = ",".join([f"{_quote(key)}:{_quote(value)}" for key, value in fields.items()])
    return ("{" + members + "}").encode()


def _may_be_on_a_small_stack() -> bool:
    return threading.current_thread() is not threading.main_thread()


def _nests_too_deep(body: bytes) -> bool:
    if body.count(b"[") + body.count(b"{") <= _MAX_NESTING:
        return False
    outside_strings = body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2]
    steps = b"".join(outside_strings).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > _MAX_NESTING


def _decode_json(body: bytes) -> Any:
    """One JSON value in UTF-8. Raises ValueError or RecursionError."""
    if len(body) > _MAX_NESTING and _may_be_on_a_small_stack() and _nests_too_deep(body):
        raise RecursionError
    text = body.decode().strip(" \t\n\r")
    try:
        value, end = _read_json(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python makes no number of more than 4,300 digits; to JSON it is one
        value, end = _read_json_of_any_size(text)
    if end != len(text):
        raise ValueError
    return value


def _decode_leniently(body: bytes) -> tuple[Any, list[Drift]]:
    """A JSON value that `_decode_json` refuses but whose meaning is plain, and what was odd about it.

    A token never profits: one with a replaced or a control character is no token. Raises ValueError or
    RecursionError.
    """
    drift: list[Drift] = []

    def read_constant(name: str) -> float:
        drift.append(Drift("body", "JSON", name))
        return float(name)

    encoding = json.detect_encoding(body).removesuffix("-sig")
    if encoding != "utf-8":
        drift.append(Drift("body", "UTF-8", encoding.upper()))
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        text = body.decode(encoding, "replace")
        drift.append(Drift("body", encoding.upper(), "other bytes"))
    text = text.strip(" \t\n\r")
    if text[:1] == "\ufeff":
        text = text.lstrip(" \t\n\r\ufeff")
        drift.append(Drift("body", "UTF-8", "a byte order mark"))
    if len(text) > _MAX_NESTING and _may_be_on_a_small_stack() and _nests_too_deep(text.encode()):
        raise RecursionError
    numbers: dict[str, Any] = {"parse_constant": read_constant, "parse_int": _integer_or_infinity}
    try:
        value, end = json.JSONDecoder(**numbers).raw_decode(text)
    except json.JSONDecodeError:
        value, end = json.JSONDecoder(strict=False, **numbers).raw_decode(text)
        drift.append(Drift("body", "JSON", "control characters"))
    if end != len(text):
        raise ValueError
    return value, list(dict.fromkeys(drift))


_BACKSLASH: Final = ord("\\")
_HALF_PAIR_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def _decode_answer(body: bytes) -> tuple[Any, list[Drift]]:
    """Strictly first, so that an answer as documented pays nothing. Raises as `_decode_json` does."""
    drift: list[Drift] = []
    try:
        answer = _decode_json(body)
    except ValueError:
        answer, drift = _decode_leniently(body)
    else:
        if _BACKSLASH not in body or not _HALF_PAIR_ESCAPE.search(body):
            return answer, drift
    if type(answer) is dict:
        answer, half_pairs = replace_half_pairs(cast("dict[str, Any]", answer))
        drift += half_pairs
    return answer, drift


_converter: Final = make_converter()


def _parse_date(text: str) -> datetime:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 -- dates are rare, and it is dear to load

    return parsedate_to_datetime(text)


# --- the request


@attrs.frozen
class Endpoint:
    """Where one project's requests go, and what goes with each of them. Made once per finisher."""

    url: URL
    headers: Mapping[str, str] = attrs.field(repr=False)
    key: str | None = attrs.field(repr=False)

    def build_request(self, request: FinishRequest, timeout: float) -> HttpRequest:
        """The bytes to send. Keys that are unset are left out, never null."""
        return HttpRequest(
            method="POST",
            url=self.url,
            headers={**self.headers, **device_token_headers(request)},
            body=_encode_strings(_converter.unstructure(request)),
            timeout=timeout,
        )

    def read_response(self, request: FinishRequest, response: HttpResponse, *, strict: bool) -> FinishResult:
        """What the answer means: a result, or a `ResponseError`."""
        # What was read is handed over by return value: this frame is in tracebacks, and the answer's
        # tokens must not be among its locals.
        if not 200 <= response.status < 300:
            raise _error_for(response, self.url, Censor(request, self.key))
        result = _read_session(response)
        if isinstance(result, str):
            problem = result
        elif strict and result.drift:
            problem = _describe_drift(result.drift)
        else:
            return result
        del result
        raise UnexpectedResponse(response.status, problem, self.read_trace_id(request, response))

    def read_trace_id(self, request: FinishRequest, response: HttpResponse) -> str | None:
        """The id that the vendor's support asks for, where the answer has a harmless one."""
        return _trace_id(response, Censor(request, self.key))


def make_endpoint(
    project_id: str, base_url: str | URL | None, key: str | None, *, allow_http: bool
) -> Endpoint:
    """Check what a deployment configures. Raises `InvalidRequestError`, which names no value."""
    key, base_url = none_if_empty(key), none_if_empty(base_url)
    # The project id ends up in a host name and in a header, the key in a header.
    if project_id == "":
        raise InvalidRequestError("project_id is empty")
    if not isinstance(project_id, str) or not _PROJECT_ID.fullmatch(project_id):
        raise InvalidRequestError("project_id must be a token of printable ASCII, like P2abc…")
    if key is not None and not (isinstance(key, str) and _KEY.fullmatch(key)):
        raise InvalidRequestError("auth_management_key must be printable ASCII without spaces")
    if base_url is None:
        base_url = regional_base_url(project_id)
    if problem := _problem_with_base_url(base_url, allow_http=allow_http):
        raise InvalidRequestError(f"base_url {problem}")
    base = URL(base_url)
    return Endpoint(
        base.with_path(base.raw_path.rstrip("/") + FINISH_PATH, encoded=True),
        {
            "Authorization": f"Bearer {project_id}:{key}" if key else f"Bearer {project_id}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # so that no answer can grow once it is here
            "User-Agent": f"descope_native/{__version__}",
            "x-descope-sdk-name": "descope_native",
            "x-descope-sdk-version": __version__,
            "x-descope-sdk-python-version": platform.python_version(),
            "x-descope-project-id": project_id,
        },
        key,
    )


def regional_base_url(project_id: str) -> str:
    """The API host: a long project id names its region, a short one does not."""
    if len(project_id) < _SHORTEST_REGIONAL_ID:
        return _DEFAULT_BASE_URL
    region = project_id[1:5]
    if not _REGION.fullmatch(region):  # or a project id could name any host
        raise InvalidRequestError("project_id names no region right after its first character")
    return f"https://api.{region}.descope.com"


def _problem_with_base_url(  # noqa: PLR0911 -- one return per problem
    base_url: object, *, allow_http: bool
) -> str | None:
    if not isinstance(base_url, str | URL) or not _URL.fullmatch(str(base_url)):
        return "must be a URL, in the characters of RFC 3986"
    try:
        url = URL(base_url)
        scheme, host, _ = url.scheme, url.host, url.port
    except ValueError:
        return "is not a URL"
    if scheme not in {"http", "https"} or not host:
        return "must be an absolute http or https URL"
    if "@" in str(base_url).partition("://")[2].partition("/")[0]:
        return "must not hold a user name or password"
    if "?" in str(base_url) or "#" in str(base_url):
        return "must not hold a query or fragment"
    if scheme == "http" and not allow_http and not _is_loopback(host):
        return "must be https, or a loopback address (allow_http=True insists)"
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 §6.3
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- the answer

_NO_CODINGS: Final = frozenset({"", "identity"})


def _read_session(response: HttpResponse) -> FinishResult | str:
    """A result, or what kept the answer from being one. Never raises."""
    lines = response.header_values("Content-Encoding")
    is_encoded = bool(lines) and not _NO_CODINGS.issuperset(
        coding.strip().lower() for line in lines for coding in line.split(",")
    )
    try:
        answer, drift = _decode_answer(response.body)
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
    drift += _add_tokens_from_cookies(answer, response)
    result = structure_result(_converter, answer)
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


def _add_tokens_from_cookies(answer: dict[str, Any], response: HttpResponse) -> list[Drift]:
    """Cookie mode: the tokens come as Set-Cookie only. A usable one in the body wins."""
    lines = response.header_values("Set-Cookie")
    drift: list[Drift] = []
    if not lines:
        return drift
    # The raw lines are read, since a cookie jar drops a Domain that is not the API's own.
    cookies = read_cookies(lines, service_time(response))
    for token, named_by, usual in (
        ("sessionJwt", "sessionCookieName", SESSION_COOKIE),
        ("refreshJwt", "cookieName", REFRESH_COOKIE),
        ("trustedDeviceJwt", None, _TRUSTED_DEVICE_COOKIE),
        ("knownDeviceJwt", None, _KNOWN_DEVICE_COOKIE),
    ):
        value = answer.get(token)
        if isinstance(value, str) and is_token(value):
            continue
        name = answer.get(named_by) if named_by else None
        cookie = cookies.get(name if name and isinstance(name, str) else usual)
        if cookie and (value in (None, "") or is_token(cookie)):
            answer[token] = cookie
            if value not in (None, ""):
                drift.append(drift_at(token, "token", value))
    return drift


def read_cookies(lines: list[str], now: float | None) -> dict[str, str]:
    """Name to value of the cookies that are set; of one name, the newest unexpired token wins.

    Newest by what JWTs say themselves (``iat``, then ``exp``), else the last line. ``now`` is the
    service's time, None where the answer does not tell it.
    """
    cookies: dict[str, tuple[_Age, str]] = {}
    for line in lines:
        pair, *attributes = line.split(";")
        name, _, value = pair.partition("=")
        name, value = name.strip(), value.strip()
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if not value or _is_expired(attributes, now, value):
            continue
        times = read_times(value)
        age = (is_token(value), times.issued or 0, times.ends or 0)
        if name not in cookies or age >= cookies[name][0]:
            cookies[name] = age, value
    return {name: value for name, (_, value) in cookies.items()}


_Age = tuple[bool, int, int]
"""Of a cookie: whether its value is a token, and what that says of its times."""


def _is_expired(attributes: list[str], now: float | None, token: str) -> bool:
    """Max-Age has precedence over Expires; what cannot be read is ignored (RFC 6265 §5.2, §5.3)."""
    values: dict[str, str] = {}
    for attribute in attributes:
        name, _, value = attribute.partition("=")
        values[name.strip().lower()] = value.strip()
    max_age, expires = values.get("max-age"), values.get("expires")
    if max_age and re.fullmatch(r"-?[0-9]{1,20}", max_age):
        return int(max_age) <= 0
    if not expires:
        return False
    if now is None:  # our clock may be off by minutes, and the token has just been issued by theirs
        now = read_times(token).issued or time.time()
    try:
        end = _parse_date(expires[:64])
        return end.replace(tzinfo=end.tzinfo or UTC).timestamp() <= now
    except (ValueError, OverflowError):
        return False


# --- the answer that is no session


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
        error = _decode_json(response.body)
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


def service_time(response: HttpResponse) -> float | None:
    """The answer's ``Date``, in unix seconds; None where it has no usable one.

    A time that the service names is judged by its own clock, since ours may be off, or frozen in a test.
    """
    for value in response.header_values("Date"):
        if (date := _parse_fixdate(value.strip(" \t"))) is not None:
            return date
    return None


def parse_retry_after(values: list[str], now: float) -> float | None:
    """Whole seconds, 0 to 3600, or None for a wait that is not known (RFC 9110 §10.2.3).

    Each value is a number or an IMF-fixdate. Where there are several, one proxy after another has
    added its own, and the longest counts; one that cannot be read might be longer still.
    """
    waits = [_parse_wait(value.strip(" \t"), now) for value in values]
    known = [wait for wait in waits if wait is not None]
    if not known or len(known) < len(waits):
        return None
    return float(min(max(0, *map(math.ceil, known)), _MAX_RETRY_AFTER))


def _parse_wait(value: str, now: float) -> float | None:
    if len(value) > 64:
        return None
    if _NUMBER.fullmatch(value):
        return float(value)
    date = _parse_fixdate(value)
    return None if date is None else date - now


def _parse_fixdate(value: str) -> float | None:
    if len(value) > 64 or not _IMF_FIXDATE.fullmatch(value):
        return None
    try:
        return _parse_date(value).timestamp()
    except (ValueError, OverflowError):
        return None


_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)  # gateways send fractions
_IMF_FIXDATE: Final = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [1-9]\d{3} \d{2}:\d{2}:\d{2} GMT",
    re.ASCII,
)
