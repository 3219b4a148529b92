"""A Flask application, and beside it what every WSGI application is underneath."""

import time

from flask import Flask, Response, request

app = Flask(__name__)


@app.get("/")
def index():
    return {"message": "Hello from Flask on Uroboros"}


@app.post("/echo")
def echo():
    return {"form": request.form.to_dict(), "bytes": len(request.get_data())}


@app.get("/stream")
def stream():
    def parts():
        for number in range(10):
            yield f"part {number}\n"
            time.sleep(0.2)

    return Response(parts(), mimetype="text/plain")


def plain(environ, start_response):
    """The same without a framework: `uroboros wsgi_app:plain`."""
    body = b"Hello from plain WSGI on Uroboros\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
