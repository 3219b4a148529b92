"""Fixtures of the integration tests: a daemon per test, or one shared by the tests of a file."""

import pytest

from harness.server import BINARY, IS_SLOW, Server

pytest_plugins = ("harness.gates", "harness.hooks", "harness.tls")


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the long tests too")


def pytest_collection_modifyitems(config, items):
    if IS_SLOW:
        for item in items:
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(600))
    if config.getoption("--full"):
        return
    for item in items:
        if item.get_closest_marker("full"):
            item.add_marker(pytest.mark.skip(reason="long; runs with --full"))


def pytest_report_header(config):
    return f"daemon: {BINARY}"


def pytest_configure(config):
    if not BINARY.exists():
        pytest.exit(f"{BINARY} is not built: ./dev build", returncode=2)


def _finish(servers: list[Server]) -> None:
    errors = []
    while servers:
        try:
            servers.pop().finish()
        except AssertionError as error:
            errors.append(error)
    if errors:
        raise errors[0]


@pytest.fixture
def serve(request):
    """serve(APP, *OPTIONS) starts a daemon of the test's own; the end of the test proves that it leaves nothing."""
    servers: list[Server] = []
    request.node.servers = []

    def start(*arguments, ready: bool = True, **options) -> Server:
        server = Server(*arguments, **options)
        servers.append(server)
        request.node.servers.append(server)
        return server.wait_until_ready() if ready else server

    yield start
    _finish(servers)


@pytest.fixture(scope="module")
def _module_servers():
    servers: dict[tuple, Server] = {}
    yield servers
    _finish(list(servers.values()))


@pytest.fixture
def serve_shared(request, _module_servers):
    """Like serve, but the tests of one file that ask for the same daemon get the same one."""
    request.node.servers = []

    def start(*arguments, **options) -> Server:
        key = (arguments, tuple(sorted((name, repr(value)) for name, value in options.items())))
        server = _module_servers.get(key)
        if server is None:
            server = Server(*arguments, **options)
            request.node.servers.append(server)
            try:
                server.wait_until_ready()
            except AssertionError:
                server.kill_group()
                raise
            _module_servers[key] = server
        else:
            request.node.servers.append(server)
        return server

    yield start


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for server in getattr(item, "servers", []):
        report.sections.append((f"log of {' '.join(server.arguments)}", server.log()))
