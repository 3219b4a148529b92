"""What a WSGI application sees of a request, at any path; /case/... and /protocol/... are those of the other files."""

import hashlib
import json

import protocol_wsgi
import wsgi_cases


def under(environ, prefix):
    environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(prefix)
    return environ


def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/case/"):
        return wsgi_cases.app(under(environ, "/case"), start_response)
    if environ["PATH_INFO"].startswith("/protocol/"):
        return protocol_wsgi.application(under(environ, "/protocol"), start_response)
    body = environ["wsgi.input"].read()
    shown = {k: v if isinstance(v, (str, bool, int, tuple)) else f"<{type(v).__name__}>" for k, v in environ.items()}
    answer = {"request": shown, "body_bytes": len(body), "body": hashlib.sha256(body).hexdigest()}
    return wsgi_cases.plain(start_response, json.dumps(answer))
