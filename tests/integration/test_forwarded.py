"""What a trusted proxy may say about the client, and what nobody else may."""

import json

import pytest

TRUSTED = ("--forwarded-allow-ips", "127.0.0.1")
UNTRUSTED = ("--forwarded-allow-ips", "192.0.2.1")


@pytest.fixture(params=["wsgi_cases:app", "asgi_cases:app"])
def app(request):
    return request.param


def seen(server, headers, target=None) -> dict:
    """scheme, client, host and headers as the application sees them."""
    if "wsgi_cases:app" in server.arguments:
        environ = json.loads(server.get(target or "/environ", headers=headers).body)
        return {
            "scheme": environ["wsgi.url_scheme"],
            "client": environ["REMOTE_ADDR"],
            "host": environ.get("HTTP_HOST"),
            "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"])),
            "port": int(environ["REMOTE_PORT"]),
            "all": environ,
        }
    scope = json.loads(server.get(target or "/scope", headers=headers).body)["scope"]
    host = next((value for name, value in scope["headers"] if name == "host"), None)
    return {
        "scheme": scope["scheme"],
        "client": scope["client"][0],
        "host": host,
        "server": tuple(scope["server"]),
        "port": scope["client"][1],
        "all": scope,
    }


@pytest.mark.parametrize(
    "field",
    [("X-Forwarded-Proto", "https"), ("X-Forwarded-Protocol", "ssl"), ("X-Forwarded-Ssl", "on")],
)
def test_a_trusted_peer_says_https(serve_shared, app, field):
    assert seen(serve_shared(app, *TRUSTED), [field])["scheme"] == "https"


def test_loopback_is_trusted_by_default(serve_shared, app):
    assert seen(serve_shared(app), [("X-Forwarded-Proto", "https")])["scheme"] == "https"


def test_another_peer_says_nothing(serve_shared, app):
    headers = [
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9;proto=https"),
    ]
    answer = seen(serve_shared(app, *UNTRUSTED), headers)
    assert (answer["scheme"], answer["client"]) == ("http", "127.0.0.1")


def test_a_contradiction_is_400(serve_shared, app):
    server = serve_shared(app, *TRUSTED)
    assert server.get("/hello", headers=[("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "off")]).status == 400


def test_x_forwarded_for_names_the_client(serve_shared, app):
    assert seen(serve_shared(app, *TRUSTED), [("X-Forwarded-For", "203.0.113.9")])["client"] == "203.0.113.9"


def test_the_last_untrusted_address_counts(serve_shared, app):
    """What stands left of it came from the client and may be a lie."""
    server = serve_shared(app, "--forwarded-allow-ips", "127.0.0.1,10.0.0.0/8")
    headers = [("X-Forwarded-For", "198.51.100.1, 203.0.113.9"), ("X-Forwarded-For", "10.1.2.3")]
    assert seen(server, headers)["client"] == "203.0.113.9"


def test_an_address_that_is_none_is_ignored(serve_shared, app):
    answer = seen(serve_shared(app, *TRUSTED), [("X-Forwarded-For", "not an address")])
    assert answer["client"] == "127.0.0.1"


def test_rfc_7239_from_a_trusted_peer(serve_shared, app):
    headers = [("Forwarded", 'for="[2001:db8::9]:4711";proto=https;host=public.example;by=203.0.113.43')]
    answer = seen(serve_shared(app, *TRUSTED), headers)
    assert (answer["scheme"], answer["client"]) == ("https", "2001:db8::9")


def test_host_and_port_are_those_the_client_used(serve_shared, app):
    server = serve_shared(app, *TRUSTED)
    headers = [("X-Forwarded-Host", "public.example"), ("X-Forwarded-Proto", "https")]
    answer = seen(server, headers)
    assert (answer["server"], answer["host"]) == (("public.example", 443), "test.example")
    assert seen(server, [*headers, ("X-Forwarded-Port", "8443")])["server"] == ("public.example", 8443)
    answer = seen(server, [("X-Forwarded-Host", "no host at all"), ("X-Forwarded-Port", "65536")])
    assert answer["server"] == server.address


def test_the_port_of_a_forwarded_client_is_kept(serve_shared, app):
    answer = seen(serve_shared(app, *TRUSTED), [("X-Forwarded-For", "203.0.113.9:4711")])
    assert (answer["client"], answer["port"]) == ("203.0.113.9", 4711)


def test_beside_x_forwarded_for_rfc_7239_is_not_heard(serve_shared, app):
    """A proxy that speaks the one passes the other on as the client wrote it."""
    headers = [("Forwarded", "for=198.51.100.1;proto=https;host=evil.example"), ("X-Forwarded-For", "203.0.113.9")]
    server = serve_shared(app, *TRUSTED)
    answer = seen(server, headers)
    assert (answer["scheme"], answer["client"], answer["server"]) == ("http", "203.0.113.9", server.address)


def test_an_absolute_target_does_not_change_the_scheme(serve_shared, app):
    target = "https://test.example" + ("/environ" if app == "wsgi_cases:app" else "/scope")
    assert seen(serve_shared(app, *TRUSTED), [], target)["scheme"] == "http"


def test_a_listener_on_all_addresses_tells_the_one_that_was_used(serve, app):
    server = serve(app, binds=("0.0.0.0:0",))
    port = server.addresses[0][1]
    for address in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
        server.addresses[0] = (address, port)
        assert seen(server, [])["server"] == (address, port)


def test_a_star_trusts_everyone(serve_shared, app):
    server = serve_shared(app, "--forwarded-allow-ips", "*")
    assert seen(server, [("X-Forwarded-For", "203.0.113.9")])["client"] == "203.0.113.9"


def test_the_environment_variable_is_honoured(serve, app):
    server = serve(app, env={"FORWARDED_ALLOW_IPS": "192.0.2.1"})
    assert seen(server, [("X-Forwarded-Proto", "https")])["scheme"] == "http"


def test_unix_peers_are_always_trusted(serve, app, tmp_path):
    server = serve(app, *UNTRUSTED, binds=(f"unix:{tmp_path / 'socket'}",))
    answer = seen(server, [("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "203.0.113.9")])
    assert (answer["scheme"], answer["client"]) == ("https", "203.0.113.9")


# --- names with underscores --------------------------------------------------------------------------------------


def test_header_map_drop(serve_shared):
    assert "HTTP_X_USER" not in seen(serve_shared("wsgi_cases:app"), [("X_User", "evil")])["all"]


def test_header_map_refuse(serve_shared):
    assert (
        serve_shared("wsgi_cases:app", "--header-map", "refuse").get("/hello", headers=[("X_User", "a")]).status == 400
    )


def test_header_map_dangerous(serve_shared):
    server = serve_shared("wsgi_cases:app", "--header-map", "dangerous")
    assert seen(server, [("X_User", "a")])["all"]["HTTP_X_USER"] == "a"


def test_script_name_from_a_trusted_peer(serve_shared):
    server = serve_shared("wsgi_cases:app", *TRUSTED)
    environ = seen(server, [("SCRIPT_NAME", "/mounted")], target="/mounted/environ")["all"]
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/mounted", "/environ")
    assert server.get("/elsewhere", headers=[("SCRIPT_NAME", "/mounted")]).status == 500


def test_script_name_from_anyone_else(serve_shared):
    environ = seen(serve_shared("wsgi_cases:app", *UNTRUSTED), [("SCRIPT_NAME", "/environ")])["all"]
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/environ")
