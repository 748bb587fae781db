"""The environment's proxy: used where that is asked for, and told where it is ignored."""

import pickle
from typing import Any

import aiohttp
import pytest
from kit.certs import Authority
from kit.servers import Connection, answering, serve, session, tunnel, unused_port
from kit.support import failure, finish
from yarl import URL

from descope_native import AiohttpTransport, ConnectError, InvalidRequestError, Outcome, RequestTimeout

AUTHORITY = Authority()
GOOD = AUTHORITY.certify()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without anything about proxies, in either spelling."""
    for name in ("https_proxy", "http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
async def test_the_proxy_of_the_environment_is_used_where_it_is_trusted(
    environment: pytest.MonkeyPatch, name: str
) -> None:
    """Its user and password go into CONNECT, and the call goes through its tunnel."""
    async with serve(tunnel) as proxy, serve(answering(session()), GOOD.server_context()) as server:
        environment.setenv(name, f"http://usher:word@localhost:{proxy.port}")
        async with AiohttpTransport.open(ssl=AUTHORITY.client_context(), trust_env=True) as transport:
            await finish(transport, server.url("https"))
        assert proxy.received.startswith(f"CONNECT localhost:{server.port} HTTP/1.1".encode())
        assert b"Proxy-Authorization: Basic dXNoZXI6d29yZA==" in proxy.received


@pytest.mark.parametrize("options", [{}, {"trust_env": False}])
async def test_it_is_not_used_otherwise(environment: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    """By default the environment decides nothing."""
    async with serve(answering(session()), GOOD.server_context()) as server:
        environment.setenv("HTTPS_PROXY", f"http://localhost:{unused_port()}")
        async with AiohttpTransport.open(ssl=AUTHORITY.client_context(), **options) as transport:
            await finish(transport, server.url("https"))


async def test_hosts_of_no_proxy_are_called_directly(environment: pytest.MonkeyPatch) -> None:
    """As aiohttp and urllib read it."""
    async with serve(answering(session()), GOOD.server_context()) as server:
        environment.setenv("HTTPS_PROXY", f"http://localhost:{unused_port()}")
        environment.setenv("NO_PROXY", "internal.example,localhost")
        async with AiohttpTransport.open(ssl=AUTHORITY.client_context(), trust_env=True) as transport:
            await finish(transport, server.url("https"))


async def test_a_proxy_that_was_given_wins(environment: pytest.MonkeyPatch) -> None:
    """Also for hosts of NO_PROXY."""
    async with serve(tunnel) as proxy, serve(answering(session()), GOOD.server_context()) as server:
        environment.setenv("HTTPS_PROXY", f"http://localhost:{unused_port()}")
        environment.setenv("NO_PROXY", "localhost")
        given = f"http://localhost:{proxy.port}"
        async with AiohttpTransport.open(
            ssl=AUTHORITY.client_context(), trust_env=True, proxy=given
        ) as transport:
            await finish(transport, server.url("https"))
        assert proxy.received.startswith(b"CONNECT")


async def test_plain_http_on_loopback_has_no_proxy(environment: pytest.MonkeyPatch) -> None:
    """A proxy could read it."""
    async with serve(answering(session())) as server:
        environment.setenv("HTTP_PROXY", f"http://localhost:{unused_port()}")
        environment.setenv("HTTPS_PROXY", f"http://localhost:{unused_port()}")
        async with AiohttpTransport.open(trust_env=True) as transport:
            await finish(transport, server.url())


async def test_what_is_no_proxy_is_refused_by_the_variables_name(environment: pytest.MonkeyPatch) -> None:
    """When the transport is opened, without the value, which may hold a password."""
    environment.setenv("HTTPS_PROXY", "socks5://usher:canary@localhost:1080")
    with pytest.raises(InvalidRequestError) as caught:
        await AiohttpTransport.open(trust_env=True).__aenter__()
    assert str(caught.value) == "HTTPS_PROXY must be an absolute http or https URL"


@pytest.mark.parametrize(
    ("variables", "is_told"),
    [
        ({"HTTPS_PROXY": "http://usher:canary@localhost:1"}, True),
        ({"HTTPS_PROXY": "http://usher:canary@localhost:1", "NO_PROXY": "localhost"}, False),
        ({"HTTP_PROXY": "http://usher:canary@localhost:1"}, False),
        ({}, False),
    ],
    ids=["set", "bypassed", "for http", "none"],
)
async def test_a_failed_connect_says_where_a_proxy_was_ignored(
    environment: pytest.MonkeyPatch, variables: dict[str, str], is_told: bool
) -> None:
    """By the variable's name. The failure and what it proves stay the same."""
    for name, value in variables.items():
        environment.setenv(name, value)
    async with AiohttpTransport.open() as transport:
        error = await failure(transport, f"https://localhost:{unused_port()}")
    assert isinstance(error, ConnectError)
    assert (error.reason, error.outcome, error.safe_to_retry) == ("refused", Outcome.NOT_SENT, True)
    assert ("HTTPS_PROXY is set, and trust_env=True would use it" in str(error)) is is_told
    assert "canary" not in str(error)


@pytest.mark.parametrize("timeouts", [(0.2, 5), (5, 0.2)], ids=["connect_timeout", "timeout"])
async def test_a_connect_that_takes_too_long_says_so_too(
    environment: pytest.MonkeyPatch, timeouts: tuple[float, float]
) -> None:
    """A firewall drops what is to go through the proxy, as a rule, rather than refuse it."""
    environment.setenv("HTTPS_PROXY", "http://localhost:1")

    async def script(connection: Connection) -> None:
        await connection.gone()

    async with serve(script) as server, AiohttpTransport.open(connect_timeout=timeouts[0]) as transport:
        url = server.url("https")
        told = [str(await failure(transport, url, timeout=timeouts[1]))]
        with pytest.raises(RequestTimeout) as caught:
            await transport.warm(URL(url))
        told += [str(caught.value), str(pickle.loads(pickle.dumps(caught.value)))]
    for text in told:
        assert "HTTPS_PROXY is set, and trust_env=True would use it" in text


async def test_over_a_borrowed_session_the_hint_can_be_followed(environment: pytest.MonkeyPatch) -> None:
    """What borrows has no `trust_env`, and that of the session is not looked at."""
    environment.setenv("HTTPS_PROXY", "http://localhost:1")
    async with aiohttp.ClientSession(trust_env=True) as session:
        error = await failure(AiohttpTransport(session), f"https://localhost:{unused_port()}")
    assert "HTTPS_PROXY is set, and proxy= would use it" in str(error)


async def test_another_failure_is_told_as_it_is(environment: pytest.MonkeyPatch) -> None:
    """A certificate that is not valid has nothing to do with a proxy."""

    async def script(connection: Connection) -> None:
        await connection.gone()

    async with serve(script, GOOD.server_context()) as server:
        environment.setenv("HTTPS_PROXY", "http://localhost:1")
        async with AiohttpTransport.open() as transport:
            error = await failure(transport, server.url("https"))
    assert "HTTPS_PROXY" not in str(error)
