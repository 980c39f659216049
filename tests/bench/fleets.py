"""The targets, on loopback, and the configuration by which each program probes them alike."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal, NamedTuple

__all__ = ["PORT", "WEIGHT", "Fleet"]

PORT = 8080
WEIGHT = 10
FALL = 3
GROUP = 100  # targets in each service
_FIRST = int(IPv4Address("127.1.0.1"))


class Fleet(NamedTuple):
    """Targets (up to 100, or whole hundreds), each with its own address, probed every `interval` seconds."""

    kind: Literal["tcp", "http"]
    targets: int
    interval: float
    timeout: float

    def __str__(self) -> str:
        return f"{self.targets:,} {self.kind.upper()}"

    @property
    def addresses(self) -> list[str]:
        """The address of each target."""
        return [str(IPv4Address(_FIRST + number)) for number in range(self.targets)]

    def write_tree(self, root: Path) -> None:
        """Write the tree of a node to `root`, a new directory."""
        for service, addresses in self._services():
            backends = root / "services" / service / "backends"
            backends.mkdir(parents=True)
            (backends.parent / "frontend").write_text(f'{{"ipv4": "{_vip(service)}", "tcp": 80}}')
            for address in addresses:
                value = f'{{"ipv4": "{address}", "tcp": {PORT}, "weight": {WEIGHT}}}'
                (backends / address).write_text(value)
        pace = f'"interval": {self.interval}, "fast_interval": {self.interval}, "timeout": {self.timeout}'
        (root / "health").write_text(f'{{"type": "{self.kind}", {pace}, "fall": {FALL}, "jitter": 0}}')

    def haproxy(self, stats: Path) -> Iterator[str]:
        """Yield the lines of HAProxy's configuration, with a socket for its statistics."""
        yield f"global\n  nbthread 1\n  maxconn 1000\n  stats socket {stats} level admin"
        timeout = f"{self.timeout * 1e3:.0f}ms"
        yield "defaults\n  mode http\n  timeout client 1s\n  timeout server 1s"
        yield f"  timeout connect {timeout}\n  timeout check {timeout}"
        yield f"  default-server check inter {self.interval * 1e3:.0f}ms rise 2 fall {FALL}"
        if self.kind == "http":
            yield "  option httpchk\n  http-check send meth GET uri / ver HTTP/1.1 hdr Host health"
            yield "  http-check expect status 200-399"
        for service, addresses in self._services():
            yield f"backend {service}"
            for address in addresses:
                yield f"  server {address} {address}:{PORT}"

    def keepalived(self) -> Iterator[str]:
        """Yield the lines of keepalived's configuration. It counts retries, one less than failures."""
        check = f"connect_timeout {self.timeout}\n retry {FALL - 1}\n delay_before_retry {self.interval}"
        for service, addresses in self._services():
            yield f"virtual_server {_vip(service)} 80 {{"
            yield f" delay_loop {self.interval}\n lvs_sched wlc\n lvs_method NAT\n protocol TCP"
            for address in addresses:
                yield f" real_server {address} {PORT} {{\n weight {WEIGHT}\n inhibit_on_failure"
                yield f" TCP_CHECK {{\n {check}\n }}\n }}"
            yield "}"

    def _services(self) -> Iterator[tuple[str, list[str]]]:
        addresses = self.addresses
        for first in range(0, len(addresses), GROUP):
            yield f"service-{first // GROUP:03}", addresses[first : first + GROUP]


def _vip(service: str) -> str:
    return f"10.107.0.{int(service.rpartition('-')[2]) + 1}"
