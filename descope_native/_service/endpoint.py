"""Where a project's requests go, and what goes with each of them."""

import ipaddress
import platform
import re
from collections.abc import Mapping
from typing import Final

import attrs
from yarl import URL

from descope_native._service.json_text import encode_json
from descope_native._version import __version__
from descope_native.converters import device_token_headers, own_converter
from descope_native.errors import InvalidRequestError
from descope_native.models import none_if_empty
from descope_native.transports import HttpRequest, Progress

_converter: Final = own_converter()

_DEFAULT_BASE_URL: Final = "https://api.descope.com"
_MIN_REGIONAL_ID: Final = 32
"""From this length on, the four characters after the first of a project id name its region."""

_PROJECT_ID: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)  # a token, RFC 9110 §5.6.2
_REGION: Final = re.compile(r"[A-Za-z0-9]{4}", re.ASCII)
_KEY: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)
_URL: Final = re.compile(r"[\w.~:/?#\[\]@!$&'()*+,;=%-]+", re.ASCII)  # RFC 3986 §2


@attrs.frozen
class Endpoint:
    """Where the requests of one operation go, and what goes with each of them. Made once per client."""

    url: URL
    headers: Mapping[str, str] = attrs.field(repr=False)
    key: str | None = attrs.field(repr=False)
    project_id: str
    base_url: URL

    def build_request(self, request: attrs.AttrsInstance, timeout: float, progress: Progress) -> HttpRequest:
        """The bytes to send. Keys that are unset are left out, never null."""
        headers = {**self.headers, **device_token_headers(request)}
        refresh_jwt = getattr(request, "refresh_jwt", None)
        if refresh_jwt is not None:
            headers["Authorization"] += f":{refresh_jwt}"
        return HttpRequest(
            method="POST",
            url=self.url,
            headers=headers,
            body=encode_json(_converter.unstructure(request)).encode(),
            timeout=timeout,
            progress=progress,
        )


def make_endpoint(
    path: str, project_id: str, base_url: str | URL | None, key: str | None, *, allow_http: bool
) -> Endpoint:
    """Check what a deployment configures. Raises `InvalidRequestError`, which names no value."""
    key, base_url = none_if_empty(key), none_if_empty(base_url)
    # The project id ends up in a host name and in a header, the key in a header.
    if project_id == "":
        raise InvalidRequestError("project_id is empty")
    if not isinstance(project_id, str) or not _PROJECT_ID.fullmatch(project_id):
        raise InvalidRequestError("project_id must be like P2abc…: printable ASCII without spaces or quotes")
    if key is not None and not (isinstance(key, str) and _KEY.fullmatch(key)):
        raise InvalidRequestError("auth_management_key must be printable ASCII without spaces")
    if base_url is None:
        base_url = regional_base_url(project_id)
    if problem := _problem_with_base_url(base_url, allow_http=allow_http):
        raise InvalidRequestError(f"base_url {problem}")
    base = URL(base_url)
    url = base.with_path(base.raw_path.rstrip("/") + path, encoded=True)
    return Endpoint(
        url,
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
        project_id,
        base,
    )


def regional_base_url(project_id: str) -> str:
    """The API host: a long project id names its region, a short one does not."""
    if len(project_id) < _MIN_REGIONAL_ID:
        return _DEFAULT_BASE_URL
    region = project_id[1:5]
    if not _REGION.fullmatch(region):  # or a project id could name any host
        raise InvalidRequestError("project_id names no region right after its first character")
    return f"https://api.{region}.descope.com"


def _problem_with_base_url(  # noqa: PLR0911 -- one return per problem
    base_url: object, *, allow_http: bool
) -> str | None:
    if not isinstance(base_url, str | URL) or not _URL.fullmatch(str(base_url)):
        return "must be a URL: no spaces or quotes, only the characters of RFC 3986"
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
