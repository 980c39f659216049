"""Values of keys in etcd, and what stands for one that is too large to be taken."""

from typing import Final, NamedTuple

__all__ = ["LARGEST_LIMIT", "MAX_VALUE", "Oversized", "bounded", "oversized"]

MAX_VALUE: Final = 3 << 19  # bytes; what etcd takes by default (--max-request-bytes)
LARGEST_LIMIT: Final = 64 << 20  # bytes, of --etcd-max-value


class Oversized(NamedTuple):
    """A value of `size` bytes, more than the `limit`, which `flag` sets: it was not taken. A size of 0 is not known."""

    size: int
    limit: int
    flag: str = ""

    @property
    def reason(self) -> str:
        """Why it was not taken."""
        size = f"{self.size} bytes are too many" if self.size else "too many bytes"
        return f"{size}, the limit is {self.limit}" + (f" ({self.flag})" if self.flag else "")


def oversized(size: int, limit: int) -> Oversized:
    """Return what stands for a value in etcd of that size."""
    return Oversized(size, limit, "--etcd-max-value")


def bounded(value: bytes, limit: int) -> bytes | Oversized:
    """Return the value, unless it has more than `limit` bytes."""
    return value if len(value) <= limit else oversized(len(value), limit)
