"""Turns what aiohttp raises into an error of ours.

None of its texts is kept: they may quote the answer, the request or a proxy's password.
"""

import ssl as tls
from typing import cast

import aiohttp
from yarl import URL

from descope_native.errors import (
    ConnectError,
    ConnectionLost,
    ConnectReason,
    DescopeNativeError,
    Phase,
    RequestTimeout,
    TLSError,
    TransportError,
    UnexpectedResponse,
)
from descope_native.transports._aiohttp.internals import (
    HttpProcessingError,
    ResponseHandler,
    certificate_error_of,
    failure_of,
    os_error_of,
)
from descope_native.transports._aiohttp.wire import HeadRefused
from descope_native.transports._lifecycle import CONNECT_REASONS


def connect_failure(  # noqa: C901, PLR0911, PLR0912 -- a table: one case per kind of failure
    error: Exception, connect_timeout: float, proxy: URL | None
) -> DescopeNativeError:
    """Why nobody was reached, the most specific kind first. A proxy that is to blame is named."""
    its_name, at_proxy = "the proxy", ""
    if proxy is not None:
        its_name = f"the proxy {proxy.host}:{proxy.port}"
        if (getattr(error, "host", None), getattr(error, "port", None)) == (proxy.host, proxy.port):
            at_proxy = f", at {its_name}"
    match error:
        case aiohttp.ClientHttpProxyError():
            problem = f"{its_name} answered {error.status} to CONNECT"
            return ConnectError("proxy", problem, safe_to_retry=error.status >= 500)
        case aiohttp.ClientProxyConnectionError():
            return ConnectError("proxy", f"{its_name} could not be reached")
        case aiohttp.ClientConnectorDNSError():
            if proxy is not None:  # which resolves the host's name itself
                return ConnectError("proxy", f"the name of {its_name} could not be resolved")
            return ConnectError("dns", "the host name could not be resolved")
        case aiohttp.ServerFingerprintMismatch():
            return TLSError(f"the certificate does not have the expected fingerprint{at_proxy}")
        case aiohttp.ClientConnectorCertificateError():
            return TLSError(_certificate_problem(certificate_error_of(error)) + at_proxy)
        case aiohttp.ClientConnectorSSLError():
            cause = os_error_of(cast("aiohttp.ClientConnectorError", error))
            if isinstance(cause, tls.SSLEOFError | tls.SSLZeroReturnError):
                return ConnectError("reset", f"the connection was reset in the TLS handshake{at_proxy}")
            return TLSError(f"the TLS handshake failed ({_tls_reason(cause)}){at_proxy}")
        case aiohttp.ClientConnectorError():
            # asyncio gives no number to an end of file in the TLS handshake
            lost: ConnectReason = "reset" if isinstance(os_error_of(error), ConnectionError) else "other"
            reason: ConnectReason = CONNECT_REASONS.get(error.errno, lost)
            return ConnectError(reason, f"nobody could be reached ({reason})")
        case aiohttp.InvalidURL():
            return ConnectError("other", "the URL is no web address", safe_to_retry=False)
        case TimeoutError():
            return RequestTimeout("connect", connect_timeout)
        case aiohttp.ClientError() | OSError() if proxy is not None:
            return ConnectError("proxy", f"{its_name} did not open a tunnel", safe_to_retry=False)
        case aiohttp.ClientError() | OSError():
            return ConnectError("reset", "the connection went before anything could be sent")
        case RuntimeError(__cause__=StopIteration()) | AssertionError(args=()):  # no address to begin with
            if proxy is not None:
                return ConnectError("proxy", f"the name of {its_name} resolved to nothing")
            return ConnectError("dns", "the host name resolved to nothing")
        case _:
            return TransportError("connect", f"the transport failed ({type(error).__name__})")


def failure_once_sent(error: Exception, phase: Phase) -> DescopeNativeError:
    """What it means that this was raised, once the request may have left."""
    if isinstance(error, HeadRefused):
        return UnexpectedResponse(0, error.message, is_damaged=True)
    if isinstance(error, HttpProcessingError):
        return UnexpectedResponse(0, "the answer is not HTTP", is_damaged=True)
    if isinstance(error, aiohttp.ClientError | OSError):
        return ConnectionLost(phase, "the connection was lost before an answer came")
    return TransportError(phase, f"the transport failed ({type(error).__name__})")


def body_failure(status: int, error: Exception, protocol: ResponseHandler) -> DescopeNativeError:
    """Why the body of a 2xx did not come whole."""
    # aiohttp reports bad chunks and lost connections alike, but its protocol knows which it was.
    if isinstance(error, HttpProcessingError) or isinstance(failure_of(protocol), HttpProcessingError):
        return UnexpectedResponse(status, "the answer's body is not HTTP", is_damaged=True)
    return ConnectionLost("read", "the connection was lost within the answer")


def _certificate_problem(error: Exception) -> str:
    code = getattr(error, "verify_message", None)
    return (
        f"the certificate is not valid ({code})" if isinstance(code, str) else "the certificate is not valid"
    )


def _tls_reason(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return reason.lower().replace("_", " ") if isinstance(reason, str) else "no reason given"
