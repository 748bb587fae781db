"""What each of aiohttp's errors is taken for, to the word: the network tests look at kinds and facts."""

import errno
import ssl
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from descope_native import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    RequestTimeout,
    TLSError,
    TransportError,
    UnexpectedResponse,
)
from descope_native.transports import Progress
from descope_native.transports.aiohttp import _connect_failure, _sent

KEY: Any = SimpleNamespace(host="a.example", port=443, ssl=True, is_ssl=True)
INFO = aiohttp.RequestInfo(URL("https://a"), "CONNECT", CIMultiDictProxy(CIMultiDict()), URL("https://a"))


def connector(number: int) -> aiohttp.ClientConnectorError:
    return aiohttp.ClientConnectorError(KEY, OSError(number, "canary"))


def certificate(**facts: Any) -> aiohttp.ClientConnectorCertificateError:
    error = ssl.SSLCertVerificationError(1, "canary")
    for name, fact in facts.items():
        setattr(error, name, fact)
    return aiohttp.ClientConnectorCertificateError(KEY, error)


def handshake(reason: Any) -> aiohttp.ClientConnectorSSLError:
    error = ssl.SSLError(1, "canary")
    error.reason = reason
    return aiohttp.ClientConnectorSSLError(KEY, error)


def proxy(status: int) -> aiohttp.ClientHttpProxyError:
    return aiohttp.ClientHttpProxyError(INFO, (), status=status, message="canary")


def unreached(reason: Any) -> ConnectError:
    return ConnectError(reason, f"nobody could be reached ({reason})")


UNPROVED = "the certificate is not valid"
RESET = ConnectError("reset", "the connection was reset in the TLS handshake")
CONNECT: list[tuple[Exception, DescopeNativeError | None]] = [
    (proxy(407), ConnectError("proxy", "the proxy answered 407 to CONNECT", safe_to_retry=False)),
    (proxy(499), ConnectError("proxy", "the proxy answered 499 to CONNECT", safe_to_retry=False)),
    (proxy(500), ConnectError("proxy", "the proxy answered 500 to CONNECT")),
    (proxy(502), ConnectError("proxy", "the proxy answered 502 to CONNECT")),
    (
        aiohttp.ClientProxyConnectionError(KEY, OSError(errno.ECONNREFUSED, "canary")),
        ConnectError("proxy", "the proxy could not be reached"),
    ),
    (
        aiohttp.ClientConnectorDNSError(KEY, OSError("canary")),
        ConnectError("dns", "the host name could not be resolved"),
    ),
    (
        aiohttp.ServerFingerprintMismatch(b"a", b"b", "canary", 443),
        TLSError("the certificate does not have the expected fingerprint"),
    ),
    (certificate(verify_message="expired"), TLSError(f"{UNPROVED} (expired)")),
    (certificate(verify_message=None), TLSError(UNPROVED)),
    (aiohttp.ClientConnectorCertificateError(KEY, ValueError("canary")), TLSError(UNPROVED)),
    (
        handshake("WRONG_VERSION_NUMBER"),
        TLSError("the TLS handshake failed (wrong version number)"),
    ),
    (handshake(None), TLSError("the TLS handshake failed (no reason given)")),
    (
        aiohttp.ClientConnectorSSLError(KEY, OSError("canary")),
        TLSError("the TLS handshake failed (no reason given)"),
    ),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLEOFError(8, "canary")), RESET),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLZeroReturnError(6, "canary")), RESET),
    (aiohttp.ConnectionTimeoutError("canary"), RequestTimeout("connect", 5.0)),
    (aiohttp.ServerTimeoutError("canary"), RequestTimeout("connect", 5.0)),
    *((connector(number), unreached("refused")) for number in (errno.ECONNREFUSED,)),
    *(
        (connector(number), unreached("reset"))
        for number in (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE)
    ),
    *(
        (connector(number), unreached("unreachable"))
        for number in (
            errno.ENETUNREACH,
            errno.EHOSTUNREACH,
            errno.ENETDOWN,
            errno.EHOSTDOWN,
            errno.ETIMEDOUT,
        )
    ),
    (connector(errno.EMFILE), unreached("other")),
    (aiohttp.ClientConnectorError(KEY, ConnectionError("canary")), unreached("reset")),
    (aiohttp.ClientConnectorError(KEY, OSError("canary")), unreached("other")),
    (
        aiohttp.InvalidURL("canary"),
        ConnectError("other", "the host is not an address", safe_to_retry=False),
    ),
    (aiohttp.ServerDisconnectedError("canary"), None),
    (aiohttp.ClientOSError(errno.ECONNRESET, "canary"), None),
    (ConnectionResetError("canary"), None),
    (RuntimeError("canary"), ConnectError("dns", "the host name resolved to nothing")),
    (AssertionError("canary"), ConnectError("dns", "the host name resolved to nothing")),
    (KeyError("canary"), TransportError("connect", "the transport failed (KeyError)")),
]


def facts(error: DescopeNativeError | None) -> tuple[object, ...]:
    return (type(error), error and error.args, str(error), error and error.safe_to_retry)


@pytest.mark.parametrize(("error", "taken_for"), CONNECT, ids=[type(error).__name__ for error, _ in CONNECT])
def test_an_error_while_connecting_is_taken_for_this(
    error: Exception, taken_for: DescopeNativeError | None
) -> None:
    """One of ours without a word of aiohttp's; none where somebody was reached and lost."""
    assert facts(_connect_failure(error, 5.0)) == facts(taken_for)


@pytest.mark.parametrize("phase", ["send", "wait", "read"])
def test_an_error_after_sending_is_taken_for_this(phase: Any) -> None:
    """Nothing is known of the code any more, whatever it was."""
    lost = ConnectionLost(phase, "the connection was lost before an answer came")
    for error, taken_for in (
        (aiohttp.ClientResponseError(INFO, (), status=400), UnexpectedResponse(0, "the answer is not HTTP")),
        (aiohttp.ServerDisconnectedError("canary"), lost),
        (aiohttp.ClientOSError(errno.EPIPE, "canary"), lost),
        (ConnectionResetError("canary"), lost),
        (KeyError("canary"), TransportError(phase, "the transport failed (KeyError)")),
    ):
        assert facts(_sent(error, Progress(phase))) == facts(taken_for)
