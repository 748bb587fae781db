"""From a result to the cookies that a web server sets.

    for cookie in make_cookies(result):
        response.set_cookie(cookie.name, cookie.value, **cookie.attributes)

FastAPI, Starlette, aiohttp.web, Litestar, Quart, Flask and Django take that as it stands; Sanic's
method is called ``add_cookie``.
"""

import re
import time
from typing import Final, Literal, TypedDict

import attrs

from descope_native._tokens import read_times
from descope_native.models import REFRESH_COOKIE, SESSION_COOKIE, FinishResult

__all__ = ["Cookie", "CookieAttributes", "SameSite", "make_cookies"]

SameSite = Literal["lax", "strict", "none"]

# A token, RFC 9110 §5.6.2; what begins with $ is lost on servers that read it as RFC 2109 did.
_NAME: Final = re.compile(r"(?!\$)[\w!#$%&'*+.^`|~-]{1,256}", re.ASCII)
_RESERVED: Final = frozenset(  # what http.cookies, and all that is built on it, refuses for a name
    {
        "comment",
        "domain",
        "expires",
        "httponly",
        "max-age",
        "partitioned",
        "path",
        "samesite",
        "secure",
        "version",
    }
)
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}")
_PATH: Final = re.compile(r"/[\w.~!$&'()*+,:@=%/-]{0,1023}", re.ASCII)  # RFC 3986 §3.3, less the semicolon
_MAX_AGE: Final = 400 * 24 * 3600  # browsers cut to this, and a calendar has an end (RFC 6265bis §5.5)


class CookieAttributes(TypedDict):
    """The keyword arguments of a framework's ``set_cookie``."""

    max_age: int | None
    path: str
    domain: str | None
    secure: bool
    httponly: bool
    samesite: SameSite


@attrs.frozen(kw_only=True)
class Cookie:
    """One token, as a cookie. Its repr does not show it.

    Attributes:
        name: as the project has it, else ``DS`` for the session and ``DSR`` for the refresh token.
        value: the token.
        max_age: seconds; None keeps the cookie until the browser closes.
        domain: the hosts it goes to; None for the one that sets it, and no other.
    """

    name: str
    value: str = attrs.field(repr=False)
    max_age: int | None
    path: str
    domain: str | None
    secure: bool
    httponly: bool
    samesite: SameSite

    @property
    def attributes(self) -> CookieAttributes:
        """All but name and value, as keyword arguments for ``set_cookie``."""
        return {
            "max_age": self.max_age,
            "path": self.path,
            "domain": self.domain,
            "secure": self.secure,
            "httponly": self.httponly,
            "samesite": self.samesite,
        }


def make_cookies(
    result: FinishResult,
    *,
    host: str | None = None,
    secure: bool = True,
    httponly: bool = True,
    samesite: SameSite = "lax",
) -> tuple[Cookie, ...]:
    """The session cookie and, where there is a refresh token, the refresh cookie.

    Names, domain, path and age are the answer's. Invalid values fall back to defaults; they never raise:
    the names become ``DS`` and ``DSR``, the path ``/``, the domain the one host
    that sets the cookie, the age until the browser closes.

    Browsers drop a cookie whose name and value have more than 4096 bytes (RFC 6265bis §5.7); give
    tokens with that many claims to the app in the body instead.

    Args:
        result: what ``finish`` returned.
        host: the host that the request came to. A domain that does not cover it, as that of an
            authentication host beside it, is left out: a browser would drop the whole cookie.
        secure: send it over https only. False is for development.
        httponly: keep it from scripts.
        samesite: ``none`` lets other sites send it, and needs ``secure``.

    Raises:
        ValueError: ``samesite`` is none of the three, or ``none`` without ``secure``.
    """
    if samesite not in {"lax", "strict", "none"}:
        raise ValueError("samesite must be 'lax', 'strict' or 'none'")
    if samesite == "none" and not secure:
        raise ValueError("samesite='none' needs secure=True")
    session_name = _name(result.session_cookie_name, SESSION_COOKIE)
    refresh_name = _name(result.cookie_name, REFRESH_COOKIE)
    if session_name == refresh_name:
        session_name, refresh_name = SESSION_COOKIE, REFRESH_COOKIE

    def make(name: str, value: str, domain: str | None, max_age: int | None) -> Cookie:
        # Browsers hold names to what they promise (RFC 6265bis §4.1.3).
        only_host = name.lower().startswith("__host-")
        return Cookie(
            name=name,
            value=value,
            max_age=max_age,
            path="/" if only_host else _path(result.cookie_path),
            domain=None if only_host else _domain(domain, host),
            secure=secure or only_host or name.lower().startswith("__secure-"),
            httponly=httponly,
            samesite=samesite,
        )

    age = _lifetime(result.session_jwt, result.session_expiration)
    session = make(session_name, result.session_jwt, result.session_cookie_domain, age)
    if result.refresh_jwt is None:
        return (session,)
    max_age = _age(result.cookie_max_age) or _lifetime(result.refresh_jwt, result.cookie_expiration)
    return session, make(refresh_name, result.refresh_jwt, result.cookie_domain, max_age)


def _name(name: str | None, usual: str) -> str:
    return name if name and _NAME.fullmatch(name) and name.lower() not in _RESERVED else usual


def _path(path: str | None) -> str:
    return path if path and _PATH.fullmatch(path) else "/"


def _domain(domain: str | None, host: str | None) -> str | None:
    """A host name of two labels or more; neither an address nor a top-level domain can be one."""
    if not domain or not _DOMAIN.fullmatch(domain := domain.removeprefix(".").lower()):
        return None
    if host is not None and not f".{_without_port(host)}".endswith(f".{domain}"):
        return None
    return domain


def _without_port(host: str) -> str:
    return host.partition(":")[0].lower()


def _age(seconds: int | None) -> int | None:
    return min(seconds, _MAX_AGE) if seconds is not None and seconds > 0 else None


def _lifetime(token: str, expiration: int | None) -> int | None:
    """Seconds from when the token was issued, by its own claim, to when it ends by the answer or itself.

    Both are the service's times, so that no clock of ours that is off has a say. Only where the token
    does not say when it was issued, it is as good as now. None where that leaves nothing: it is as
    likely that our clock is wrong.
    """
    times = read_times(token)
    ends = expiration or times.ends
    return _age(ends - (times.issued or int(time.time()))) if ends else None
