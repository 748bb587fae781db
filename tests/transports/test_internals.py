"""What the transport uses of aiohttp though its documentation does not have it: each name is still there."""

import ast
import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import client_proto, client_reqrep, connector, http, streams, tracing

import descope_native

ANSWER: Final = "auto_decompress=True, read_until_eof=False, max_line_size=8190, max_field_size=8190"
REQUEST: Final = "headers=None, skip_auto_headers=None, ssl=True, proxy=None, loop=None"

CALLS: Final[dict[str, tuple[Any, str]]] = {
    "ClientRequest": (aiohttp.ClientRequest, f"method, url, {REQUEST}"),
    "BaseConnector.connect": (connector.BaseConnector.connect, "self, req, traces, timeout"),
    "ResponseHandler.set_response_params": (
        client_proto.ResponseHandler.set_response_params,
        f"self, {ANSWER}",
    ),
    "ResponseHandler.read": (client_proto.ResponseHandler.read, "self"),
    "ResponseHandler.is_connected": (client_proto.ResponseHandler.is_connected, "self"),
    "ResponseHandler.exception": (client_proto.ResponseHandler.exception, "self"),
    "ResponseHandler.set_exception": (client_proto.ResponseHandler.set_exception, "self, exc"),
    "ResponseHandler.data_received": (client_proto.ResponseHandler.data_received, "self, data"),
    "ResponseHandler.eof_received": (client_proto.ResponseHandler.eof_received, "self"),
    "ResponseHandler.connection_lost": (client_proto.ResponseHandler.connection_lost, "self, exc"),
    "ResponseHandler.pause_writing": (client_proto.ResponseHandler.pause_writing, "self"),
    "ResponseHandler.resume_writing": (client_proto.ResponseHandler.resume_writing, "self"),
    "StreamReader.set_exception": (streams.StreamReader.set_exception, "self, exc"),
    "StreamWriter": (http.StreamWriter, "protocol, loop"),
    "StreamWriter.write_headers": (http.StreamWriter.write_headers, "self, status_line, headers"),
    "StreamWriter.write": (http.StreamWriter.write, "self, chunk, drain=True"),
    "Trace": (tracing.Trace, "session, trace_config, trace_config_ctx"),
    "Trace.send_request_start": (tracing.Trace.send_request_start, "self, method, url, headers"),
    "Trace.send_request_end": (tracing.Trace.send_request_end, "self, method, url, headers, response"),
    "Trace.send_request_exception": (
        tracing.Trace.send_request_exception,
        "self, method, url, headers, exception",
    ),
    "Trace.send_connection_reuseconn": (tracing.Trace.send_connection_reuseconn, "self"),
    "TraceConfig.trace_config_ctx": (aiohttp.TraceConfig.trace_config_ctx, "self"),
    "HttpProcessingError": (http.HttpProcessingError, "message=''"),
}
"""Each with the arguments that it is given."""


@pytest.mark.parametrize("name", CALLS)
def test_what_is_called_takes_what_it_is_given(name: str) -> None:
    """By its place up to the first that has a default, and by its name from there on."""
    called, expected = CALLS[name]
    parameters = inspect.signature(called).parameters
    for place, given in enumerate(expected.split(", ")):
        parameter_name, _, default = given.partition("=")
        assert parameter_name in parameters, f"{name} has no {parameter_name}"
        if default:
            assert repr(parameters[parameter_name].default) == default
        else:
            assert list(parameters)[place] == parameter_name
    required = [each for each, it in parameters.items() if it.default is it.empty and it.kind not in {2, 4}]
    assert set(required) <= {each.partition("=")[0] for each in expected.split(", ")}, f"{name} wants more"


THERE: Final[dict[str, tuple[Any, str]]] = {
    "Connection.protocol": (connector.Connection, "protocol"),
    "ResponseHandler.should_close": (client_proto.ResponseHandler, "should_close"),
    **{
        f"RawResponseMessage.{name}": (http.RawResponseMessage, name)
        for name in ("version", "code", "reason", "headers", "raw_headers")
    },
    "StreamReader.total_bytes": (aiohttp.StreamReader, "total_bytes"),
    "EMPTY_PAYLOAD": (aiohttp, "EMPTY_PAYLOAD"),
    "SSL_ALLOWED_TYPES": (client_reqrep, "SSL_ALLOWED_TYPES"),
    "ClientConnectorError.os_error": (aiohttp.ClientConnectorError, "os_error"),
    "ClientConnectorCertificateError.certificate_error": (
        aiohttp.ClientConnectorCertificateError,
        "certificate_error",
    ),
}


@pytest.mark.parametrize("name", THERE)
def test_what_is_read_is_there(name: str) -> None:
    """As what a class or a module has."""
    owner, attribute = THERE[name]
    assert attribute in dir(owner), name


async def test_what_each_object_is_given_when_it_is_made_is_there() -> None:
    """The loop of a connector, and the transport of a protocol, of which asyncio knows all the rest."""
    async with aiohttp.TCPConnector() as pool:
        assert pool._loop is asyncio.get_running_loop()
    handler = client_proto.ResponseHandler(asyncio.get_running_loop())
    assert isinstance(handler, asyncio.Protocol)
    assert handler.transport is None


TELLING: Final = {
    *("_loop", "set_response_params", "should_close", "is_connected", "set_exception", "exception"),
    *("raw_headers", "total_bytes", "EMPTY_PAYLOAD", "write_headers", "trace_config_ctx", "proxy_headers"),
    *("os_error", "certificate_error", "send_request_start", "send_request_end", "send_request_exception"),
    "send_connection_reuseconn",
}
"""The undocumented names that nothing else has, unlike `connect`, `read`, `write` and `transport`."""


def modules() -> Iterator[Path]:
    folder = Path(descope_native.__file__).parent / "transports"
    return (path for path in (folder / "aiohttp.py", *folder.glob("_aiohttp/*.py")))


def undocumented(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aiohttp"):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and node.attr in TELLING:
            on_our_own = isinstance(node.value, ast.Name) and node.value.id in {"self", "call"}
            found += [] if on_our_own else [node.attr]
    return found


def test_only_one_module_names_what_is_not_documented() -> None:
    """The others call it by that module's words."""
    named = {path.name: undocumented(path.read_text()) for path in modules()}
    assert named.pop("internals.py")
    assert {name: found for name, found in named.items() if found} == {}
