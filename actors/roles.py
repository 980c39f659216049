"""Which processes the roles of a node call for."""

from collections.abc import Sequence

__all__ = ["children_of"]


def children_of(roles: Sequence[str]) -> list[str]:
    """Return the names of the processes, which `actors.node` wires, in the order of the data flow."""
    return ["config", "director"] if "ipvs" in roles else ["config"]
