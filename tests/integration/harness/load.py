"""Clients that go on beside a test, and what they have met."""

import threading
from collections.abc import Callable, Hashable

from harness.server import allowed
from harness.waiting import eventually


class Load:
    """One thread for each name. What a client does with the load, and for how long, is its own: until `ending` is set."""

    def __init__(self, clients: dict[Hashable, Callable[["Load", Hashable], None]]) -> None:
        self.answered = dict.fromkeys(clients, 0)
        self.failures: list[str] = []
        self.ending = threading.Event()
        self.threads = [
            threading.Thread(target=self._run, args=(name, ask), daemon=True) for name, ask in clients.items()
        ]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join(allowed(30))
            assert not thread.is_alive(), f"a client hangs; failures so far: {self.failures}"

    def _run(self, name: Hashable, ask: Callable[["Load", Hashable], None]) -> None:
        try:
            ask(self, name)
        except BaseException as error:  # told by the test's own thread
            self.failures.append(" ".join([f"{name}: {error!r}", *getattr(error, "__notes__", [])]))

    @property
    def served(self) -> int:
        return sum(self.answered.values())

    def go_on(self, answers: int, timeout: float = 20) -> None:
        """Until every client has had so many more."""
        goals = {name: answered + answers for name, answered in self.answered.items()}
        eventually(
            lambda: self.failures or all(self.answered[name] >= goal for name, goal in goals.items()),
            timeout,
            f"{answers} more answers to each client",
        )
        self.assert_unharmed()

    def assert_unharmed(self) -> None:
        assert not self.failures, f"{self.failures} after {self.answered}"
