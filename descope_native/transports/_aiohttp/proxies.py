"""Which proxy a call goes through: the one that was given, or that of the environment."""

import base64
from contextlib import suppress
from typing import Self
from urllib.request import getproxies, proxy_bypass

import attrs
from yarl import URL

from descope_native.errors import InvalidRequestError


@attrs.frozen
class Proxy:
    """Where a proxy is, and who it is told that we are: the latter stands in its header and nowhere else.

    aiohttp's warnings and asyncio's debug output show the URL.
    """

    url: URL | None = None
    authorization: str | None = attrs.field(default=None, repr=False)

    @classmethod
    def checked(cls, proxy: str | URL | None, name: str = "proxy") -> Self:
        """Raises `InvalidRequestError`, which has the name and not the value."""
        if proxy is None or proxy == "":
            return cls()
        with suppress(ValueError, TypeError):
            url = URL(proxy)
            if url.scheme in {"http", "https"} and url.host and ":" not in (url.user or ""):  # RFC 7617 §2
                return cls(url.origin(), _basic(url.user or "", url.password or ""))
        raise InvalidRequestError(f"{name} must be an absolute http or https URL")


def _basic(user: str, password: str) -> str | None:
    if not user and not password:
        return None
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@attrs.frozen
class Proxies:
    """The proxy for each URL. ``HTTPS_PROXY`` and ``NO_PROXY`` are read as aiohttp and urllib read them."""

    given: Proxy = Proxy()
    of_environment: Proxy = Proxy()

    @classmethod
    def of(cls, given: str | URL | None, *, trust_env: bool) -> Self:
        """Raises `InvalidRequestError` for what is no proxy."""
        checked = Proxy.checked(given)
        if not trust_env or checked.url is not None:
            return cls(checked)
        return cls(checked, Proxy.checked(getproxies().get("https"), "HTTPS_PROXY"))

    def proxy_for(self, url: URL) -> Proxy:
        if self.of_environment.url is None or url.scheme != "https" or _is_bypassed(url):
            return self.given
        return self.of_environment

    def is_one_ignored(self, url: URL) -> bool:
        """Whether the environment names a proxy for this URL that is not used."""
        return (
            url.scheme == "https"
            and self.proxy_for(url).url is None
            and bool(getproxies().get("https"))
            and not _is_bypassed(url)
        )


def _is_bypassed(url: URL) -> bool:
    return bool(proxy_bypass(url.host or ""))
