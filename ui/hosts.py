"""Under which names the studio answers: loopback at any port (so that `ssh -L` works), allowed ones, and its own where others may come."""

import ipaddress
import re
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from studio.errors import StudioError

HOST = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.]{2,45})\]|(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?))(?::(?P<port>[0-9]{1,5}))?"
)
ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[^/?#@\s]+)")
DEFAULT_PORT = {"http": 80, "https": 443}
FRESH_S = 10  # own addresses change when a laptop moves to another network
ANY = {"0.0.0.0", "::"}


@dataclass(frozen=True)
class Host:
    """A Host header that is ours: name, port (None where the scheme's own), and the schemes by which pages reach us under it."""

    name: str
    port: int | None
    schemes: tuple[str, ...] = ("http",)

    def is_origin(self, origin: str) -> bool:
        """Whether an Origin header names the very same scheme, name and port."""
        found = ORIGIN.fullmatch(origin)
        parts = parse_host(found["host"]) if found else None
        if not parts or found["scheme"] not in self.schemes:
            return False
        default = DEFAULT_PORT[found["scheme"]]
        return parts[0] == self.name and (parts[1] or default) == (self.port or default)

    def scheme(self, is_trusted: bool) -> str:
        """The scheme of a request without Origin; browsers send Sec-Fetch-* (`is_trusted`) to another machine only over https."""
        if len(self.schemes) == 1:
            return self.schemes[0]
        return "https" if is_trusted else "http"


def parse_host(text: str) -> tuple[str, int | None] | None:
    """(name, port) of a Host header or the host part of an origin, in lower case; None where it is malformed."""
    found = HOST.fullmatch(text)
    if not found:
        return None
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 0 < port < 65536:
        return None
    try:
        return (str(ipaddress.IPv6Address(found["six"])) if found["six"] else found["name"].lower(), port)
    except ValueError:
        return None


def is_loopback(name: str) -> bool:
    """Whether `name` means this machine and is reached from nowhere else."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name.lower() == "localhost"
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None


class Hosts:
    """Which Host headers are ours, for a studio bound to `host`, with further names `allowed` (as NAME or https://NAME)."""

    def __init__(self, host: str = "127.0.0.1", allowed: tuple[str, ...] = ()) -> None:
        self._bound = host.lower().strip("[]")
        self._allowed = dict(_parse_allowed(text) for text in allowed)
        self._own, self._looked = frozenset(), -FRESH_S

    def find(self, header: str) -> Host | None:
        """The Host of a header; None where it is not ours."""
        parts = parse_host(header)
        if not parts:
            return None
        name, port = parts
        if name in self._allowed:
            return Host(name, port, self._allowed[name])
        return Host(name, port) if is_loopback(name) or name in self._names() else None

    def _names(self) -> frozenset[str]:
        """What this machine is called, if others may come; the addresses are looked up again now and then."""
        if is_loopback(self._bound):
            return frozenset()
        if time.monotonic() - self._looked > FRESH_S:
            names = {socket.gethostname().lower()} | ({self._bound} - ANY)
            self._own, self._looked = frozenset(names | set(own_addresses())), time.monotonic()
        return self._own


def _parse_allowed(text: str) -> tuple[str, tuple[str, ...]]:
    """(name, schemes) of an --allow-host; StudioError where it is no host name."""
    parts = urlsplit(text if "://" in text else f"any://{text}")
    host = parse_host(parts.netloc)
    if not host or parts.scheme not in ("any", *DEFAULT_PORT) or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise StudioError(
            f"--allow-host {text[:80]}: that is no host name: give it as in studio.example.org, or https://studio.example.org"
        )
    return host[0], ("http", "https") if parts.scheme == "any" else (parts.scheme,)


def own_addresses() -> list[str]:
    """This machine's IP addresses."""
    kinds = {socket.AF_INET, socket.AF_INET6}
    found = [a.address.partition("%")[0] for addresses in psutil.net_if_addrs().values() for a in addresses if a.family in kinds]
    return [str(ipaddress.ip_address(a)) for a in found]
