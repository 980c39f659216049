"""Reading files of authorities, of which nothing but certificates leaves the process.

Their paths come from the configuration, and this process may read files that who writes the configuration
may not. So only a regular file of a reasonable size is opened; what it holds has to be certificates only, is
encoded anew, and is never part of a text: whatever else is in a file, its problem is the same.
"""

import base64
import binascii
import logging
import os
import re
import ssl
import stat
from typing import Final

from clusterf.health.authorities import Authorities
from clusterf.lib.log_once import LogOnce
from clusterf.lib.text import escape

__all__ = ["MAX_FILE", "MAX_FILES", "MAX_TOTAL", "AuthorityFiles", "certificates"]

log = logging.getLogger(__name__)

MAX_FILE: Final = 1 << 20
"""Bytes of a file."""

MAX_FILES: Final = 256
"""Files that are read; further ones are reported."""

MAX_TOTAL: Final = 32 << 20
"""Bytes of certificates of all files together."""

_OTHER: Final = "not only certificates in PEM format"
# the types of curves that are written out (ANSI X9.62, prime-field and characteristic-two-field), in DER: nobody uses
# such curves, and it takes a third of a second to read a key on a bad one
_CURVES: Final = (bytes.fromhex("2a8648ce3d0101"), bytes.fromhex("2a8648ce3d0102"))
_BEGIN: Final = b"-----BEGIN"
_BLOCK: Final = re.compile(rb"-----BEGIN (X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END (X509 )?CERTIFICATE-----")

_Version = tuple[int, ...]


class _File:
    """A file that is named, the version of it that was looked at last, and what is known of it."""

    __slots__ = ("authorities", "version")

    def __init__(self) -> None:
        # None: it is to be read
        self.version: _Version | None = None
        self.authorities = Authorities()


class AuthorityFiles:
    """The files that checks name. The last valid certificates of each are kept while it has a problem."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        # bytes of the certificates of all of them
        self._total = 0
        # by path
        self._complaints = LogOnce(log)

    def __len__(self) -> int:
        """Return how many files are named."""
        return len(self._files)

    def put(self, path: str, *, named: bool) -> None:
        """Follow a file, or forget it."""
        if named:
            self._files.setdefault(path, _File())
        elif (file := self._files.pop(path, None)) is not None:
            self._total -= len(file.authorities.pem)
            self._complaints.end(path)

    def reload(self) -> None:
        """Have all files read again by the next `poll`."""
        for file in self._files.values():
            file.version = None

    def poll(self) -> dict[str, Authorities]:
        """Read the files that are new or have changed; return those of which something else is known now."""
        changes = {}
        for number, (path, file) in enumerate(self._files.items()):
            before = file.authorities
            self._update(path, file, readable=number < MAX_FILES)
            if file.authorities != before:
                self._total += len(file.authorities.pem) - len(before.pem)
                self._report(path, file.authorities)
                changes[path] = file.authorities
        return changes

    def _update(self, path: str, file: _File, *, readable: bool) -> None:
        before, version = file.authorities.pem, None
        try:
            if not readable:
                raise ValueError(f"more than {MAX_FILES} files of authorities")
            if _version(os.stat(path)) == file.version:  # noqa: PTH116
                return
            content, version = _read(path)
            pem = certificates(content)
            if self._total - len(before) + len(pem) > MAX_TOTAL:
                raise ValueError(f"more than {MAX_TOTAL >> 20} MiB of authorities")
            file.authorities = Authorities(pem)
        except OSError as error:
            file.authorities = Authorities(before, (error.strerror or "unreadable").lower())
        except ValueError as error:
            file.authorities = Authorities(before, str(error))
        file.version = version

    def _report(self, path: str, authorities: Authorities) -> None:
        shown = escape(os.fsencode(path))
        if not authorities.problem:
            self._complaints.end(path, "health: %s: valid again", shown)
        elif authorities.pem:
            message = "health: %s: %s (keeping the previous valid authorities)"
            self._complaints.log(path, message, shown, authorities.problem)
        else:
            message = "health: %s: %s (probes that need these authorities do not count)"
            self._complaints.log(path, message, shown, authorities.problem, level=logging.ERROR)


def _version(status: os.stat_result) -> _Version:
    """Return a value that changes with the file's content. Raises ValueError if the file is not to be opened."""
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    if not status.st_size:
        # a file of the kernel's may say so too, and change when it is read
        raise ValueError(_OTHER)
    if status.st_size > MAX_FILE:
        raise ValueError("larger than 1 MiB")
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _read(path: str) -> tuple[bytes, _Version]:
    # the file may have been replaced since the check: do not block on it, and do not rely on its size
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        version = _version(os.fstat(descriptor))
        return file.read(MAX_FILE), version


def certificates(content: bytes) -> str:
    """Return the certificates in `content`, encoded anew. Text around them is left out.

    Raises ValueError, always with the same text, if there are none, or blocks of another kind, or one has a key on a
    curve that has no name.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blocks = list(_BLOCK.finditer(content))
    if not blocks or len(blocks) != content.count(_BEGIN):
        raise ValueError(_OTHER)
    pem = []
    try:
        for block in blocks:
            der = base64.b64decode(b"".join(block[2].split()), validate=True)
            if len(der) != _der_length(der) or any(curve in der for curve in _CURVES):
                raise ValueError
            context.load_verify_locations(cadata=der)
            pem.append(ssl.DER_cert_to_PEM_cert(der))
    except (ssl.SSLError, binascii.Error, ValueError, IndexError):
        raise ValueError(_OTHER) from None
    return "".join(pem)


def _der_length(der: bytes) -> int:
    """Return the bytes that a DER value has by its own header. Raises IndexError if there is none.

    It is more than there are if the header is incomplete.
    """
    if der[1] < 0x80:
        return 2 + der[1]
    size = der[1] & 0x7F
    return 2 + size + int.from_bytes(der[2 : 2 + size])
