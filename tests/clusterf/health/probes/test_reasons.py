import errno
import ssl

import pytest

from clusterf.health.probes import reasons


@pytest.mark.parametrize(
    ("error", "reason", "local"),
    [
        (errno.ECONNREFUSED, "refused", False),
        (errno.ECONNRESET, "reset", False),
        (errno.EHOSTUNREACH, "no route", False),
        (errno.EINVAL, "no route", False),
        (errno.ETIMEDOUT, "timeout", False),
        (errno.EPROTO, "protocol error", False),
        (errno.EMFILE, "out of file descriptors", True),
        (errno.ENOBUFS, "no buffer space available", True),
        (errno.EADDRNOTAVAIL, "no such source address, or out of local ports", True),
        (0, "closed", False),
        (None, "closed", False),
    ],
)
def test_errno_has_a_reason_and_may_be_local(error, reason, local):
    assert (reasons.of_errno(error), reasons.is_local(error)) == (reason, local)


@pytest.mark.parametrize(
    ("openssl", "reason"),
    [
        ("WRONG_VERSION_NUMBER", "TLS: not TLS"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "TLS: tlsv1 alert protocol version"),
        (None, "TLS: failed"),
    ],
)
def test_tls_error_has_a_reason(openssl, reason):
    error = ssl.SSLError(1, "")
    error.reason = openssl
    assert reasons.of_tls(error) == reason


def test_closed_tls_connection_has_a_reason():
    assert reasons.of_tls(ssl.SSLEOFError()) == "TLS: closed"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (10, "TLS: certificate expired"),
        (18, "TLS: self-signed certificate"),
        (20, "TLS: unknown authority"),
        (62, "TLS: wrong name"),
        (23, "TLS: certificate revoked"),
    ],
)
def test_certificate_that_does_not_verify_has_a_reason(code, reason):
    error = ssl.SSLCertVerificationError(1, "")
    error.verify_code, error.verify_message = code, "Certificate revoked"
    assert reasons.of_tls(error) == reason
