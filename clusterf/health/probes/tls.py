"""TLS contexts for checks, cached for as long as their authorities do not change.

Authorities that a check names by a path are handed to this process: it opens no path from the configuration.
"""

import ssl
from collections import OrderedDict
from typing import Final

from clusterf.config.model import HealthCheck, Tls
from clusterf.health.authorities import Authorities, file_of

__all__ = ["Contexts", "NoAuthoritiesError", "TlsError"]

_MAX_FORGOTTEN: Final = 64  # files that no check names, whose authorities are kept


class TlsError(ValueError):
    """No certificate can be verified; the text is the reason."""


class NoAuthoritiesError(TlsError):
    """This process has no authorities to verify any certificate by, which says nothing about the target."""


class _File:
    """The certificates in a file of authorities; the context that trusts them only is made on first use."""

    __slots__ = ("_context", "pem", "problem")

    def __init__(self, authorities: Authorities) -> None:
        self.pem = authorities.pem
        self.problem = authorities.problem
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Return the context. Raises NoAuthoritiesError."""
        if not self.pem:
            raise NoAuthoritiesError(f"ca: {self.problem}")
        if self._context is None:
            self._context = _trusting(self.pem)
        return self._context


class Contexts:
    """The TLS contexts in use. Each is made on first use; that of the system's authorities takes about 10 ms."""

    def __init__(self) -> None:
        self._system: ssl.SSLContext | None = None
        self._unverified: ssl.SSLContext | None = None
        # by path; those of which anything is known
        self._files: dict[str, _File] = {}
        # those of them that no check names any more, the oldest first
        self._forgotten: OrderedDict[str, None] = OrderedDict()

    def put(self, path: str, authorities: Authorities | None) -> None:
        """Set what is known of a file; None: no check names it.

        Certificates are only replaced by others: while the file cannot be read they stay, also when the
        process that has read it starts anew. Those of a file that is named no more stay for a while, as
        a check may still be in force of which that process knows no more than that it is invalid now.
        """
        self._forgotten.pop(path, None)
        file = self._files.get(path)
        if authorities is None:
            self._forget(path)
        elif authorities.pem:
            if file is None or file.pem != authorities.pem:
                self._files[path] = _File(authorities)
        elif authorities.problem and (file is None or not file.pem):
            self._files[path] = _File(authorities)

    def missing_for(self, check: HealthCheck) -> str:
        """Return the file of authorities that the check may need, and of which nothing is known yet, else ""."""
        path = file_of(check)
        return path if path not in self._files else ""

    def get(self, tls: Tls) -> ssl.SSLContext:
        """Return the context for `tls`. Raises NoAuthoritiesError if it needs authorities that are not known."""
        if not tls.verify:
            self._unverified = self._unverified or _unverified()
            return self._unverified
        if not tls.ca:
            self._system = self._system or _bounded(ssl.create_default_context())
            return self._system
        file = self._files.get(tls.ca)
        if file is None:
            raise NoAuthoritiesError("ca: not read yet")
        return file.context()

    def _forget(self, path: str) -> None:
        file = self._files.get(path)
        if file is not None and not file.pem:
            del self._files[path]
        elif file is not None:
            self._forgotten[path] = None
            if len(self._forgotten) > _MAX_FORGOTTEN:
                oldest, _ = self._forgotten.popitem(last=False)
                del self._files[oldest]


def _trusting(pem: str) -> ssl.SSLContext:
    """Return a context that trusts the certificates in `pem` only. Raises NoAuthoritiesError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise NoAuthoritiesError("ca: no certificates in PEM format") from None
    return _bounded(context)


def _bounded(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return the context without ciphers for which the server chooses how long the key exchange takes.

    With a Diffie-Hellman group of 10,000 bits, up to which OpenSSL goes along, it takes more than a second. And there
    is one handshake only, which `tls_transport` does elsewhere, and none that the server asks for later.
    """
    context.options |= ssl.OP_NO_RENEGOTIATION
    names = (cipher["name"] for cipher in context.get_ciphers())
    context.set_ciphers(":".join(name for name in names if not name.startswith(("DHE-", "ADH-"))))
    return context


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _bounded(context)
