"""The threads of the gthread worker."""

import sys
import threading

# With one thread computing, another gets the interpreter back after 5 ms by default; this makes it 1 ms.
SWITCH_SECONDS = 0.001


def start(count, serve):
    sys.setswitchinterval(SWITCH_SECONDS)
    monkey = sys.modules.get("gevent.monkey")
    if monkey and monkey.is_module_patched("threading"):
        # `Thread` is a greenlet now: all of them in one thread, where the first that waits for a request stops the rest.
        start_thread = monkey.get_original("_thread", "start_new_thread")
        for _ in range(count):
            start_thread(serve, ())
        return
    for number in range(count):
        # The process does not wait for them at its end: those that are idle have ended by then, others hang.
        threading.Thread(target=serve, name=f"app-thread-{number}", daemon=True).start()
