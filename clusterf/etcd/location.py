"""Where an etcd cluster is, and the prefix in it: what an `etcd://` URL names."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from clusterf.etcd.values import MAX_VALUE

__all__ = ["EXPOSED", "EtcdCredentials", "EtcdLocation", "parse_location", "prefix_end"]

EXPOSED: Final = (
    "the password of --etcd-user is sent unencrypted: use etcd+https://, "
    "or --etcd-insecure, without which a later release will refuse it"
)
_PORT = "2379"  # the default
# a name or an IPv4 address, or an IPv6 address in brackets
_ENDPOINT = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?")


class EtcdCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files for TLS, and a user with the file that holds the password; all of them paths.

    `insecure`: a password may be sent unencrypted. `max_value`: bytes that a value may have to be taken.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    user: str | None = None
    password_file: str | None = None
    insecure: bool = False
    max_value: int = MAX_VALUE

    def check(self) -> None:
        """Raise ValueError with the reason if the combination is invalid or a file is unreadable."""
        if (self.cert is None) != (self.key is None):
            raise ValueError("--etcd-cert and --etcd-key must be given together")
        if self.password_file is not None and self.user is None:
            raise ValueError("--etcd-password-file needs --etcd-user")
        files = {"ca": self.ca, "cert": self.cert, "key": self.key, "password-file": self.password_file}
        for name, path in files.items():
            try:
                Path(path).read_bytes() if path else None
            except OSError as error:
                raise ValueError(f"--etcd-{name}: {path}: {error.strerror}") from None


class EtcdLocation(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoints (`HOST:PORT`) of an etcd cluster, how to authenticate, and the prefix of the configuration.

    `prefix` begins and ends with a slash.
    """

    endpoints: tuple[str, ...]
    prefix: bytes
    tls: bool = False
    credentials: EtcdCredentials = EtcdCredentials()

    @property
    def exposes_password(self) -> bool:
        """Whether the user's password is sent unencrypted, off this machine, and nobody has agreed to that."""
        access = self.credentials
        exposed = access.user is not None and not self.tls and not access.insecure
        return exposed and not all(map(_is_loopback, self.endpoints))


def _is_loopback(endpoint: str) -> bool:
    host = endpoint.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def prefix_end(prefix: bytes) -> bytes:
    """Return the first key after all keys that begin with `prefix`, which ends with a slash."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def parse_location(url: str, credentials: EtcdCredentials) -> EtcdLocation:
    """Return the location that an `etcd://` or `etcd+https://` URL names.

    Raises ValueError with the reason if the URL is invalid.
    """
    # urlsplit takes only one host in brackets
    scheme, _, rest = url.partition("://")
    if scheme not in {"etcd", "etcd+https"}:
        raise ValueError(f"{url}: does not begin with etcd:// or etcd+https://")
    hosts, _, path = rest.partition("/")
    if "@" in hosts:
        raise ValueError("etcd URL: a user or password in a URL is visible in process lists: use --etcd-user")
    if "?" in rest or "#" in rest:
        raise ValueError(f"{url}: queries and fragments are not supported; write ? as %3F and # as %23")
    prefix = unquote_to_bytes(path).strip(b"/") or b"clusterf"
    return EtcdLocation(
        endpoints=tuple(_endpoint(url, text) for text in hosts.split(",")),
        prefix=b"/" + prefix + b"/",
        tls=scheme == "etcd+https",
        credentials=credentials,
    )


def _endpoint(url: str, text: str) -> str:
    match = _ENDPOINT.fullmatch(text)
    if match is None or not 0 < int(match["port"] or _PORT) < 1 << 16:
        raise ValueError(
            f"{url}: expected HOST:PORT, several separated by commas, as in etcd://127.0.0.1:2379/clusterf"
        )
    return f"{match['host']}:{match['port'] or _PORT}"
