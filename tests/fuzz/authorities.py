"""Files of authorities, of which nothing but certificates may leave the process."""

import base64
import re
import ssl
from random import Random

from clusterf.health.authority_files import certificates
from tests.fuzz.mutate import mutate_bytes, mutate_lines, one_of
from tests.fuzz.target import Target, targets

__all__ = ["TARGETS"]

_BODY = re.compile(rb"(?<=CERTIFICATE-----)[^-]+")


def _mutate_der(data: bytes, rng: Random) -> bytes:
    """Change what is in one of the blocks, which stays one in base64."""
    bodies = list(_BODY.finditer(data))
    if not bodies:
        return mutate_bytes(data, rng)
    body = rng.choice(bodies)
    try:
        der = mutate_bytes(base64.b64decode(body[0]), rng)
    except ValueError:
        return mutate_bytes(data, rng)
    return data[: body.start()] + b"\n" + base64.encodebytes(der) + data[body.end() :]


def _authorities(data: bytes) -> str:
    """Check that what leaves is certificates, each of them one in the file, or that the reason tells nothing."""
    try:
        pem = certificates(data)
    except ValueError as error:
        return _refused(error)
    assert certificates(pem.encode()) == pem
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem)
    in_file = {_decoded(body[0]) for body in _BODY.finditer(data)}
    ends = re.findall(".*?-----END CERTIFICATE-----\n", pem, re.DOTALL)
    for der in map(ssl.PEM_cert_to_DER_cert, ends):
        assert der in in_file
        assert not _is_certificate(der[:-1]), "not all of it is a certificate"
    assert "".join(ends) == pem
    assert data.count(b"-----BEGIN") == len(ends)
    return f"{min(len(ends), 3)} certificates"


def _is_certificate(der: bytes) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except ssl.SSLError:
        return False
    return True


def _decoded(body: bytes) -> bytes:
    try:
        return base64.b64decode(body)
    except ValueError:
        return b""  # text between blocks


def _refused(error: ValueError) -> str:
    assert str(error) == "not only certificates in PEM format"
    return "refused"


TARGETS = targets(
    {
        "authorities": Target(
            _authorities, ("clusterf.health.authority_files",), one_of(_mutate_der, mutate_lines, mutate_bytes)
        )
    }
)
