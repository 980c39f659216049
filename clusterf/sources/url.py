"""A source as its URL names it: a file tree, or a prefix in etcd."""

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from clusterf.etcd.location import EtcdCredentials, EtcdLocation, parse_location

__all__ = ["Source", "check_tree", "parse_source"]


class Source(msgspec.Struct, frozen=True):
    """A source of configuration: a tree, by the path of its root, or a prefix in etcd."""

    url: str
    tree: str | None = None
    etcd: EtcdLocation | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is a tree: files of this machine, which only its own users write."""
        return self.tree is not None


def parse_source(url: str, credentials: EtcdCredentials = EtcdCredentials()) -> Source:  # noqa: B008
    """Return the source that `url` names; `credentials` are for etcd.

    Raises ValueError with the reason if the URL or the credentials are invalid.
    """
    if url.startswith(("etcd://", "etcd+https://")):
        credentials.check()
        return Source(url, etcd=parse_location(url, credentials))
    parts = urlsplit(url)
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if parts.scheme != "file":
        raise ValueError(f"{url}: unknown scheme; expected file://, etcd:// or etcd+https://")
    if parts.query or parts.fragment:
        raise ValueError(f"{url}: queries and fragments are not supported; write ? as %3F and # as %23")
    if parts.netloc not in {"", "localhost"} or not path.startswith("/") or "\0" in path:
        raise ValueError(f"{url}: expected an absolute path, as in file:///etc/clusterf")
    return Source(url, tree=path)


def check_tree(source: Source) -> None:
    """Raise ValueError with the reason if the tree of a `file://` source is unreadable now."""
    if source.tree is None:
        return
    try:
        next(Path(source.tree).iterdir(), None)
    except OSError as error:
        raise ValueError(f"{source.url}: {error.strerror or error}") from None
