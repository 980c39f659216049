"""The gRPC channel to one endpoint of etcd, and its errors."""

import ssl
from pathlib import Path
from typing import Any

import grpc

from clusterf.etcd.location import EtcdLocation

__all__ = ["EtcdError", "described", "open_channel", "prefix_end"]

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # a server that hangs answers no pings either; etcd hangs up on who pings more often than every 5 seconds,
    # and on who pings while nothing is asked
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.ping_timeout_ms", 5000),  # else a minute, whatever the line before says
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # the proxy that the environment names is for the web
    ("grpc.enable_http_proxy", 0),
    # who tries again, when and where is not for grpc to say
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


class EtcdError(Exception):
    """etcd did not do what was asked; the text says why.

    `compacted`: the revision is no longer there; `lease_gone`: the lease is not.
    """

    def __init__(self, reason: str, *, compacted: bool = False, lease_gone: bool = False) -> None:
        super().__init__(reason)
        self.compacted = compacted
        self.lease_gone = lease_gone


def prefix_end(prefix: bytes) -> bytes:
    """Return the first key after all that begin with `prefix`, which ends with a slash."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def open_channel(location: EtcdLocation, endpoint: str) -> Any:
    """Return a channel to one endpoint. Raises EtcdError if a file of the credentials cannot be read."""
    if not location.tls:
        return grpc.insecure_channel(endpoint, options=_OPTIONS)
    return grpc.secure_channel(endpoint, _credentials(location), options=_OPTIONS)


def _credentials(location: EtcdLocation) -> Any:
    """Return what the files hold, if it is any use: grpc ends the process over what is not."""
    if (location.access.cert is None) != (location.access.key is None):
        raise EtcdError("a client's certificate and its key go together, and there is only one of them")
    ca = location.access.ca or ssl.get_default_verify_paths().cafile
    try:
        parts = [Path(name).read_bytes() if name else None for name in (ca, location.access.key, location.access.cert)]
        context = ssl.create_default_context(cafile=ca)
        if location.access.cert is not None:
            context.load_cert_chain(location.access.cert, location.access.key, password="")  # else it would ask for one
    except ssl.SSLError as error:
        names = ", ".join(name for name in (ca, location.access.cert, location.access.key) if name)
        raise EtcdError(f"{names}: no use as certificates in PEM, and the key of one: {error}") from None
    except OSError as error:
        raise EtcdError(f"{error.filename}: {error.strerror}") from None
    return grpc.ssl_channel_credentials(*parts)


def described(where: str, error: Any) -> EtcdError:
    """Return what went wrong with a call, as an EtcdError."""
    return EtcdError(
        f"{where}: {error.code().name.lower()}: {error.details()}",
        # a revision that is yet to come has the same code
        compacted=error.code() is grpc.StatusCode.OUT_OF_RANGE and "compacted" in error.details(),
        lease_gone=error.code() is grpc.StatusCode.NOT_FOUND,
    )
