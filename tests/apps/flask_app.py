"""A Flask application as people write them."""

from flask import Flask, Response, abort, jsonify, redirect, request, session, stream_with_context

app = Flask(__name__)
app.secret_key = "for tests"


@app.get("/")
def index():
    return "Hello from Flask"


@app.get("/json/<int:number>")
def as_json(number: int):
    return jsonify(number=number, args=request.args.to_dict(), url=request.url, scheme=request.scheme)


@app.post("/form")
def form():
    return jsonify(request.form.to_dict(flat=False))


@app.post("/upload")
def upload():
    return jsonify({name: [file.filename, len(file.read())] for name, file in request.files.items()})


@app.post("/raw")
def raw():
    return jsonify(length=len(request.get_data()), type=request.content_type)


@app.get("/cookie")
def cookie():
    session["count"] = session.get("count", 0) + 1
    response = jsonify(count=session["count"], seen=request.cookies.get("plain"))
    response.set_cookie("plain", "yes", httponly=True)
    return response


@app.get("/stream")
def stream():
    @stream_with_context
    def parts():
        for number in range(5):
            yield f"{number} {request.args.get('tag', '')}\n"

    return Response(parts(), mimetype="text/plain")


@app.get("/redirect")
def redirected():
    return redirect("/")


@app.get("/missing")
def missing():
    abort(404)


@app.get("/error")
def error():
    raise RuntimeError("Flask view failed")


@app.route("/unicode/<text>", methods=["GET", "HEAD"])
def unicode_path(text: str):
    return text
