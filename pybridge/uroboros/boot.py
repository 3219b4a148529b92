"""What an app process does with its interpreter before the application is imported, and after it has run."""

import atexit
import faulthandler
import gc
import os
import signal
import site
import sys
import threading

from uroboros import stdio


def prepare(log_descriptor, name, directory, venv, python_path, file_environ, raw_environ):
    """`log_descriptor` is None where standard error is the error log."""
    if log_descriptor is None:
        stdio.capture()
    else:
        stdio.leave(log_descriptor)
    log = log_descriptor or 2
    faulthandler.enable(file=log, all_threads=True)
    # The supervisor asks for the stacks of a process that passed its time limit.
    faulthandler.register(signal.SIGUSR2, file=log, all_threads=True)
    # Ctrl-C reaches the whole process group; what it means is the supervisor's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for entry in (*file_environ, *raw_environ):
        variable, has_value, value = entry.partition("=")
        if has_value:
            os.environ[variable] = value
        else:
            os.environ.pop(variable, None)
    if "_uroboros" in sys.builtin_module_names:
        adopt_python()
        if venv := venv or os.environ.get("VIRTUAL_ENV"):
            adopt_virtual_environment(venv)
    directory = directory or os.getcwd()
    os.chdir(directory)
    sys.path[:0] = [*(os.path.join(directory, path) for path in python_path), directory]
    sys.argv = [name]


def adopt_python():
    """What runs as another Python, as `multiprocessing` does, must not be another of this program. '' is none."""
    path = os.path.join(sys.exec_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    sys.executable = path if os.access(path, os.X_OK) else ""


def adopt_virtual_environment(venv):
    """An embedded interpreter is not started from the environment's directory, so it is told of it."""
    settings = {}
    with open(os.path.join(venv, "pyvenv.cfg"), encoding="utf-8") as file:
        for line in file:
            key, _, value = line.partition("=")
            settings[key.strip().lower()] = value.strip()
    version = settings.get("version") or settings.get("version_info", "")
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version.split(".")[:2] != ours.split("."):
        raise RuntimeError(f"{venv} is of Python {version}, the embedded interpreter is {ours}: they do not fit")
    if settings.get("include-system-site-packages") != "true":
        outside = {*site.getsitepackages(), site.getusersitepackages()}
        sys.path[:] = [path for path in sys.path if path not in outside]
    sys.prefix = sys.exec_prefix = venv
    sys.executable = os.path.join(venv, "bin", "python")
    site.addsitedir(os.path.join(venv, "lib", f"python{ours}", "site-packages"))


def watch_forks(function):
    os.register_at_fork(after_in_child=function)


def status_of_exit(error):
    """What the interpreter makes of a SystemExit."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def freeze():
    """Before the process is copied: what is there now is never looked at again, so the copies share its pages."""
    gc.collect()
    gc.freeze()


def finish(wait_for_threads):
    """What the interpreter does at its end, short of taking itself apart: stuck threads make that hang."""
    try:
        if wait_for_threads:
            threading._shutdown()
        atexit._run_exitfuncs()
    finally:
        stdio.flush()
