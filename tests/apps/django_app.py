"""Native sign-in with async Django: uvicorn --lifespan on django_app:application"""

from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from native_sign_in import open_finisher, read_proof, summarize

from descope_native import DescopeNativeError
from descope_native.cookies import make_cookies
from descope_native.http_answer import answer_for


@csrf_exempt  # an app has no page to take a CSRF token from; no form on another site can post JSON
@require_POST
async def sign_in(request: ASGIRequest) -> HttpResponse:
    finisher = request.scope["state"]["finisher"]
    try:
        result = await finisher.finish(**read_proof(request.content_type, request.body))
    except DescopeNativeError as error:
        answer = answer_for(error)
        return HttpResponse(answer.content, status=answer.status, headers=answer.headers)
    response = JsonResponse(summarize(result))
    for cookie in make_cookies(result):
        response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return response


urlpatterns = [path("sign-in", sign_in)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost"])
django = get_asgi_application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Django, and around it the lifespan that it has none of."""
    if scope["type"] != "lifespan":
        await django(scope, receive, send)
        return
    await receive()
    async with open_finisher() as scope["state"]["finisher"]:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
