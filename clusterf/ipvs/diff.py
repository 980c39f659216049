"""The steps between two tables."""

from collections.abc import Iterator

from clusterf.ipvs.table import Op, RealServer, RealServerSettings, Step, Table, VirtualServer, VirtualServerSettings

__all__ = ["diff", "real_step", "virtual_step"]


def diff(desired: Table, actual: Table) -> Iterator[Step]:
    """Yield the steps that turn `actual` into `desired`.

    Additions and edits come before removals, so that a service which exchanges
    all of its real servers, or its VIP, is never without one.
    """
    for virtual, settings in desired.virtuals.items():
        if step := virtual_step(virtual, settings, actual.virtuals.get(virtual)):
            yield step
        present = actual.reals.get(virtual, {})
        if desired.reals[virtual] == present:
            continue  # as for most, and comparing the whole is fast
        for real, wanted in desired.reals[virtual].items():
            if change := real_step(virtual, real, wanted, present.get(real)):
                yield change
    for virtual in actual.virtuals:
        if virtual not in desired.virtuals:
            yield Step(Op.REMOVE_VIRTUAL, virtual)
            continue
        kept = desired.reals[virtual]
        for real in actual.reals[virtual]:
            if real not in kept:
                yield Step(Op.REMOVE_REAL, virtual, real)


def virtual_step(
    virtual: VirtualServer, desired: VirtualServerSettings | None, actual: VirtualServerSettings | None
) -> Step | None:
    """Return the step that turns one virtual server's `actual` settings into `desired`, None if they are equal."""
    if desired == actual:
        return None
    if desired is None:
        return Step(Op.REMOVE_VIRTUAL, virtual)
    return Step(Op.ADD_VIRTUAL if actual is None else Op.EDIT_VIRTUAL, virtual, settings=desired)


def real_step(
    virtual: VirtualServer, real: RealServer, desired: RealServerSettings | None, actual: RealServerSettings | None
) -> Step | None:
    """Return the step that turns one real server's `actual` settings into `desired`, None if they are equal."""
    if desired == actual:
        return None
    if desired is None:
        return Step(Op.REMOVE_REAL, virtual, real)
    return Step(Op.ADD_REAL if actual is None else Op.EDIT_REAL, virtual, real, desired)
