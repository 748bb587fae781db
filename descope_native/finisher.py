"""Finish a native sign-in: its proof for a session."""

from typing import ClassVar

from descope_native._call import Client
from descope_native._service.operations import FINISH, Operation
from descope_native.errors import InvalidRequestError
from descope_native.models import AppleUser, FinishRequest, FinishResult

__all__ = ["NativeOAuthFinisher"]


class NativeOAuthFinisher(Client[FinishRequest, FinishResult]):
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
        retry: when to send the same request again; never, unless given.
        single_flight: makes one call for all who bring the same proof, and remembers for a while what came
            of it; see `SingleFlight`. Never, unless given.
        on_call: is given one `CallEvent` when a call has ended, however it did. It is not awaited; what it
            raises is logged.
        strict: raise `UnexpectedResponse` where an answer with a session is not as documented,
            instead of listing that in ``drift``. For contract tests.
        allow_http: let ``base_url`` be plain http off loopback, as a stand-in in a test cluster may be.

    Raises:
        InvalidRequestError: an argument cannot be right.
    """

    _operation: ClassVar[Operation[FinishRequest, FinishResult]] = FINISH

    async def finish(
        self,
        *,
        provider: str,
        state_id: str,
        code: str | None = None,
        id_token: str | None = None,
        user: AppleUser | str | None = None,
        nonce: str | None = None,
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
            nonce: what the start gave. An id token with another one in it is refused before it is sent.
            known_device_jwt, trusted_device_jwt: what an earlier result gave for this device.
            timeout: seconds for this call as a whole, instead of the finisher's own.

        Raises:
            InvalidRequestError: an argument cannot be right; nothing was sent.
            TransportError: no answer; its kinds and ``outcome`` say whether the code may be spent.
            ResponseError: an answer that is no session; likewise.
        """
        # Collectors of tracebacks record the locals of every frame: none of ours keeps a secret.
        try:
            request = FinishRequest(
                provider=provider,
                state_id=state_id,
                code=code,
                id_token=id_token,
                user=user,
                nonce=nonce,
                known_device_jwt=known_device_jwt,
                trusted_device_jwt=trusted_device_jwt,
            )
        except InvalidRequestError as refusal:
            raise self._refused(refusal, provider) from None
        finally:
            del state_id, code, id_token, user, nonce, known_device_jwt, trusted_device_jwt
        return await self._call(request, provider, timeout)
