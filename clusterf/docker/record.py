"""What has to be remembered of a container because the engine does not tell it again.

That is which run of it was told to stop, and where it was when it last could
be reached. A node that starts again needs it too: a container that finishes
its requests looks like any other that runs.
"""

import msgspec

from clusterf.docker.addresses import Place
from clusterf.lib.msgpack import dec_hook, enc_hook

__all__ = ["Mark", "decode_mark", "encode_mark"]


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of one container.

    `ended` tells the run that was told to stop by when it started, as
    `Container.started_at` does; 0: none was. `place` is where the container
    was last, None: nowhere yet.
    """

    ended: int = 0
    place: Place | None = None


def encode_mark(mark: Mark) -> bytes:
    """Return a mark as it is kept on disk."""
    return msgspec.msgpack.encode(mark, enc_hook=enc_hook)


def decode_mark(raw: bytes) -> Mark:
    """Return the mark that `encode_mark` made `raw` of. Raises ValueError with the reason why it is none."""
    try:
        return msgspec.msgpack.decode(raw, type=Mark, dec_hook=dec_hook)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a mark of a container: {error}") from None
