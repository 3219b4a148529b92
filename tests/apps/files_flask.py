"""Flask's send_file, which answers ranges and conditions."""

from flask import Flask, request, send_file

app = Flask(__name__)


@app.get("/")
def file():
    return send_file(request.args["path"], mimetype="application/octet-stream")
