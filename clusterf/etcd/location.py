"""Where an etcd is: what an `etcd://` URL names."""

import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

import msgspec

__all__ = ["EtcdCredentials", "EtcdLocation", "parse_location"]

PORT = "2379"  # of an endpoint that names none
# a name or an IPv4 address, or an IPv6 address in brackets
_ENDPOINT = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?")


class EtcdCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """How to get into an etcd: PEM files, and a user with the file that holds the password."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    user: str | None = None
    password_file: str | None = None

    def check(self) -> None:
        """Raise ValueError with the reason why this cannot be used."""
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client certificate and its key go together")
        if self.password_file is not None and self.user is None:
            raise ValueError("a password needs a user")
        for path in filter(None, (self.ca, self.cert, self.key, self.password_file)):
            try:
                Path(path).read_bytes()
            except OSError as error:
                raise ValueError(f"{path}: {error.strerror}") from None


class EtcdLocation(msgspec.Struct, frozen=True, kw_only=True):
    """Where an etcd is, how to get in, and where in it the configuration is.

    `prefix` begins and ends with a slash.
    """

    endpoints: tuple[str, ...]
    prefix: bytes
    tls: bool = False
    access: EtcdCredentials = EtcdCredentials()


def parse_location(url: str, access: EtcdCredentials) -> EtcdLocation:
    """Return what an `etcd://` or `etcd+https://` URL names, to be entered by `access`.

    Raises ValueError with the reason why it names nothing.
    """
    # not by urlsplit, which knows hosts in brackets one at a time only
    scheme, _, rest = url.partition("://")
    if scheme not in {"etcd", "etcd+https"}:
        raise ValueError(f"{url}: does not begin with etcd:// or etcd+https://")
    hosts, _, path = rest.partition("/")
    if "@" in hosts:
        raise ValueError("etcd URL: a user or password in a URL would show in lists of processes: use --etcd-user")
    if "?" in rest or "#" in rest:
        raise ValueError(f"{url}: has a query or a fragment; write ? as %3F and # as %23")
    prefix = unquote_to_bytes(path).strip(b"/") or b"clusterf"
    return EtcdLocation(
        endpoints=tuple(_endpoint(url, text) for text in hosts.split(",")),
        prefix=b"/" + prefix + b"/",
        tls=scheme == "etcd+https",
        access=access,
    )


def _endpoint(url: str, text: str) -> str:
    match = _ENDPOINT.fullmatch(text)
    if match is None or not 0 < int(match["port"] or PORT) < 1 << 16:
        raise ValueError(
            f"{url}: needs HOST:PORT, of several with commas between, as in etcd://127.0.0.1:2379/clusterf"
        )
    return f"{match['host']}:{match['port'] or PORT}"
