"""The reasons of failed probes, the same for all kinds of probes.

None of them quotes the target: a reason goes to logs and terminals.
"""

import errno
import os
import re
import ssl
from typing import Final

__all__ = ["CLOSED", "NOT_HTTP", "STALLED", "TIMEOUT", "is_local", "of_errno", "of_tls"]

CLOSED: Final = "closed"
NOT_HTTP: Final = "not HTTP"
STALLED: Final = "the probing process was stalled"
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
    # from `blackhole` and `prohibit` routes
    errno.EINVAL: "no route",
    errno.EACCES: "no route",
    errno.EMFILE: "out of file descriptors",
    errno.ENFILE: "out of file descriptors",
    errno.EAGAIN: "out of local ports",
    errno.EADDRNOTAVAIL: "no such source address, or out of local ports",
}
# errors of this machine, which say nothing about the target
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
    """Tell whether an errno is of this machine, and says nothing about the target."""
    return error in _LOCAL


def of_errno(error: int | None) -> str:
    """Return the reason for an errno; None or 0: the connection was closed."""
    if not error:
        return CLOSED
    return _REASONS.get(error) or os.strerror(error).lower()


def _of_certificate(error: ssl.SSLCertVerificationError) -> str:
    """Return the reason for a certificate that does not verify."""
    return f"TLS: {_CERTIFICATE.get(error.verify_code) or error.verify_message.lower()}"


def of_tls(error: ssl.SSLError) -> str:
    """Return the reason for an error of TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _of_certificate(error)
    if isinstance(error, ssl.SSLEOFError):
        return "TLS: closed"
    reason = error.reason or ""
    if _NOT_TLS.search(reason):
        return "TLS: not TLS"
    return f"TLS: {reason.replace('_', ' ').lower() or 'failed'}"
