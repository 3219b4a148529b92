"""Says what arrived, as JSON. Text is latin-1, header names are lower case with dashes.

The path /read-none leaves the body unread."""

import hashlib
import json


def header_pairs(environ):
    pairs = [[name[5:].lower().replace("_", "-"), value] for name, value in environ.items() if name.startswith("HTTP_")]
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            pairs.append([name.lower().replace("_", "-"), environ[name]])
    return pairs


def app(environ, start_response):
    body = b"" if environ["PATH_INFO"] == "/read-none" else environ["wsgi.input"].read()
    answer = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "headers": header_pairs(environ),
        "body_len": len(body),
        "body_sha256": hashlib.sha256(body).hexdigest(),
    }
    text = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [text]
