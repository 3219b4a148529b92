"""Threads of the gthread worker where gevent has made greenlets of all others. A stand-in for it; no daemon runs here."""

import _thread
import sys
import threading
import types

import pytest

from harness.server import ROOT

sys.path.append(str(ROOT / "pybridge"))

from uroboros import threads  # noqa: E402


@pytest.fixture
def patched(monkeypatch):
    """What gevent.monkey.patch_all() leaves: no way to a thread but by what it has kept."""
    stand_in = types.ModuleType("gevent.monkey")
    stand_in.is_module_patched = lambda name: name == "threading"
    stand_in.get_original = lambda module, name: getattr(sys.modules[module], name)
    monkeypatch.setitem(sys.modules, "gevent.monkey", stand_in)
    monkeypatch.setattr(threading, "Thread", None)
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)


def test_each_thread_of_the_worker_is_one_of_the_system(patched):
    together = threading.Barrier(4)
    idents = []

    def serve():
        idents.append(_thread.get_ident())
        together.wait(timeout=10)

    threads.start(3, serve)
    together.wait(timeout=10)
    assert len({*idents, _thread.get_ident()}) == 4
