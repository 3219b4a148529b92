"""Finds the application: MODULE, MODULE:ATTRIBUTE or MODULE:FACTORY(ARGUMENTS)."""

import ast
import functools
import importlib
import inspect
import os
import sys
from traceback import format_exception_only

DEFAULT_NAMES = ("application", "app")


class LoadError(Exception):
    """The application cannot be loaded; the text is for the operator, the status what the process exits with."""

    status = 4


class ImportFailed(LoadError):
    """Code of the application failed, or is not there: Gunicorn's 'worker failed to boot'."""

    status = 3


def load(spec, factory):
    """The application that `spec` names, and whether it is an ASGI one."""
    module_name, _, expression = spec.partition(":")
    check_module_name(spec, module_name)
    module = import_module(module_name)
    application = evaluate(module, expression) if expression else default_of(module)
    if factory:
        application = call(application, f"{spec} (factory)")
    if application is None:
        raise LoadError(f"{spec!r} is None, not an application")
    if not callable(application):
        raise LoadError(f"{spec!r} is not callable: it is of type {type(application).__name__}")
    return application, is_asgi(application)


def check_module_name(spec, name):
    if not name:
        raise LoadError(f"{spec!r} names no module; MODULE:ATTRIBUTE is wanted")
    if "/" in name or name.endswith(".py"):
        module = name.removeprefix("./").removesuffix(".py").strip("/").replace("/", ".")
        raise ImportFailed(f"{name!r} is a path; a module is wanted: {spec.replace(name, module, 1)!r}")


def import_module(name):
    """Imports; tells a module that is not there from one that fails."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(missing + "."):
            raise ImportFailed(not_found(name, missing)) from None
        text = f"{name!r} needs a module {missing!r}, which {sys.executable} does not find"
        raise ImportFailed(text) from application_part(error)
    except SystemExit as error:
        text = f"{name!r} ended the process while it was imported: SystemExit({error.code!r})"
        raise ImportFailed(text) from application_part(error)
    except BaseException as error:
        text = f"{name!r} failed while it was imported: {last_line(error)}"
        raise ImportFailed(text) from application_part(error)


def application_part(error):
    """The error without the frames above the application's own."""
    traceback = error.__traceback__
    while traceback and (is_ours(traceback) or "importlib" in traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    return error.with_traceback(traceback)


def is_ours(traceback):
    return traceback.tb_frame.f_code.co_filename == __file__


def not_found(name, missing):
    where = os.getcwd()
    if os.path.isdir(missing.replace(".", os.sep)):
        return f"No module named {name!r}: {where} has a directory {missing!r}, but no such module is in it"
    return f"No module named {missing!r} in {where}, nor elsewhere on the path of {sys.executable}"


def last_line(error):
    return format_exception_only(error)[-1].strip()


def default_of(module):
    for name in DEFAULT_NAMES:
        if hasattr(module, name):
            return getattr(module, name)
    raise LoadError(f"{module.__name__!r} has neither {' nor '.join(map(repr, DEFAULT_NAMES))}; say MODULE:ATTRIBUTE")


def evaluate(module, expression):
    """An attribute, dotted or not, or the call of one with literals."""
    try:
        node = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise LoadError(f"{expression!r} is neither a name nor a call of one") from None
    if not isinstance(node, ast.Call):
        return attribute(module, node, expression)
    function = attribute(module, node.func, expression)
    try:
        positional = [ast.literal_eval(argument) for argument in node.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
    except ValueError:
        raise LoadError(f"the arguments in {expression!r} must be literals") from None
    if None in named:
        raise LoadError(f"the arguments in {expression!r} must be literals")
    return call(function, expression, *positional, **named)


def attribute(module, node, expression):
    if isinstance(node, ast.Name):
        owner, name = module, node.id
    elif isinstance(node, ast.Attribute):
        owner, name = attribute(module, node.value, expression), node.attr
    else:
        raise LoadError(f"{expression!r} is neither a name nor a call of one")
    try:
        return getattr(owner, name)
    except AttributeError:
        raise LoadError(f"{module.__name__!r} has no attribute {expression!r}") from None


def call(function, expression, *positional, **named):
    if not callable(function):
        raise LoadError(f"{expression!r} cannot be called: it is of type {type(function).__name__}")
    try:
        return function(*positional, **named)
    except BaseException as error:
        text = f"the factory {expression!r} failed: {last_line(error)}"
        raise ImportFailed(text) from application_part(error)


def is_asgi(application):
    """A coroutine function, or an object whose __call__ is one, of three positional parameters."""
    function = inspect.unwrap(application) if inspect.isfunction(application) else application
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isclass(function):
        return False
    if not inspect.iscoroutinefunction(function):
        function = getattr(type(function), "__call__", None)  # noqa: B004 (not whether it can be called, but by what)
        if not inspect.iscoroutinefunction(function):
            return False
    return takes_three(application)


def takes_three(application):
    try:
        inspect.signature(application).bind(None, None, None)
    except TypeError:
        return False
    except ValueError:  # no signature to look at
        return True
    return True
