import weakref

import pytest

from clusterf.lib.tracebacks import clear_frames


class Buffer:
    pass


def fail(kept):
    buffer = Buffer()
    kept.append(weakref.ref(buffer))
    raise OSError("inner")


@pytest.mark.parametrize("chained", ["itself", "cause", "context"])
def test_locals_of_the_frames_are_released(chained):
    kept, caught = [], None
    try:
        try:
            fail(kept)
        except OSError as error:
            if chained == "cause":
                raise ValueError("outer") from error
            if chained == "context":
                raise ValueError("outer")  # noqa: B904
            raise
    except (OSError, ValueError) as error:
        caught = error
    assert kept[0]() is not None
    clear_frames(caught)
    assert kept[0]() is None
