"""Which probes this node sends: whoever may write a check is not to reach with it what only this machine can reach.

Anyone who may write the keys of one service chooses an address, a port and a request, and has the health
process send it. So the addresses of this machine itself, of its links and of groups are refused,
and so are methods that change something and bodies that a server may take for a second request. A check is
never weakened: what is refused is not sent at all.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from clusterf.config.model import NO_BODY, HealthCheck
from clusterf.lib.addresses import Endpoint, IPNetwork

__all__ = ["DENIED", "EVERYTHING", "METHODS", "ProbePolicy", "parse_denied", "parse_methods", "parse_networks"]

DENIED: Final = (
    *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
    *("::/128", "::1/128", "fe80::/10", "ff00::/8"),
)
"""The prefixes that are denied by default."""
METHODS: Final = ("GET", "HEAD", "OPTIONS")
"""The methods that are allowed by default; they change nothing."""

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_MAPPED_BYTES: Final = _MAPPED.network_address.packed[:12]

_Prefixes = tuple[tuple[int, int], ...]  # of one family: network and mask as numbers


class ProbePolicy:
    """Refuses probes of addresses within `deny` but not within `allow`, and of methods that are not in `methods`.

    An IPv4-mapped address is judged as the IPv4 address. By default everything is allowed.
    """

    def __init__(
        self, deny: Iterable[str] = (), allow: Iterable[str] = (), methods: Iterable[str] | None = None
    ) -> None:
        self._deny = _by_length(deny)
        self._allow = _by_length(allow)
        self._methods = None if methods is None else frozenset(methods)

    def refusal(self, at: Endpoint, check: HealthCheck, *, local: bool) -> str:
        """Return why `check` is not sent to `at`, empty if it is.

        `local`: both are from files of this machine, whose writers need no probe to reach its addresses.
        """
        if check.type in ("http", "https"):
            if self._methods is not None and check.method not in self._methods:
                return f"method {check.method} is not allowed (--health-methods)"
            if check.body and check.method in NO_BODY:
                return f"a request by {check.method} has no body"
        if not local and self._denies(at.packed):
            return "not allowed (--health-deny)"
        source = check.source4 if len(at.packed) == 4 else check.source6
        if not local and source is not None and self._denies(source.packed):
            # a server may trust who comes from there
            return "source: not allowed (--health-deny)"
        return ""

    def _denies(self, packed: bytes) -> bool:
        if packed.startswith(_MAPPED_BYTES) and len(packed) == 16:
            packed = packed[12:]
        number = int.from_bytes(packed)
        return _is_within(number, self._deny[len(packed)]) and not _is_within(number, self._allow[len(packed)])


def parse_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the prefixes that these texts are. Raises ValueError."""
    return tuple(str(ip_network(text, strict=False)) for text in texts)


def parse_denied(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the prefixes that these texts are; `default` stands for those that are denied by default.

    Raises ValueError.
    """
    return parse_networks(one for text in texts for one in (DENIED if text == "default" else (text,)))


def parse_methods(text: str) -> tuple[str, ...]:
    """Return the methods of a list such as `GET,HEAD`. Raises ValueError."""
    methods = tuple(part.strip().upper() for part in text.split(","))
    for method in methods:
        if not method.isascii() or not method.isalpha() or method == "CONNECT":
            raise ValueError(f"not a list of HTTP methods such as GET,HEAD,POST: {text}")
    return methods


def _by_length(networks: Iterable[str]) -> dict[int, _Prefixes]:
    """Return the prefixes of each family, by the number of bytes of its addresses."""
    found: dict[int, list[tuple[int, int]]] = {4: [], 16: []}
    for network in map(_unmapped, map(ip_network, networks)):
        found[network.max_prefixlen // 8].append((int(network.network_address), int(network.netmask)))
    return {length: tuple(prefixes) for length, prefixes in found.items()}


def _unmapped(network: IPNetwork) -> IPNetwork:
    """Return the IPv4 prefix that an IPv4-mapped one stands for."""
    if isinstance(network, IPv4Network) or not network.subnet_of(_MAPPED):
        return network
    return IPv4Network((network.network_address.packed[12:], network.prefixlen - 96))


def _is_within(number: int, prefixes: _Prefixes) -> bool:
    return any(number & mask == network for network, mask in prefixes)


EVERYTHING: Final = ProbePolicy()
"""The policy that allows all probes."""
