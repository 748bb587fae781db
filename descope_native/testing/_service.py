"""The calls of the service, as paths and JSON."""

from collections.abc import Callable

from descope_native.testing._bearer import check_project, refresh_token
from descope_native.testing._devices import Devices
from descope_native.testing._faults import Fault
from descope_native.testing._journal import append
from descope_native.testing._json import json_response, optional, read_object, required
from descope_native.testing._openapi import FINISH, KEYS, LOGOUT, ME, REFRESH, START
from descope_native.testing._sessions import Sessions
from descope_native.testing._settings import Settings
from descope_native.testing._sign_ins import SignIns, Start
from descope_native.transports import HttpRequest, HttpResponse

# By path: the method, and what answers.
Routes = dict[str, tuple[str, Callable[[HttpRequest, Fault], HttpResponse]]]


class Service:
    """What a project is served."""

    def __init__(self, settings: Settings, sign_ins: SignIns, starts: list[Start]) -> None:
        self._settings = settings
        self._sign_ins = sign_ins
        self._starts = starts
        self._devices = Devices(settings)
        self._sessions = Sessions(settings, self._devices)

    def routes(self) -> Routes:
        """Everything that is answered to the project."""
        return {
            START: ("POST", self._start),
            FINISH: ("POST", self._finish),
            REFRESH: ("POST", self._refresh),
            LOGOUT: ("POST", self._log_out),
            ME: ("GET", self._me),
            KEYS.format(projectId=self._settings.project_id): ("GET", self._keys),
        }

    def _start(self, request: HttpRequest, _: Fault) -> HttpResponse:
        token = refresh_token(request, self._settings)
        user_id = None if token is None else self._sessions.user_of(token)["userId"]
        body = read_object(request.body)
        recognized = self._devices.recognize(request)
        start = Start(
            provider=required(body, "provider"),
            implicit=optional(body, "implicit", bool),
            login_options=optional(body, "loginOptions", dict),
            user_id=user_id,
            known_device="knownDeviceJwt" in recognized,
            trusted_device="trustedDeviceJwt" in recognized,
        )
        started = self._sign_ins.begin(start.provider, implicit=bool(start.implicit))
        append(self._starts, start)
        return json_response(
            {
                "clientId": started.client_id,
                "stateId": started.state_id,
                "nonce": started.nonce,
                "implicit": started.implicit,
            }
        )

    def _finish(self, request: HttpRequest, fault: Fault) -> HttpResponse:
        check_project(request, self._settings)
        body = read_object(request.body)
        recognized = self._devices.recognize(request)
        finish = self._sign_ins.finish(body)
        return self._sessions.open(finish, recognized, in_cookies=self._in_cookies(fault))

    def _refresh(self, request: HttpRequest, fault: Fault) -> HttpResponse:
        token = refresh_token(request, self._settings) or ""
        return self._sessions.refresh(token, in_cookies=self._in_cookies(fault))

    def _log_out(self, request: HttpRequest, fault: Fault) -> HttpResponse:
        token = refresh_token(request, self._settings) or ""
        return self._sessions.close(token, in_cookies=self._in_cookies(fault))

    def _me(self, request: HttpRequest, _: Fault) -> HttpResponse:
        return json_response(self._sessions.user_of(refresh_token(request, self._settings) or ""))

    def _in_cookies(self, fault: Fault) -> bool:
        return (fault.tokens or self._settings.tokens) == "cookies"

    def _keys(self, _: HttpRequest, __: Fault) -> HttpResponse:
        return json_response({"keys": self._settings.signer.keys})
