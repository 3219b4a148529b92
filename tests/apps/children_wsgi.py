"""An application that starts processes of its own, as workers of a calculation: one way per path."""

import concurrent.futures
import json
import multiprocessing
import subprocess


def square(number):
    return number * number


def pool(method):
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        return list(executor.map(square, range(4)))


def command():
    done = subprocess.run(["sh", "-c", "cat; echo out; exit 3"], capture_output=True, text=True, timeout=30)
    return [done.stdout, done.returncode]


WAYS = {
    "/spawn": lambda: pool("spawn"),
    "/forkserver": lambda: pool("forkserver"),
    "/command": command,
}


def app(environ, start_response):
    body = json.dumps(WAYS[environ["PATH_INFO"]]()).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
