"""Why a probe failed, in words that are the same whoever finds it out.

None of them quotes what the target said: a reason goes to logs and terminals.
"""

import errno
import os
import re
import ssl
from typing import Final

__all__ = ["CLOSED", "HELD_UP", "NOT_HTTP", "TIMEOUT", "is_local", "of_certificate", "of_errno", "of_tls"]

CLOSED: Final = "closed"
HELD_UP: Final = "this process was held up"
NOT_HTTP: Final = "not HTTP"
TIMEOUT: Final = "timeout"

_REASONS: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ECONNABORTED: CLOSED,
    errno.ETIMEDOUT: TIMEOUT,
    errno.EHOSTUNREACH: "no route",
    errno.ENETUNREACH: "no route",
    errno.EHOSTDOWN: "no route",
    errno.ENETDOWN: "no route",
    # what `blackhole` and `prohibit` routes answer
    errno.EINVAL: "no route",
    errno.EACCES: "no route",
    errno.EMFILE: "out of file descriptors",
    errno.ENFILE: "out of file descriptors",
    errno.EAGAIN: "out of local ports",
    errno.EADDRNOTAVAIL: "no such source address, or out of local ports",
}
# these say something about this machine, and nothing about the target
_LOCAL: Final = frozenset(
    {
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.EAGAIN,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EPERM,
    }
)
# OpenSSL's X509_V_ERR_…, by their numbers
_CERTIFICATE: Final = {
    9: "certificate not yet valid",
    10: "certificate expired",
    18: "self-signed certificate",
    **dict.fromkeys((2, 19, 20, 21, 27), "unknown authority"),
    **dict.fromkeys((62, 64), "wrong name"),
}
_NOT_TLS: Final = re.compile("WRONG_VERSION_NUMBER|HTTP_REQUEST|RECORD_LAYER_FAILURE|PACKET_LENGTH_TOO_LONG")


def is_local(error: int | None) -> bool:
    """Tell whether an errno is about this machine, so that it says nothing of the target."""
    return error in _LOCAL


def of_errno(error: int | None) -> str:
    """Return the reason that an errno is; without one the connection came to an end."""
    if not error:
        return CLOSED
    return _REASONS.get(error) or os.strerror(error).lower()


def of_certificate(error: ssl.SSLCertVerificationError) -> str:
    """Return why a certificate is no good."""
    return f"TLS: {_CERTIFICATE.get(error.verify_code) or error.verify_message.lower()}"


def of_tls(error: ssl.SSLError) -> str:
    """Return why there was no TLS connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return of_certificate(error)
    if isinstance(error, ssl.SSLEOFError):
        return "TLS: closed"
    reason = error.reason or ""
    if _NOT_TLS.search(reason):
        return "TLS: not TLS"
    return f"TLS: {reason.replace('_', ' ').lower() or 'failed'}"
