"""A whole Django project in one file: `app` for WSGI, `asgi_app` for ASGI."""

from django.conf import settings

settings.configure(
    SECRET_KEY="for tests",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    DEFAULT_CHARSET="utf-8",
    DATABASES={},
    LOGGING_CONFIG=None,
)

from django import get_version  # noqa: E402  settings come first in Django
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402


def index(request):
    return HttpResponse(f"Hello from Django {get_version()}")


def form(request):
    return JsonResponse(dict(request.POST.lists()))


def upload(request):
    return JsonResponse({name: [file.name, file.size] for name, file in request.FILES.items()})


def cookie(request):
    response = JsonResponse({"seen": request.COOKIES.get("plain")})
    response.set_cookie("plain", "yes")
    return response


def stream(request):
    return StreamingHttpResponse((f"{number}\n" for number in range(5)), content_type="text/plain")


def error(request):
    raise RuntimeError("Django view failed")


async def async_view(request):
    return JsonResponse({"async": True, "secure": request.is_secure(), "host": request.get_host()})


urlpatterns = [
    path("", index),
    path("form", form),
    path("upload", upload),
    path("cookie", cookie),
    path("stream", stream),
    path("error", error),
    path("async", async_view),
]
app = get_wsgi_application()
asgi_app = get_asgi_application()
