"""What has to be remembered of a container because the engine does not tell it again.

That is which run of it was told to stop, and where it was when it last could
be reached. A node that starts again needs it too: a container that finishes
its requests looks like any other that runs.
"""

import msgspec

from clusterf.docker.addresses import ContainerAddress
from clusterf.lib.msgpack import dec_hook, enc_hook

__all__ = ["ContainerRecord", "decode_record", "encode_record"]


class ContainerRecord(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of one container.

    `ended` tells the run that was told to stop by when it started, as
    `Container.started_at` does; 0: none was. `place` is where the container
    was last, None: nowhere yet.
    """

    ended: int = 0
    place: ContainerAddress | None = None


def encode_record(mark: ContainerRecord) -> bytes:
    """Return a mark as it is kept on disk."""
    return msgspec.msgpack.encode(mark, enc_hook=enc_hook)


def decode_record(raw: bytes) -> ContainerRecord:
    """Return the mark that `encode_mark` made `raw` of. Raises ValueError with the reason why it is none."""
    try:
        return msgspec.msgpack.decode(raw, type=ContainerRecord, dec_hook=dec_hook)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a mark of a container: {error}") from None
