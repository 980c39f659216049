"""What is recorded of a container because the engine does not show it again.

That is which run of it was signalled to stop, and its last address. A node
that is restarted needs both: a container that finishes its requests looks like
any other running one. And so does one that went on after such a signal, which the
engine has among its events for long.
"""

import msgspec

from clusterf.docker.addresses import ContainerAddress
from clusterf.lib.msgpack import dec_hook, enc_hook

__all__ = ["ContainerRecord", "decode_record", "encode_record"]


class ContainerRecord(msgspec.Struct, frozen=True, array_like=True):
    """The record of one container.

    `stopped_run` is the run that was signalled to stop, by its start time as in
    `Container.started_at`; 0: none was. `address` is its last address, None:
    it never had one. `outlived_run` is the run that went on after all.
    """

    stopped_run: int = 0
    address: ContainerAddress | None = None
    outlived_run: int = 0


def encode_record(record: ContainerRecord) -> bytes:
    """Return a record as it is stored."""
    return msgspec.msgpack.encode(record, enc_hook=enc_hook)


def decode_record(raw: bytes) -> ContainerRecord:
    """Return the record that `encode_record` made `raw` of. Raises ValueError with the reason why it is none."""
    try:
        return msgspec.msgpack.decode(raw, type=ContainerRecord, dec_hook=dec_hook)
    except (ValueError, RecursionError, msgspec.DecodeError) as error:
        raise ValueError(f"not a container record: {error}") from None
