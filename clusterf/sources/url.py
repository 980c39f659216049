"""A source as its URL names it: a file tree, or a prefix in etcd."""

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from clusterf.etcd.location import EtcdCredentials, EtcdLocation, parse_location

__all__ = ["Source", "check_tree", "parse_source"]


class Source(msgspec.Struct, frozen=True):
    """Where configuration comes from: a tree, by the path of its root, or an etcd."""

    url: str
    tree: str | None = None
    etcd: EtcdLocation | None = None


def parse_source(url: str, access: EtcdCredentials = EtcdCredentials()) -> Source:  # noqa: B008
    """Return the source that `url` names, if it is an etcd to be entered by `access`.

    Raises ValueError with the reason why it names none.
    """
    if url.startswith(("etcd://", "etcd+https://")):
        access.check()
        return Source(url, etcd=parse_location(url, access))
    parts = urlsplit(url)
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if parts.scheme != "file":
        raise ValueError(f"{url}: not a configuration source, which begins with file://, etcd:// or etcd+https://")
    if parts.query or parts.fragment:
        raise ValueError(f"{url}: has a query or a fragment; write ? as %3F and # as %23")
    if parts.netloc not in {"", "localhost"} or not path.startswith("/") or "\0" in path:
        raise ValueError(f"{url}: needs an absolute path, as in file:///etc/clusterf")
    return Source(url, tree=path)


def check_tree(source: Source) -> None:
    """Raise ValueError with the reason why the tree of a `file://` source cannot be read at present."""
    if source.tree is None:
        return
    try:
        next(Path(source.tree).iterdir(), None)
    except OSError as error:
        raise ValueError(f"{source.url}: {error.strerror or error}") from None
