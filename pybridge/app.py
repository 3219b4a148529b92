"""Entry of an app process: loads the extension module that was built for this interpreter and hands over to it.

Run by the supervisor as `PYTHON .../pybridge/app.py`, and by uroboros-app, which has the module built in. With the
argument `hooks` it is the process for the hooks of the server.
"""

import importlib.machinery
import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BOOT_FAILED = 3


def preload_sanitizer():
    """A module with a sanitizer in it needs the sanitizer's library in the process before anything else."""
    try:
        with open(os.path.join(HERE, "sanitizer"), encoding="utf-8") as file:
            library = file.read()
    except FileNotFoundError:
        return
    if library in os.environ.get("LD_PRELOAD", ""):
        return
    os.environ["LD_PRELOAD"] = library
    # The interpreter keeps much for its whole life; leaks of the bridge are found by its own counters.
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    os.execv(sys.executable, sys.orig_argv)


def load_from(name, path, **options):
    spec = importlib.util.spec_from_file_location(name, path, **options)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_extension():
    if "_uroboros" in sys.builtin_module_names:
        import _uroboros

        return _uroboros
    preload_sanitizer()
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    path = os.path.join(HERE, "_uroboros" + suffix)
    if not os.path.exists(path):
        built = sorted(name[len("_uroboros") :] for name in os.listdir(HERE) if name.startswith("_uroboros."))
        version = ".".join(map(str, sys.version_info[:3]))
        sys.stderr.write(
            f"uroboros: {sys.executable} is Python {version} and wants a module for {suffix}; "
            f"{HERE} has {', '.join(built) or 'none'}\n"
        )
        sys.exit(BOOT_FAILED)
    return load_from("_uroboros", path)


def main():
    # The directory of this file is no place to import from: it is neither the application's nor public.
    if sys.path and os.path.abspath(sys.path[0] or ".") == HERE:
        del sys.path[0]
    package = os.path.join(HERE, "uroboros")
    load_from("uroboros", os.path.join(package, "__init__.py"), submodule_search_locations=[package])
    module = load_extension()
    if sys.argv[1:] == ["hooks"]:
        module.hooks()
    module.main()


# A process that the application spawns by `multiprocessing` runs the file of `__main__` once more, under another name.
if __name__ == "__main__":
    main()
