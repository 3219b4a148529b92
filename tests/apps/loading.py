"""What an application specification can name."""

import os

from hello_wsgi import app, application, factory, holder  # noqa: F401


def whoami(environ, start_response):
    """The environment that the application was imported in."""
    body = f"{os.getcwd()} {os.environ.get('LOADING_MARK')}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
