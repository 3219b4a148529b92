"""Hooks of a Python settings file that Gunicorn calls in its master: called here, in a process of their own."""

import types

from uroboros import hooks

ABOUT_A_WORKER = ("pre_fork", "child_exit")


def load(config, pid, settings):
    return ServerHooks(hooks.execute(config), pid, settings)


class ServerHooks:
    """As much of Gunicorn's arbiter as there is here, and the functions that want it."""

    def __init__(self, functions, pid, settings):
        self.functions = functions
        self.unborn = None
        cfg = hooks.configuration(settings)
        self.server = types.SimpleNamespace(
            pid=pid,
            cfg=cfg,
            log=hooks.error_log(),
            address=cfg.address,
            proc_name=cfg.proc_name,
            num_workers=cfg.workers,
            worker_age=0,
            WORKERS={},
        )

    def call(self, name, pid, age, status, workers, workers_before):
        worker = self.worker_of(name, pid, age, status)
        self.server.num_workers = workers
        function = self.functions.get(name)
        if name == "born" or not callable(function):
            return
        if name in ABOUT_A_WORKER:
            function(self.server, worker)
        elif name == "nworkers_changed":
            function(self.server, workers, workers_before or None)
        else:
            function(self.server)

    def worker_of(self, name, pid, age, status):
        """The same object from pre_fork to child_exit. None where no worker is meant."""
        if name == "pre_fork":
            self.server.worker_age = age
            self.unborn = self.new_worker("[booting]", age)
            return self.unborn
        if name == "born":
            known = self.unborn if self.unborn and self.unborn.age == age else self.new_worker(pid, age)
            known.pid = pid
            return self.server.WORKERS.setdefault(pid, known)
        if name == "child_exit":
            worker = self.server.WORKERS.pop(pid, None) or self.new_worker(pid, age)
            worker.status = status
            return worker
        return None

    def new_worker(self, pid, age):
        server = self.server
        return types.SimpleNamespace(pid=pid, ppid=server.pid, age=age, cfg=server.cfg, log=server.log, status=None)
