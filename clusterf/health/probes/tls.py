"""TLS contexts for checks, cached for as long as the file of their authorities does not change.

The path of that file comes from the configuration and may be anything, so only
a regular file of a reasonable size is opened.
"""

import logging
import os
import ssl
import stat
from typing import Final, NamedTuple

from clusterf.config.model import Tls
from clusterf.health.probes import reasons
from clusterf.lib.log_once import LogOnce
from clusterf.lib.text import escape

__all__ = ["Contexts", "TlsError"]

log = logging.getLogger(__name__)

_MAX_CA: Final = 1 << 20  # bytes
_MAX_FILES: Final = 256  # files whose contexts are cached

_Version = tuple[int, int, int, int]


class TlsError(ValueError):
    """No certificate can be verified; the text is the reason."""


class _Cached(NamedTuple):
    context: ssl.SSLContext
    # of the file that the context was made from
    version: _Version


class Contexts:
    """The TLS contexts in use. Each is made on first use; that of the system's authorities takes about 10 ms."""

    def __init__(self) -> None:
        self._system: ssl.SSLContext | None = None
        self._unverified: ssl.SSLContext | None = None
        self._by_file: dict[str, _Cached] = {}
        # by path: why a file that was read before cannot be read again
        self._complaints = LogOnce(log)

    def get(self, tls: Tls) -> ssl.SSLContext:
        """Return the context for `tls`.

        A file of authorities that has changed is read again; while that fails,
        the previous context is kept. Raises TlsError if there is none, and
        OSError if this machine is out of a resource.
        """
        if not tls.verify:
            self._unverified = self._unverified or _unverified()
            return self._unverified
        if not tls.ca:
            self._system = self._system or ssl.create_default_context()
            return self._system
        return self._of_file(tls.ca)

    def _of_file(self, path: str) -> ssl.SSLContext:
        cached = self._by_file.get(path)
        try:
            version = _version(os.stat(path))  # noqa: PTH116
            if cached is None or cached.version != version:
                cached = self._cache(path, _Cached(_trusting(_read(path)), version))
        except (OSError, ValueError) as error:
            if cached is None:
                raise _without_context(error) from None
            shown = escape(os.fsencode(path))
            self._complaints.log(path, "health: %s: %s (keeping the previous valid authorities)", shown, _text(error))
        else:
            self._complaints.end(path)
        return cached.context

    def _cache(self, path: str, new: _Cached) -> _Cached:
        if path not in self._by_file and len(self._by_file) >= _MAX_FILES:
            self._by_file.clear()
            self._complaints.clear()
        self._by_file[path] = new
        return new


def _without_context(error: OSError | ValueError) -> OSError | TlsError:
    """Return what to raise for `error` if there is no previous context."""
    if isinstance(error, OSError) and reasons.is_local(error.errno):
        return error
    return TlsError(f"ca: {_text(error)}")


def _text(error: OSError | ValueError) -> str:
    return (error.strerror or "").lower() if isinstance(error, OSError) else str(error)


def _version(status: os.stat_result) -> _Version:
    """Return a value that changes with the file's content. Raises ValueError if the file is not to be read."""
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    if status.st_size > _MAX_CA:
        raise ValueError("larger than 1 MiB")
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: str) -> bytes:
    # the file may have been replaced since the check: do not block on it, and do not rely on its size
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        _version(os.fstat(descriptor))
        return file.read(_MAX_CA)


def _trusting(pem: bytes) -> ssl.SSLContext:
    """Return a context that trusts the certificates in `pem` only. Raises ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # comments between the certificates may have any encoding
        context.load_verify_locations(cadata=pem.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        raise ValueError("no certificates in PEM format") from None
    return context


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
