"""Answers with the body backwards."""


def app(environ, start_response):
    body = environ["wsgi.input"].read()[::-1] or b"nothing came"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
