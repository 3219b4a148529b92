"""For clients that other people wrote, and a page for browsers that tries everything and says so in its own text."""

import hashlib
import json
import threading
from urllib.parse import parse_qs

# A square of one colour, as small as an image can be.
IMAGE = b"<svg xmlns='http://www.w3.org/2000/svg' width='8' height='8'><rect width='8' height='8'/></svg>"
IMAGES = 50
LARGE = b"0123456789abcdef" * 4096
PAGE = """<!doctype html><title>page</title>
<link rel="stylesheet" href="/style.css"><script src="/app.js"></script>
<iframe name="target"></iframe>
<form method="post" action="/form" target="target">
<input name="word" value="snow ☃ &amp; more"><input name="other" value="1"></form>
<pre id="seen"></pre>
<script>
const seen = {images: 0, hinted: HINTED};
const hex = (buffer) => [...new Uint8Array(buffer)].map((one) => one.toString(16).padStart(2, "0")).join("");
async function images() {
  await Promise.all(Array.from({length: %d}, (_, number) => new Promise((resolve) => {
    const image = new Image();
    image.onload = () => { seen.images += 1; resolve(); };
    image.onerror = resolve;
    image.src = "/image.svg?" + number;
    document.body.append(image);
  })));
}
async function upload() {
  const data = new Uint8Array(2000000).map((_, index) => index %% 251);
  const answer = await fetch("/digest", {method: "POST", body: new Blob([data])});
  seen.upload = (await answer.text()) === hex(await crypto.subtle.digest("SHA-256", data));
}
async function download() {
  seen.download = (await (await fetch("/large?3000000")).arrayBuffer()).byteLength;
}
async function form() {
  const frame = document.querySelector("iframe");
  const loaded = new Promise((resolve) => frame.onload = resolve);
  document.querySelector("form").submit();
  await loaded;
  seen.form = JSON.parse(frame.contentDocument.body.textContent);
}
async function all() {
  await Promise.all([images(), upload(), download(), form()]);
  const loads = performance.getEntriesByType("resource");
  const navigation = performance.getEntriesByType("navigation")[0];
  seen.protocols = [...new Set([...loads, navigation].map((entry) => entry.nextHopProtocol))];
  seen.styled = getComputedStyle(document.body).color;
  seen.script = window.fromScript;
}
all().catch((error) => seen.error = String(error)).finally(
  () => document.querySelector("#seen").textContent = JSON.stringify(seen));
</script>
""" % IMAGES


def send(start_response, kind, body, *headers):
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body))), *headers])
    return [body]


def hello(environ, start_response):
    return send(start_response, "text/plain", environ["SERVER_PROTOCOL"].encode())


def hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload; as=style")])
    return send(start_response, "text/plain", b"after hints")


# Set when a browser asks for what it was hinted at.
ASKED = {"/app.js": threading.Event(), "/style.css": threading.Event()}


def page(environ, start_response):
    """Says in the page what was asked for before there was a page: only the hints can have said so."""
    for asked in ASKED.values():
        asked.clear()
    environ["wsgi.early_hints"](
        [("Link", "</style.css>; rel=preload; as=style"), ("Link", "</app.js>; rel=preload; as=script")]
    )
    hinted = [path for path, asked in ASKED.items() if asked.wait(5)]
    return send(start_response, "text/html; charset=utf-8", PAGE.replace("HINTED", json.dumps(hinted)).encode())


def style(environ, start_response):
    ASKED["/style.css"].set()
    return send(start_response, "text/css", b"body { color: rgb(1, 2, 3) }", ("Cache-Control", "max-age=60"))


def script(environ, start_response):
    ASKED["/app.js"].set()
    return send(start_response, "text/javascript", b"window.fromScript = 'ran'", ("Cache-Control", "max-age=60"))


def image(environ, start_response):
    return send(start_response, "image/svg+xml", IMAGE)


def digest(environ, start_response):
    total = hashlib.sha256()
    while piece := environ["wsgi.input"].read(65536):
        total.update(piece)
    return send(start_response, "text/plain", total.hexdigest().encode())


def large(environ, start_response):
    left = int(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(left))])
    while left > 0:
        yield LARGE[:left]
        left -= len(LARGE)


def form(environ, start_response):
    fields = parse_qs(environ["wsgi.input"].read().decode())
    return send(start_response, "text/plain", json.dumps(fields).encode())


def trailers(environ, start_response):
    environ["uroboros.send_trailers"]([("X-Digest", "abc")])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Trailer", "X-Digest")])
    return [b"body"]


ROUTES = {
    "/": page,
    "/hello": hello,
    "/hints": hints,
    "/style.css": style,
    "/app.js": script,
    "/image.svg": image,
    "/digest": digest,
    "/large": large,
    "/form": form,
    "/trailers": trailers,
}


def app(environ, start_response):
    if route := ROUTES.get(environ["PATH_INFO"]):
        return route(environ, start_response)
    start_response("404 Not Found", [])
    return []
