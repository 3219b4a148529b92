"""The threads of the gthread worker."""

import sys
import threading

# With one thread computing, another gets the interpreter back after 5 ms by default; this makes it 1 ms.
SWITCH_SECONDS = 0.001


def start(count, serve):
    sys.setswitchinterval(SWITCH_SECONDS)
    for number in range(count):
        # The process does not wait for them at its end: those that are idle have ended by then, others hang.
        threading.Thread(target=serve, name=f"app-thread-{number}", daemon=True).start()
