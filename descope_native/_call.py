"""One call, whatever its operation: its deadline, its retries, and the one line that it logs."""

import asyncio
import functools
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    Self,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
)

import attrs
from yarl import URL

from descope_native._clock import now
from descope_native._numbers import is_positive
from descope_native._providers import WELL_KNOWN
from descope_native._service.answers import Result, not_as_documented, read_answer, read_trace_id
from descope_native._service.endpoint import make_endpoint
from descope_native._service.operations import Operation
from descope_native._service.redaction import Redactor
from descope_native.errors import (
    DescopeNativeError,
    InvalidRequestError,
    Outcome,
    Phase,
    RejectedError,
    ResponseError,
    TransportError,
    UnexpectedResponse,
    outcome_in,
)
from descope_native.events import CallEvent
from descope_native.http_answer import answer_for
from descope_native.models import Drift, none_if_empty
from descope_native.retrying import Retry
from descope_native.transports import HttpResponse, Progress, Transport
from descope_native.transports._lifecycle import opening

if TYPE_CHECKING:  # whoever passes one has loaded it
    from descope_native.single_flight import SingleFlight

_log: Final = logging.getLogger("descope_native")
_log.addHandler(logging.NullHandler())  # whether and where to log is the application's to say

Request = TypeVar("Request", bound=attrs.AttrsInstance)


_PERSONS_TOKENS: Final = ("refresh_jwt", "known_device_jwt", "trusted_device_jwt")
"""What a request may have that a person or a phone has kept for long, and that may have expired."""

_THEIRS: Final = (Exception, asyncio.CancelledError, BaseExceptionGroup)
"""What somebody's metrics or log handler may raise, which costs nobody a session. Neither is awaited, so a
cancellation of the task itself is not among it: that comes out of an ``await`` only."""

_MAX_DRIFT_PATHS: Final = 1000
_drift_paths: Final[set[str]] = set()
"""Drift paths that this process has logged as a WARNING."""


class ClientOptions(TypedDict, total=False):
    """What every client takes by name; `NativeOAuthFinisher` says what each means."""

    base_url: str | URL | None
    auth_management_key: str | None
    timeout: float
    retry: Retry | None
    single_flight: "SingleFlight | None"
    on_call: Callable[[CallEvent], object] | None
    strict: bool
    allow_http: bool


class Client(Generic[Request, Result]):
    """Makes the calls of one operation to one project. The public clients are made of it."""

    _operation: ClassVar[Operation[Any, Any]]

    def __init__(
        self,
        project_id: str,
        transport: Transport,
        *,
        base_url: str | URL | None = None,
        auth_management_key: str | None = None,
        timeout: float = 15.0,
        retry: Retry | None = None,
        single_flight: "SingleFlight | None" = None,
        on_call: Callable[[CallEvent], object] | None = None,
        strict: bool = False,
        allow_http: bool = False,
    ) -> None:
        try:
            self._endpoint = make_endpoint(
                self._operation.path, project_id, base_url, auth_management_key, allow_http=allow_http
            )
        except InvalidRequestError as refusal:
            raise refusal.with_traceback(None) from None  # the frames below hold the key
        finally:
            del project_id, base_url, auth_management_key  # what is refused may hold a password or key
        if not callable(getattr(transport, "send", None)):
            raise InvalidRequestError("transport must have send(); enter AiohttpTransport.open() first")
        retry = none_if_empty(retry)
        if not isinstance(retry, Retry | None):
            raise InvalidRequestError("retry must be a Retry or None")
        single_flight = none_if_empty(single_flight)
        if single_flight is not None:
            if self._operation.proof is None:
                raise InvalidRequestError("single_flight is for what sends a proof; a start has none")
            if not callable(getattr(single_flight, "run", None)):
                raise InvalidRequestError("single_flight must be a SingleFlight or None")
        on_call = none_if_empty(on_call)
        if on_call is not None and not callable(on_call):
            raise InvalidRequestError("on_call must be callable or None")
        self._transport = transport
        self._timeout = _checked(timeout)
        self._retry = retry
        self._single_flight = single_flight
        self._on_call = on_call
        self._strict = strict

    def __repr__(self) -> str:
        # Where arguments were refused there is no endpoint, but a traceback that shows locals shows this.
        endpoint = getattr(self, "_endpoint", None)
        return f"<{type(self).__name__} {endpoint.url.origin() if endpoint else 'without an endpoint'}>"

    @classmethod
    @opening
    async def open(cls, project_id: str, **options: Unpack[ClientOptions]) -> AsyncGenerator[Self]:
        """An async context manager that opens, owns and closes an `AiohttpTransport`. It is entered once.

        Takes what the class takes, and raises what it raises.
        """
        from descope_native.transports.aiohttp import AiohttpTransport  # noqa: PLC0415 -- loads aiohttp

        async with AiohttpTransport.open() as transport:
            try:
                client = cls(project_id, transport, **options)
            finally:
                del project_id, options  # the key may be among them, and this frame in a traceback
            yield client

    @property
    def base_url(self) -> URL:
        """Where the service is: what was given, or the host of the project's region."""
        return self._endpoint.base_url

    @property
    def project_id(self) -> str:
        """The project that the calls are for."""
        return self._endpoint.project_id

    async def warm(self) -> None:
        """Have a connection to the service ready, where the transport can keep one.

        For the start of a program: it raises `TransportError` as a call would that cannot connect, so that a
        wrong host or certificate is found then. Nothing is sent. Over a transport that has no ``warm(url)``
        it does nothing.
        """
        warm = getattr(self._transport, "warm", None)
        if warm is not None:
            try:
                await warm(self._endpoint.url)
            except TransportError as error:
                error.address = f"{self._endpoint.url.host}:{self._endpoint.url.port}"
                raise

    def _refused(self, refusal: InvalidRequestError, provider: object) -> InvalidRequestError:
        """Report a call whose arguments were refused; the error is the caller's to raise."""
        self._begin(provider).fail(refusal)
        return refusal.with_traceback(None)

    def _begin(self, provider: object) -> "Call":
        return Call(self._operation, cast("str", self._endpoint.url.host), provider, self._on_call)

    async def _call(self, request: Request, provider: str, timeout: float | None) -> Result:
        call = self._begin(provider)
        try:
            timeout = none_if_empty(timeout)
            seconds = self._timeout if timeout is None else _checked(timeout)
            result = await self._make(request, seconds, call)
        except (Exception, asyncio.CancelledError) as error:  # whatever a transport raises ends a call
            call.fail(error)
            call.forget_refusal()
            raise
        call.succeed(result.drift)
        call.forget_refusal()
        return result

    async def _make(self, request: Request, seconds: float, call: "Call") -> Result:
        if self._single_flight is None or self._operation.proof is None:
            return await self._send(request, seconds, call)
        result: Result = await self._single_flight.run(
            self._operation.proof.identify(self._endpoint, request),
            functools.partial(self._send, request, seconds, call),
            call,
            deadline=call.started + seconds,
            codec=self._operation.proof,
        )
        refusal = not_as_documented(result, call.trace_id) if self._strict and result.drift else None
        if refusal is None:
            return result
        del result
        raise refusal

    async def _send(self, request: Request, seconds: float, call: "Call") -> Result:
        attempt = functools.partial(self._attempt, request, seconds, call)
        left = call.started + seconds - now()  # a store of single flight has had its time
        try:
            return await (attempt() if self._retry is None else self._retry.run(attempt, left))
        except DescopeNativeError as error:
            if call.refused is not None and error.outcome is Outcome.NOT_SENT:  # one attempt, not the call
                raise call.refused from error
            raise

    async def _attempt(self, request: Request, seconds: float, call: "Call") -> Result:
        left = max(call.started + seconds - now(), 0.0)
        sent = self._endpoint.build_request(request, left, call.begin())
        answer: Result | ResponseError | None = None
        try:
            answer = self._read(request, await self._transport.send(sent), call)
            if isinstance(answer, ResponseError):
                raise answer
            return answer
        except DescopeNativeError as error:
            error.spends_nothing = self._operation.spends_nothing
            if isinstance(error, TransportError):
                error.address = f"{sent.url.host}:{sent.url.port}"
            call.proved = error.outcome
            if isinstance(error, RejectedError):
                call.refused = error
            raise
        finally:
            del answer  # an error holds this frame, which would hold the error, and the request, for long

    def _read(self, request: Request, response: HttpResponse, call: "Call") -> Result | ResponseError:
        # Handed over by value: a frame that raises is in the traceback, and this one holds the answer.
        redactor = Redactor(request, self._endpoint.key)
        answer: Result | ResponseError = read_answer(
            self._operation.read,
            response,
            self._endpoint.url,
            redactor,
            strict=self._strict and self._single_flight is None,  # else each caller judges for itself
            has_persons_token=any(getattr(request, name, None) is not None for name in _PERSONS_TOKENS),
        )
        call.status = response.status
        if not isinstance(answer, ResponseError) and (answer.drift or call.is_heard(logging.INFO)):
            call.trace_id = read_trace_id(response, redactor)
        return answer


def _checked(timeout: float) -> float:
    if not is_positive(timeout):
        raise InvalidRequestError("timeout must be seconds, more than 0")
    return float(timeout)


class Call:
    """The facts of one call. It ends as a `CallEvent`, which makes one line in the log."""

    def __init__(
        self,
        operation: Operation[Any, Any],
        host: str,
        provider: object,
        on_call: Callable[[CallEvent], object] | None,
    ) -> None:
        self.started = now()
        self.refused: RejectedError | None = None
        self.proved: Outcome | None = None
        self.status: int | None = None
        self.trace_id: str | None = None
        self._operation = operation
        self._host = host
        self._provider = provider if isinstance(provider, str) and provider in WELL_KNOWN else "custom"
        self._on_call = on_call
        self._attempts = 0
        self._progress = Progress("pool")
        self.how: Literal["led", "joined", "replayed"] | None = None
        self.goes_on = False

    def phase(self) -> Phase:
        """How far the last attempt has got."""
        return self._progress.phase

    def begin(self) -> Progress:
        """Of another attempt, which keeps it up to date."""
        self._attempts += 1
        self._progress = Progress() if self._on_call is None else _TimedProgress()
        self.proved = self.status = self.trace_id = None
        return self._progress

    def forget_refusal(self) -> None:
        """Its traceback leads back here, and would keep the request until the garbage collector comes by."""
        if not self.goes_on:
            self.refused = None

    def succeed(self, drift: tuple[Drift, ...]) -> None:
        facts: dict[str, Any] = {}
        level = logging.INFO
        if self.how in {"joined", "replayed"}:
            self._progress = Progress("read")
        if drift:
            facts = {"drift": len(drift), "drift_path": drift[0].path}
            level = _drift_level(drift)
        self._end(level, self._operation.achieved, facts)

    def fail(self, error: BaseException) -> None:
        if isinstance(error, ResponseError):
            self.status, self.trace_id = error.status, error.trace_id
        if self.how in {"joined", "replayed"}:  # what is proved is that of another call
            self.proved = error.outcome if isinstance(error, DescopeNativeError) else Outcome.UNKNOWN
            self._progress = Progress(error.phase if isinstance(error, TransportError) else "read")
        elif self.goes_on:  # and may yet be sent
            self.proved = Outcome.UNKNOWN
        names = ("code", "reason", "retry_after", "argument")
        facts = {name: getattr(error, name, None) for name in names} if _is_ours(error) else {}
        if isinstance(error, InvalidRequestError | TransportError):
            facts["problem"] = error.problem
        self._end(_failure_level(error), self._outcome.value, {**facts, "error": type(error).__name__})

    @property
    def _outcome(self) -> Outcome:
        """The outcome to log: by the error of the last attempt, or by its phase where it has not ended.

        Where any attempt was rejected, the service has seen the code, so it is never NOT_SENT.
        """
        proved = self.proved or outcome_in(self._progress.phase)
        return Outcome.REJECTED if proved is Outcome.NOT_SENT and self.refused else proved

    def is_heard(self, level: int) -> bool:
        """Whether anybody is told of it; what only they are told is not worked out otherwise."""
        return self._on_call is not None or _log.isEnabledFor(level)

    def _end(self, level: int, outcome: str, facts: dict[str, Any]) -> None:
        if not self.is_heard(level):
            return
        event = CallEvent(
            operation=self._operation.name,
            outcome=outcome,
            status=self.status,
            phase=self._progress.phase,
            elapsed=round(now() - self.started, 3),
            phases=self._progress.seconds() if isinstance(self._progress, _TimedProgress) else {},
            attempts=self._attempts,
            host=self._host,
            provider=self._provider,
            trace_id=self.trace_id,
            single_flight=self.how,
            **facts,
        )
        if self._on_call is not None:
            with suppress(*_THEIRS):
                try:
                    self._on_call(event)
                except _THEIRS:
                    _log.exception("on_call failed")
        facts = attrs.asdict(event, recurse=False)
        del facts["phases"]
        extra = {f"descope_{name}": value for name, value in facts.items()}
        told = {name: value for name, value in facts.items() if value is not None and name != "operation"}
        if event.problem is not None:
            told["problem"] = json.dumps(event.problem)  # it has spaces
        line = " ".join(f"{name}={value}" for name, value in told.items())
        line = "".join(char if char.isprintable() else "?" for char in line)  # a transport may be anybody's
        with suppress(*_THEIRS):
            _log.log(level, "%s %s", event.operation, line, extra=extra)


class _TimedProgress(Progress):
    """Remembers when each phase began."""

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__.setdefault("began", []).append((value, now()))  # the phase is its one attribute
        super().__setattr__(name, value)

    def seconds(self) -> dict[str, float]:
        began: list[tuple[Phase, float]] = self.__dict__["began"]
        ends = [*(at for _, at in began[1:]), now()]
        spent: dict[str, float] = {}
        for (phase, at), end in zip(began, ends, strict=True):
            spent[phase] = round(spent.get(phase, 0.0) + end - at, 6)
        return spent


def _is_ours(error: BaseException) -> bool:
    return isinstance(error, DescopeNativeError)


def _failure_level(error: BaseException) -> int:
    """An ERROR is for somebody to mend; a person's sign-in that failed is a WARNING."""
    match error:
        case InvalidRequestError():
            # What is in a request may be anybody's, who must not wake somebody with it.
            is_to_mend = error.argument is None
        case DescopeNativeError():
            is_unexplained = isinstance(error, UnexpectedResponse) or type(error) is TransportError
            is_to_mend = is_unexplained or answer_for(error).next == "give_up"
        case _:
            is_to_mend = isinstance(error, Exception)  # and no cancellation
    return logging.ERROR if is_to_mend else logging.WARNING


def _drift_level(drift: tuple[Drift, ...]) -> int:
    """A WARNING once for each place in a process."""
    new = {each.path for each in drift} - _drift_paths
    if not new or len(_drift_paths) >= _MAX_DRIFT_PATHS:
        return logging.INFO
    _drift_paths.update(new)
    return logging.WARNING
