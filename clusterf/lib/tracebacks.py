"""Tracebacks keep local variables alive; these are released."""

import traceback

__all__ = ["clear_frames"]


def clear_frames(error: BaseException) -> None:
    """Clear the local variables of the frames of an error, of its cause and of its context.

    They often form a cycle with the error, so that sockets and buffers would
    stay until the garbage collector runs, which is late.
    """
    inner: BaseException | None = error
    while inner is not None:
        traceback.clear_frames(inner.__traceback__)
        inner = inner.__cause__ or inner.__context__
