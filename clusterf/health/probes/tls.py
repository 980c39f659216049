"""TLS contexts for checks, kept for as long as the file of their authorities stays as it is.

The name of that file comes from the configuration, so that it may be anything:
what is no regular file of a reasonable size is not even opened.
"""

import logging
import os
import ssl
import stat
from typing import Final, NamedTuple

from clusterf.config.model import Tls
from clusterf.health.probes import reasons
from clusterf.lib.text import escape

__all__ = ["Contexts", "TlsError"]

log = logging.getLogger(__name__)

_MAX_CA: Final = 1 << 20  # bytes
_MANY: Final = 256  # files whose contexts are kept

_Version = tuple[int, int, int, int]


class TlsError(ValueError):
    """A certificate cannot be verified, whatever it is; the text is why."""


class _Kept(NamedTuple):
    context: ssl.SSLContext
    # of the file that it was made of
    version: _Version
    # why the file could not be read again
    trouble: str = ""


class Contexts:
    """The TLS contexts in use. Each is made when it is needed first, which for the system's takes some 10 ms."""

    def __init__(self) -> None:
        self._system: ssl.SSLContext | None = None
        self._unverified: ssl.SSLContext | None = None
        self._by_file: dict[str, _Kept] = {}

    def get(self, tls: Tls) -> ssl.SSLContext:
        """Return the context for `tls`.

        A file of authorities that has changed is read again; while that fails,
        those that were read last count. Raises TlsError if they could never be
        read, OSError if this machine is short of something.
        """
        if not tls.verify:
            self._unverified = self._unverified or _unverified()
            return self._unverified
        if not tls.ca:
            self._system = self._system or ssl.create_default_context()
            return self._system
        return self._of_file(tls.ca)

    def _of_file(self, path: str) -> ssl.SSLContext:
        kept = self._by_file.get(path)
        try:
            version = _version(os.stat(path))  # noqa: PTH116
            if kept is None or kept.version != version:
                kept = _Kept(_trusting(_read(path)), version)
        except (OSError, ValueError) as error:
            kept = _make_do(kept, path, error)
        if path not in self._by_file and len(self._by_file) >= _MANY:
            self._by_file.clear()
        self._by_file[path] = kept
        return kept.context


def _make_do(kept: _Kept | None, path: str, error: OSError | ValueError) -> _Kept:
    """Return what was read before. Raises TlsError, or `error`, where there is none."""
    if isinstance(error, OSError) and kept is None and reasons.is_local(error.errno):
        raise error
    trouble = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
    if kept is None:
        raise TlsError(f"ca: {trouble}") from None
    if trouble != kept.trouble:
        log.warning("health: %s: %s; the authorities that were in it still count", escape(os.fsencode(path)), trouble)
    return kept._replace(trouble=trouble)


def _version(status: os.stat_result) -> _Version:
    """Tell one content of a file from the next. Raises ValueError if it is no file to be read."""
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    if status.st_size > _MAX_CA:
        raise ValueError("larger than 1 MiB")
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: str) -> bytes:
    # what is there now may not be what was there a moment ago, hence neither wait for it nor trust its size
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        _version(os.fstat(descriptor))
        return file.read(_MAX_CA)


def _trusting(pem: bytes) -> ssl.SSLContext:
    """Return a context that trusts the certificates in `pem` only. Raises ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # outside of the certificates there may be comments in any language
        context.load_verify_locations(cadata=pem.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        raise ValueError("no certificates in PEM format") from None
    return context


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
