"""Names: which Host and Origin headers are the studio's own."""

import pytest

from studio.errors import StudioError
from tests.ui.asking import ask, hello
from ui.guard import Guard
from ui.hosts import Hosts, is_loopback, own_addresses

GUARDED = Guard(hello, Hosts())


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:80", "LOCALHOST:1234", "127.9.9.9:7860", "[::1]:7860", "[::1]", "127.0.0.1:65535"]
)
def test_loopback_names_at_any_port(host):
    assert ask(GUARDED, "/studio/health", headers=[("Host", host)]).status == 200
    assert ask(GUARDED, "/studio/health", headers=[("Host", host), ("Origin", f"http://{host}")]).status == 200


@pytest.mark.parametrize(
    "host",
    ["127.1", "0177.0.0.1", "2130706433", "0.0.0.0", "localhost.", "x.localhost", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:+80",
     "[::ffff:127.0.0.1]",
     "[::2]", "::1", "user@127.0.0.1", "127.0.0.1/x", "127.0.0.1 ", "127.0.0.1,evil.example", "192.168.0.1", "[::1]evil", "\xe9.example",
     "127.0.0.\xb9"],
)  # fmt: skip
def test_other_spellings_are_not_ours(host):
    assert ask(GUARDED, "/studio/health", headers=[("Host", host)]).status == 403


def test_default_ports_need_not_be_said():
    assert ask(GUARDED, "/studio/health", headers=[("Host", "localhost"), ("Origin", "http://localhost:80")]).status == 200
    assert ask(GUARDED, "/studio/health", headers=[("Host", "localhost:80"), ("Origin", "http://localhost")]).status == 200
    assert ask(GUARDED, "/studio/health", headers=[("Host", "localhost:443"), ("Origin", "http://localhost")]).status == 403


def test_a_proxy_is_known_by_its_name():
    guard = Guard(hello, Hosts("127.0.0.1", ("studio.example.org", "https://safe.example.org")))
    for origin in ("https://studio.example.org", "http://studio.example.org", "https://studio.example.org:443"):
        assert ask(guard, "/studio/health", headers=[("Host", "studio.example.org"), ("Origin", origin)]).status == 200, origin
    for host, origin in (
        ("studio.example.org", "https://safe.example.org"),
        ("studio.example.org", "https://studio.example.org:444"),
        ("safe.example.org", "http://safe.example.org"),
        ("example.org", "https://example.org"),
        ("x.studio.example.org", "https://x.studio.example.org"),
    ):
        assert ask(guard, "/studio/health", headers=[("Host", host), ("Origin", origin)]).status == 403, (host, origin)


@pytest.mark.parametrize("name", ["", "a b", "http://", "ftp://x", "https://x/y", "x?y", "*", "*.example.org", "x/", "user@x", "x:99999"])
def test_only_names_can_be_allowed(name):
    if name == "x/":
        assert Hosts("127.0.0.1", (name,)).find("x")
        return
    with pytest.raises(StudioError, match="--allow-host"):
        Hosts("127.0.0.1", (name,))


def test_bound_to_another_address_its_own_names_are_known():
    hosts = Hosts("0.0.0.0")
    addresses = [a for a in own_addresses() if ":" not in a and not is_loopback(a)]
    for address in addresses:
        assert hosts.find(f"{address}:7860"), address
    assert not hosts.find("93.184.216.34:7860") and not hosts.find("evil.example") and not hosts.find("0.0.0.0:7860")
    assert Hosts("mybox.lan").find("mybox.lan:7860")
    assert not any(Hosts("127.0.0.1").find(a) for a in addresses)
