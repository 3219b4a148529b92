"""Django's FileResponse."""

from django.conf import settings

settings.configure(
    SECRET_KEY="for tests", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], DATABASES={}, LOGGING_CONFIG=None
)

from django.core.wsgi import get_wsgi_application  # noqa: E402  settings come first in Django
from django.http import FileResponse  # noqa: E402
from django.urls import path  # noqa: E402


def file(request):
    return FileResponse(open(request.GET["path"], "rb"), as_attachment=True)


urlpatterns = [path("", file)]
app = get_wsgi_application()
