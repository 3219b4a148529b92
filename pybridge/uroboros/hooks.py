"""Worker hooks of a Python settings file: the file is executed again in the app process, its functions are called."""

import logging
import os
import runpy
import sys
import types

PYTHON_MODULE = "python:"


def load(config, number, settings):
    """Executes the settings file, `config` as the setting of that name has it."""
    if config.startswith(PYTHON_MODULE):
        functions = runpy.run_module(config.removeprefix(PYTHON_MODULE))
    else:
        functions = runpy.run_path(config)
    return Hooks(functions, number, settings)


def error_log():
    log = logging.getLogger("uroboros.error")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("[%(process)d] [%(levelname)s] %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    return log


class Hooks:
    """As much of Gunicorn's worker and arbiter as there is here, and the functions that want them."""

    def __init__(self, functions, number, settings):
        log, cfg = error_log(), types.SimpleNamespace(settings=settings, **settings)
        self.functions = functions
        self.worker = types.SimpleNamespace(pid=os.getpid(), ppid=os.getppid(), age=number, log=log, cfg=cfg)
        self.server = types.SimpleNamespace(pid=os.getppid(), log=log, cfg=cfg)

    def run(self, name, application):
        self.worker.app = types.SimpleNamespace(callable=application, wsgi=lambda: application)
        self.worker.wsgi = application
        if name in ("post_fork", "worker_exit"):
            self.functions[name](self.server, self.worker)
        else:
            self.functions[name](self.worker)
