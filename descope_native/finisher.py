"""The one call: build the request, send it, read the answer, under one deadline."""

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, Self, cast

import attrs

from descope_native._clock import now
from descope_native._numbers import is_positive
from descope_native.errors import (
    DescopeNativeError,
    InvalidRequestError,
    Outcome,
    RejectedError,
    ResponseError,
    outcome_in,
)
from descope_native.models import AppleUser, FinishRequest, FinishResult, none_if_empty
from descope_native.retrying import Retry
from descope_native.transports import HttpRequest, Progress, Transport
from descope_native.transports._lifecycle import Opening

if TYPE_CHECKING:
    from yarl import URL

__all__ = ["NativeOAuthFinisher"]

_log: Final = logging.getLogger("descope_native")
_log.addHandler(logging.NullHandler())  # whether and where to log is the application's to say

_COMES_LATER: Final = cast("Transport", object())
"""Instead of the transport that `open` makes once it is entered; nobody has the finisher before."""


class NativeOAuthFinisher:
    """Trades the proof of a native sign-in for a session. Each call sends it at most once.

    It holds no connection, no user and no state; make one per process and share it between tasks.
    Whoever opened the transport closes it; `open` makes one and closes it as well.

    Args:
        project_id: the Descope project, ``P2…``. Where it is 32 characters or longer it names the
            region whose host is called.
        transport: what carries the bytes.
        base_url: instead of ``https://api.descope.com`` or the regional host. A path is kept.
        auth_management_key: for projects that close their public auth API.
        timeout: seconds for a call as a whole: waiting for a connection, connecting (which has 5 of
            them, see `AiohttpTransport`), sending, waiting, reading, and all retries.
        retry: when to send the same code again; never, unless given.
        strict: raise `UnexpectedResponse` where an answer with a session is not as documented,
            instead of listing that in ``drift``. For contract tests.
        allow_http: let ``base_url`` be plain http off loopback, as a stand-in in a test cluster may be.

    Raises:
        InvalidRequestError: an argument cannot be right.
    """

    def __init__(
        self,
        project_id: str,
        transport: Transport,
        *,
        base_url: "str | URL | None" = None,
        auth_management_key: str | None = None,
        timeout: float = 15.0,
        retry: Retry | None = None,
        strict: bool = False,
        allow_http: bool = False,
    ) -> None:
        # Only here, since it brings cattrs and yarl, which take longer to import than all the rest.
        from descope_native._service.endpoint import make_endpoint  # noqa: PLC0415 -- see above

        try:
            self._endpoint = make_endpoint(project_id, base_url, auth_management_key, allow_http=allow_http)
        except InvalidRequestError as refusal:
            raise refusal.with_traceback(None) from None  # the frames below hold the key
        finally:
            del project_id, base_url, auth_management_key  # what is refused may hold a password or key
        if transport is not _COMES_LATER and not callable(getattr(transport, "send", None)):
            raise InvalidRequestError("transport must have send(); enter AiohttpTransport.open() first")
        retry = none_if_empty(retry)
        if not isinstance(retry, Retry | None):
            raise InvalidRequestError("retry must be a Retry or None")
        self._transport = transport
        self._timeout = _checked(timeout)
        self._retry = retry
        self._strict = strict

    def __repr__(self) -> str:
        # Where arguments were refused there is no endpoint, but a traceback that shows locals shows this.
        endpoint = getattr(self, "_endpoint", None)
        return f"<NativeOAuthFinisher {endpoint.url.origin() if endpoint else 'without an endpoint'}>"

    @classmethod
    def open(
        cls,
        project_id: str,
        *,
        base_url: "str | URL | None" = None,
        auth_management_key: str | None = None,
        timeout: float = 15.0,
        retry: Retry | None = None,
        strict: bool = False,
        allow_http: bool = False,
    ) -> AbstractAsyncContextManager[Self]:
        """An async context manager that opens, owns and closes an `AiohttpTransport`. It is entered once.

        Takes what the class takes, and raises what it raises before anything is opened.
        """
        try:
            finisher = cls(
                project_id,
                _COMES_LATER,
                base_url=base_url,
                auth_management_key=auth_management_key,
                timeout=timeout,
                retry=retry,
                strict=strict,
                allow_http=allow_http,
            )
        finally:
            del project_id, base_url, auth_management_key
        return Opening(finisher._opened())

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[Self]:
        from descope_native.transports.aiohttp import AiohttpTransport  # noqa: PLC0415 -- loads aiohttp

        async with AiohttpTransport.open() as self._transport:
            yield self

    async def finish(
        self,
        *,
        provider: str,
        state_id: str,
        code: str | None = None,
        id_token: str | None = None,
        user: AppleUser | str | None = None,
        known_device_jwt: str | None = None,
        trusted_device_jwt: str | None = None,
        timeout: float | None = None,
    ) -> FinishResult:
        """Trade the proof for a session.

        An optional argument that is ``""`` was not given.

        Args:
            provider: ``google``, ``apple``, or the name of a custom provider. Case-sensitive.
            state_id: what ``/v1/auth/oauth/native/start`` gave the app.
            code: the authorization code; exactly one of ``code`` and ``id_token`` is given.
            id_token: the id token.
            user: the name that Apple gave at the first sign-in, as an `AppleUser` or as JSON text. One
                without a name in it, as at each later sign-in, is not sent.
            known_device_jwt, trusted_device_jwt: what an earlier result gave for this device.
            timeout: seconds for this call as a whole, instead of the finisher's own.

        Raises:
            InvalidRequestError: an argument cannot be right; nothing was sent.
            TransportError: no answer; its kinds and ``outcome`` say whether the code may be spent.
            ResponseError: an answer that is no session; likewise.
        """
        # Collectors of tracebacks record the locals of every frame: none of ours keeps a secret.
        call = _Call()
        try:
            try:
                proof = FinishRequest(
                    provider=provider,
                    state_id=state_id,
                    code=code,
                    id_token=id_token,
                    user=user,
                    known_device_jwt=known_device_jwt,
                    trusted_device_jwt=trusted_device_jwt,
                )
                timeout = none_if_empty(timeout)
                seconds = self._timeout if timeout is None else _checked(timeout)
            except InvalidRequestError as refusal:
                raise refusal.with_traceback(None) from None
            finally:
                del state_id, code, id_token, user, known_device_jwt, trusted_device_jwt
            if self._retry is None:
                result = await self._attempt(proof, seconds, call)
            else:
                attempt = functools.partial(self._attempt, proof, seconds, call)
                result = await self._retry.run(attempt, seconds)
        except (Exception, asyncio.CancelledError) as error:  # whatever a transport raises ends a call
            if call.refused is not None and _is_unsent(error):  # of one attempt, but not of the call
                call.log_failure(call.refused)
                raise call.refused from error
            call.log_failure(error)
            raise
        call.log(logging.INFO, "session")
        return result

    async def _attempt(self, proof: FinishRequest, seconds: float, call: "_Call") -> FinishResult:
        from descope_native._service.answers import read_answer, read_trace_id  # noqa: PLC0415 -- as above

        left = max(call.started + seconds - now(), 0.0)
        request = self._endpoint.build_request(proof, left)
        call.begin(request)
        try:
            response = await self._transport.send(request)
            if _log.isEnabledFor(logging.INFO):
                call.status = response.status
                call.trace_id = read_trace_id(self._endpoint, proof, response)
            return read_answer(self._endpoint, proof, response, strict=self._strict)
        except DescopeNativeError as error:
            call.proved = error.outcome
            if isinstance(error, RejectedError):
                call.refused = error
            raise


def _is_unsent(error: BaseException) -> bool:
    return isinstance(error, DescopeNativeError) and error.outcome is Outcome.NOT_SENT


def _checked(timeout: float) -> float:
    if not is_positive(timeout):
        raise InvalidRequestError("timeout must be seconds, more than 0")
    return float(timeout)


@attrs.define
class _Call:
    """The facts of one call that its log line tells. Nothing about the person."""

    started: float = attrs.field(factory=now)
    attempts: int = 0
    progress: Progress = attrs.field(factory=lambda: Progress("pool"))
    proved: Outcome | None = None
    refused: RejectedError | None = None
    status: int | None = None
    trace_id: str | None = None

    def begin(self, request: HttpRequest) -> None:
        self.attempts += 1
        self.progress = request.progress
        self.proved = self.status = self.trace_id = None

    @property
    def outcome(self) -> Outcome:
        """What is proved of a call that ends: by its last attempt's error where that has ended and
        another was being waited for, else by how far it has got. Once the service has refused the code
        it has seen it, also if it was never reached again.
        """
        proved = self.proved or outcome_in(self.progress.phase)
        return Outcome.REJECTED if proved is Outcome.NOT_SENT and self.refused else proved

    def log_failure(self, error: BaseException) -> None:
        if isinstance(error, ResponseError):
            self.status, self.trace_id = error.status, error.trace_id
        self.log(logging.WARNING, self.outcome.value, type(error).__name__)

    def log(self, level: int, outcome: str, error: str | None = None) -> None:
        if not _log.isEnabledFor(level):
            return
        facts = {
            "outcome": outcome,
            "error": error,
            "status": self.status,
            "phase": self.progress.phase,
            "elapsed": round(now() - self.started, 3),
            "attempts": self.attempts,
            "trace_id": self.trace_id,
        }
        line = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
        with suppress(Exception):  # no handler of somebody's costs anybody a session
            _log.log(level, "finish %s", line, extra={f"descope_{name}": facts[name] for name in facts})
