"""Who may ask a stand-in that listens on a developer's machine: programs, but no pages of other sites."""

import ipaddress
from collections.abc import Collection, Sequence
from typing import Final

from aiohttp import web

from descope_native.testing._json import RefusedError

_OWN_PAGES: Final = {"same-origin", "none"}


def check_caller(request: web.BaseRequest, allowed_hosts: Collection[str]) -> None:
    """Refuse what a page of another site can make a browser send."""
    headers = request.headers
    hosts = headers.getall("Host", ())
    if not all(_is_ours(host, allowed_hosts) for host in hosts):
        raise RefusedError(421, "E011003", "the Host is not one that is served; --allow-host lets it in")
    if not _is_own_page(hosts, headers.getall("Origin", ()), headers.getall("Sec-Fetch-Site", ())):
        raise RefusedError(403, "E011003", "pages of other sites are not answered")
    # An empty POST needs no type: a browser names the origin of any POST.
    kind = _bare(headers.get("Content-Type", "")) or ("none" if request.can_read_body else "application/json")
    if request.method == "POST" and kind != "application/json":
        raise RefusedError(415, "E011003", "the Content-Type of a POST is application/json")


def _is_ours(host: str, allowed_hosts: Collection[str]) -> bool:
    # An address cannot be bound to another machine, as a name can by whoever owns it (DNS rebinding).
    name = host.rpartition("]")[0].removeprefix("[") or host.partition(":")[0]
    name = name.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost") or name in {each.lower() for each in allowed_hosts}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_own_page(hosts: Sequence[str], origins: Sequence[str], sites: Sequence[str]) -> bool:
    own = {f"http://{host.lower()}" for host in hosts}
    return set(sites) <= _OWN_PAGES and {origin.lower() for origin in origins} <= own


def _bare(kind: str) -> str:
    return kind.partition(";")[0].strip().lower()
