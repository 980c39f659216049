"""Servers whose handshakes cost the client much CPU time, and themselves nothing."""

import base64
import os
from typing import Final

from tests.servers import Behaviour, Connection

__all__ = ["EXPENSIVE", "expensive_certificates", "expensive_group"]

# a certificate whose key is a compressed point on a curve over a field of k * 2^640 + 1: to decode that takes OpenSSL
# 640^2 steps, a third of a second
EXPENSIVE: Final = base64.b64decode(
    "MIICszCCAn2gAwIBAgIBATANBgkqhkiG9w0BAQsFADAMMQowCAYDVQQDDAF4MB4XDTIwMDEwMTAwMDAwMFoXDTQwMDEwMTAwMDAw"
    "MFowDDEKMAgGA1UEAwwBeDCCAiYwggHLBgcqhkjOPQIBMIIBvgIBATBeBgcqhkjOPQEBAlMYWc0AAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAATCBqgRTFxbbRC49Q3IE"
    "5S2yIhpYAIoFpsRkcVnDJMmFm4EOdm7J0oZjyoKN1fSzsuSwbOYHQceofOQsghgHLow1v5ktyenGFmEudpamzswbeOUQYXMR2KME"
    "Uxc6L2wP1PX4EwxCN3MO36+9Z/lhlpnP4ZiK2fBsFEoCW0E/ipoCHqZIp90Gg565Bbbm4wfUvtxRQxGT5sPzORorjx/x/UKil1XU"
    "wTqQKTHNRH41BFQCFn9P4fq514x+E09d+9PRLEo2mKosoa9qEHt1Z39svcwir1i+ZSHMPiQ043rwJ7wI1q9X2nEUSJbI2hlkstK8"
    "gVpHxfDftKXYoGTff9YxFuHqJMQCUxhZzP////////////////////////////////////////////////////////TxiKknjOTv"
    "lusCJOXWHyWAIR/NMr54/C7hjn5uBPHajofxIZDzAgEBA1UAAgdt/Ixf6PjcO/Nk64rIzookXmszE4ExxUEBPQMmMk37aV/7OhiQ"
    "x4CStNQrKP7wK5wBTqWsBthkwvLjlANWDZfa442dZDwl+7Iwu9kqSqK0ENk8MA0GCSqGSIb3DQEBCwUAAyEAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAA="
)
_RETRY: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")  # RFC 8446, 4.1.3
_FFDHE8192: Final = b"\x01\x04"


def expensive_certificates(count: int) -> Behaviour:
    """Send such certificates, in TLS 1.2, and wait."""
    chain = (len(EXPENSIVE).to_bytes(3, "big") + EXPENSIVE) * count
    hello = b"\x03\x03" + bytes(32) + b"\0\xc0\x2f\0" + b"\0\x05\xff\x01\0\x01\0"
    flight = _message(2, hello) + _message(11, len(chain).to_bytes(3, "big") + chain)

    def send(connection: Connection) -> None:
        connection.socket.recv(65536)
        connection.say(b"".join(_record(22, flight[at : at + 16000]) for at in range(0, len(flight), 16000)))
        connection.wait()

    return send


def expensive_group(connection: Connection) -> None:
    """Ask for a key exchange of 8192 bits, in TLS 1.3, and wait."""
    _, hello = _read_record(connection)
    session = hello[38 : 39 + hello[38]]
    connection.say(_hello(_RETRY, session, _FFDHE8192))
    while _read_record(connection)[0] != 22:
        pass
    share = _FFDHE8192 + b"\x04\0\x7f" + os.urandom(1023)
    connection.say(_hello(os.urandom(32), session, share) + _record(20, b"\x01") + _record(23, os.urandom(300)))
    connection.wait()


def _hello(random: bytes, session: bytes, share: bytes) -> bytes:
    extensions = b"\x00\x2b\x00\x02\x03\x04\x00\x33" + len(share).to_bytes(2, "big") + share
    return _record(
        22,
        _message(2, b"\x03\x03" + random + session + b"\x13\x01\0" + len(extensions).to_bytes(2, "big") + extensions),
    )


def _record(kind: int, data: bytes) -> bytes:
    return bytes([kind]) + b"\x03\x03" + len(data).to_bytes(2, "big") + data


def _message(kind: int, data: bytes) -> bytes:
    return bytes([kind]) + len(data).to_bytes(3, "big") + data


def _read_record(connection: Connection) -> tuple[int, bytes]:
    head = _read(connection, 5)
    return head[0], _read(connection, int.from_bytes(head[3:], "big"))


def _read(connection: Connection, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := connection.socket.recv(size - len(data))):
            raise ConnectionError
        data += more
    return data
