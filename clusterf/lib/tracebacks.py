"""What errors keep alive."""

import traceback

__all__ = ["clear_frames"]


def clear_frames(error: BaseException) -> None:
    """Let go of what the frames of an error, and of those behind it, refer to.

    That is often a cycle with the error in it, so that sockets and buffers
    would wait for a collection of garbage, which comes late.
    """
    inner: BaseException | None = error
    while inner is not None:
        traceback.clear_frames(inner.__traceback__)
        inner = inner.__cause__ or inner.__context__
