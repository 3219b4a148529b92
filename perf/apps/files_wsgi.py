"""The WSGI application of perf/files.py: a file by its path, through the server's file wrapper."""

import os

ROOT = os.environ["PERF_FILES"]


def app(environ, start_response):
    path = environ["PATH_INFO"]
    file = open(ROOT + (path if path != "/" else "/index"), "rb")  # the wrapper closes it
    start_response("200 OK", [("Content-Length", str(os.fstat(file.fileno()).st_size))])
    return environ["wsgi.file_wrapper"](file)
