"""TLS for real: who the other side is, is settled before the first byte of a request leaves."""

import asyncio
import socket
import ssl
import threading
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from kit.certs import Authority, Certified
from kit.servers import TOKEN, Connection, Script, answering, serve

from descope_native import (
    AiohttpTransport,
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    FinishResult,
    NativeOAuthFinisher,
    Outcome,
    RequestTimeout,
    TLSError,
)

CODE = "canary-code-6c1f0a7e"
AUTHORITY = Authority()
GOOD = AUTHORITY.certify()

Trust = bool | ssl.SSLContext | aiohttp.Fingerprint


async def finish(url: str, trust: Trust, **options: float) -> FinishResult:
    async with AiohttpTransport.open(ssl=trust, **options) as transport:  # type: ignore[arg-type]
        finisher = NativeOAuthFinisher("P2test", transport, base_url=url, timeout=5)
        return await finisher.finish(provider="apple", state_id="state", code=CODE)


async def failure(url: str, trust: Trust, **options: float) -> DescopeNativeError:
    with pytest.raises(DescopeNativeError) as caught:
        await finish(url, trust, **options)
    assert CODE not in repr(caught.value) + str(caught.value)
    return caught.value


def assert_refused(error: DescopeNativeError, words: str) -> None:
    assert type(error) is TLSError
    assert error.outcome is Outcome.NOT_SENT
    assert not error.safe_to_retry
    assert error.phase == "connect"
    assert error.reason == "tls"
    assert words in str(error)


async def test_a_certificate_of_a_trusted_authority_is_taken() -> None:
    """The caller's own SSLContext, with a private authority, decides."""
    async with serve(answering(), GOOD.server_context()) as server:
        result = await finish(server.url("https"), AUTHORITY.client_context())
    assert result.session_jwt == TOKEN
    assert server.received.count(CODE.encode()) == 1


@pytest.mark.parametrize(
    ("certified", "trust", "words"),
    [
        pytest.param(
            GOOD, lambda: True, "unable to get local issuer certificate", id="unknown-to-the-system"
        ),
        pytest.param(
            GOOD, lambda: Authority().client_context(), "certificate is not valid", id="another-authority"
        ),
        pytest.param(
            AUTHORITY.certify("elsewhere.example"),
            AUTHORITY.client_context,
            "Hostname mismatch, certificate is not valid for 'localhost'",
            id="wrong-host",
        ),
        pytest.param(
            AUTHORITY.certify(days=-1), AUTHORITY.client_context, "certificate has expired", id="expired"
        ),
        pytest.param(
            GOOD, lambda: aiohttp.Fingerprint(bytes(32)), "expected fingerprint", id="wrong-fingerprint"
        ),
    ],
)
async def test_a_wrong_certificate_is_refused_before_anything_is_sent(
    certified: Certified, trust: Callable[[], Trust], words: str
) -> None:
    """Nothing may go to somebody who is not proved to be the service; a retry would meet the same."""
    async with serve(answering(), certified.server_context()) as server:
        error = await failure(server.url("https"), trust())
    assert_refused(error, words)
    assert server.received == b""


async def test_a_pinned_certificate_is_taken_by_its_fingerprint() -> None:
    """No authority is needed where the certificate itself is known."""
    async with serve(answering(), GOOD.server_context()) as server:
        result = await finish(server.url("https"), aiohttp.Fingerprint(GOOD.fingerprint))
    assert result.session_jwt == TOKEN


async def test_a_certificate_for_an_address_does_not_serve_a_name() -> None:
    """127.0.0.1 and localhost are the same machine and two identities."""
    async with serve(answering(), AUTHORITY.certify("127.0.0.1").server_context()) as server:
        assert_refused(await failure(server.url("https"), AUTHORITY.client_context()), "Hostname mismatch")
        result = await finish(server.url("https", "127.0.0.1"), AUTHORITY.client_context())
    assert result.session_jwt == TOKEN


@asynccontextmanager
async def outspoken_server(context: ssl.SSLContext) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A blocking server, one connection at a time: unlike asyncio's it says why it refuses a handshake."""
    received: list[bytes] = []
    ended = threading.Event()

    def answer_one(raw: socket.socket) -> None:
        with context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False) as secure:
            with suppress(OSError):
                secure.do_handshake()
                received.append(secure.recv(65536))
            with suppress(OSError):
                secure.shutdown(socket.SHUT_WR)  # from here on it reads what was sent, undeciphered
                while secure.recv(65536):
                    pass

    def answer_all() -> None:
        while True:
            raw, _ = listener.accept()
            with raw:
                if ended.is_set():
                    return
                answer_one(raw)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(asyncio.to_thread(answer_all))
        try:
            yield f"https://localhost:{listener.getsockname()[1]}", received
        finally:
            ended.set()
            with socket.create_connection(listener.getsockname()):  # which wakes it
                await serving


async def test_no_version_older_than_tls_1_2_is_spoken() -> None:
    """A server that can do no better than TLS 1.1 is not talked to."""
    context = GOOD.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")  # without which OpenSSL 3 has no TLS 1.1 at all
    if not ssl.HAS_TLSv1_1:
        pytest.skip("this OpenSSL cannot speak TLS 1.1, so nobody can offer it")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    ancient = AUTHORITY.client_context()
    ancient.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        ancient.minimum_version = ssl.TLSVersion.TLSv1_1
    async with serve(answering(), context) as server:  # so it is the version that the next one refuses
        assert (await finish(server.url("https"), ancient)).session_jwt == TOKEN
    async with outspoken_server(context) as (url, received):
        error = await failure(url, AUTHORITY.client_context())
    assert_refused(error, "alert protocol version")
    assert received == []


async def test_a_plain_http_server_behind_https_is_refused() -> None:
    """What answers the handshake in plain text is not the service, and gets no request."""
    async with serve(plain_answer) as server:
        error = await failure(server.url("https"), AUTHORITY.client_context())
    assert_refused(error, "the TLS handshake failed")
    assert CODE.encode() not in server.received


async def plain_answer(connection: Connection) -> None:
    await connection.arrived(1)
    connection.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nThis is not TLS")
    connection.finish()


async def reset(connection: Connection) -> None:
    await connection.arrived(1)
    connection.reset()


async def end(connection: Connection) -> None:
    await connection.arrived(1)
    connection.finish()


async def test_a_stalled_handshake_runs_into_the_connect_timeout() -> None:
    """The error names the phase, and the code is proved to be good still."""
    async with serve(Connection.gone) as server:
        error = await failure(server.url("https"), AUTHORITY.client_context(), connect_timeout=0.1)
    assert type(error) is RequestTimeout
    assert error.phase == "connect"
    assert error.outcome is Outcome.NOT_SENT
    assert error.safe_to_retry
    assert CODE.encode() not in server.received


@pytest.mark.parametrize("script", [reset, end], ids=["RST", "FIN"])
async def test_a_connection_lost_in_the_handshake_was_never_used(script: Script) -> None:
    """It says nothing about who the other side is, so another try is worth it."""
    async with serve(script) as server:
        error = await failure(server.url("https"), AUTHORITY.client_context())
    assert type(error) is ConnectError
    assert error.reason == "reset"
    assert error.outcome is Outcome.NOT_SENT
    assert error.safe_to_retry
    assert CODE.encode() not in server.received


def wanting_client_certificates(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = GOOD.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    AUTHORITY.trusted_by(context)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_certificate_is_shown_where_it_is_asked_for(version: ssl.TLSVersion) -> None:
    """The caller's SSLContext brings it."""
    ours = AUTHORITY.certify("client.example").load_into(AUTHORITY.client_context())
    async with serve(answering(), wanting_client_certificates(version)) as server:
        result = await finish(server.url("https"), ours)
    assert result.session_jwt == TOKEN


async def test_a_missing_client_certificate_fails_the_handshake_of_tls_1_2() -> None:
    """There the server checks it before the handshake ends."""
    async with outspoken_server(wanting_client_certificates(ssl.TLSVersion.TLSv1_2)) as (url, received):
        error = await failure(url, AUTHORITY.client_context())
    assert_refused(error, "alert handshake failure")
    assert received == []


async def test_a_missing_client_certificate_is_told_as_it_happened_in_tls_1_3() -> None:
    """There the client is done before the server has checked, so the request may be on its way already.

    As a rule it is; where the refusal is quicker, nothing was sent. The server reads neither.
    """
    async with outspoken_server(wanting_client_certificates(ssl.TLSVersion.TLSv1_3)) as (url, received):
        error = await failure(url, AUTHORITY.client_context())
    if error.outcome is Outcome.UNKNOWN:
        assert type(error) is ConnectionLost
        assert not error.safe_to_retry
    else:
        assert type(error) is ConnectError
        assert error.outcome is Outcome.NOT_SENT
    assert received == []
