"""The gRPC channel to one endpoint of etcd."""

import ssl
from pathlib import Path
from typing import Any

import grpc

from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdCredentials, EtcdLocation

__all__ = ["open_channel"]

_LEAST_MESSAGE = 16 << 20  # bytes that a reply may have, at least: some values at once, or the names of many keys
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    # detects a server that hangs; etcd closes connections that are pinged more often than every 5 seconds,
    # or while no call is active
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.ping_timeout_ms", 5000),  # overrides the line above; the default is a minute
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # the environment's proxy is meant for the web
    ("grpc.enable_http_proxy", 0),
    # retries are the caller's decision
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


def open_channel(location: EtcdLocation, endpoint: str) -> Any:
    """Return a channel to one endpoint. Raises EtcdError if a PEM file is unreadable or invalid."""
    longest = max(_LEAST_MESSAGE, 2 * location.credentials.max_value)
    options = [*_OPTIONS, ("grpc.max_receive_message_length", longest)]
    if not location.tls:
        return grpc.insecure_channel(endpoint, options=options)
    return grpc.secure_channel(endpoint, _channel_credentials(location.credentials), options=options)


def _channel_credentials(files: EtcdCredentials) -> Any:
    """Return the PEM files as gRPC wants them, checked first: grpc aborts the process on invalid ones."""
    if (files.cert is None) != (files.key is None):
        raise EtcdError("a client certificate and its key must be given together")
    ca = files.ca or ssl.get_default_verify_paths().cafile
    try:
        parts = [Path(name).read_bytes() if name else None for name in (ca, files.key, files.cert)]
        context = ssl.create_default_context(cafile=ca)
        if files.cert is not None:
            context.load_cert_chain(files.cert, files.key, password="")  # without one, OpenSSL prompts for it
    except ssl.SSLError as error:
        names = ", ".join(name for name in (ca, files.cert, files.key) if name)
        raise EtcdError(f"{names}: not PEM certificates with a matching key: {error}") from None
    except OSError as error:
        raise EtcdError(f"{error.filename}: {error.strerror}") from None
    return grpc.ssl_channel_credentials(*parts)
