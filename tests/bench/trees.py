"""The measured configuration: services of equal size, as objects, a file tree and a table."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["PORT", "VIP_PORT", "WEIGHT", "Shape", "address", "vip"]

WEIGHT = 10
VIP_PORT, PORT = 80, 8080


class Shape(NamedTuple):
    """Services, each with the same number of backends (at most 65,536 and 254)."""

    services: int
    backends: int

    def __str__(self) -> str:
        return f"{self.services:,} x {self.backends:,}"

    @property
    def reals(self) -> int:
        """The number of real servers."""
        return self.services * self.backends

    @property
    def operations(self) -> int:
        """The number of operations from an empty table to this one."""
        return self.services + self.reals

    def write(self, root: Path) -> None:
        """Write the tree to `root`, a new directory."""
        for name, value in self.objects():
            path = root / name
            if path.name == "frontend":
                (path.parent / "backends").mkdir(parents=True)
            path.write_text(value)

    def objects(self) -> Iterator[tuple[str, str]]:
        """Yield the path and the value of each object; a frontend comes before its backends."""
        for service in range(self.services):
            yield f"services/{_service(service)}/frontend", f'{{"ipv4": "{vip(service)}", "tcp": {VIP_PORT}}}'
            for backend in range(self.backends):
                yield self.path(service, backend), self.value(service, backend, WEIGHT)

    def path(self, service: int, backend: int) -> str:
        """Return the path of a backend, below the root."""
        return f"services/{_service(service)}/backends/backend-{backend:03}"

    def value(self, service: int, backend: int, weight: int) -> str:
        """Return the value of a backend of that weight."""
        return f'{{"ipv4": "{address(service, backend)}", "tcp": {PORT}, "weight": {weight}}}'

    def change(self, root: Path, service: int, backend: int, weight: int) -> str:
        """Change the weight of a backend, by a rename over its file; return the operation that follows."""
        path = root / self.path(service, backend)
        fresh = path.with_name(f".{path.name}")
        fresh.write_text(self.value(service, backend, weight))
        fresh.rename(path)
        return self.operation(service, backend, weight)

    def operation(self, service: int, backend: int, weight: int) -> str:
        """Return the operation that changes the weight of a backend."""
        return f"ipvsadm -e {_real(service, backend, weight)}"

    def table(self) -> Iterator[str]:
        """Yield the lines of the table, such as `ipvsadm -Sn` prints and `ipvsadm -R` takes."""
        for service in range(self.services):
            yield f"-A -t {vip(service)}:{VIP_PORT} -s wlc"
            for backend in range(self.backends):
                yield f"-a {_real(service, backend, WEIGHT)}"


def vip(service: int) -> str:
    """Return the address of a virtual server."""
    return f"10.107.{service >> 8}.{service & 255}"


def address(service: int, backend: int) -> str:
    """Return the address of a real server."""
    return f"11.{service >> 8}.{service & 255}.{backend + 1}"


def _service(number: int) -> str:
    return f"service-{number:05}"


def _real(service: int, backend: int, weight: int) -> str:
    return f"-t {vip(service)}:{VIP_PORT} -r {address(service, backend)}:{PORT} -m -w {weight}"
