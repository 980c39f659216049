"""Which processes the roles of a node call for."""

from clusterf.settings import Settings

__all__ = ["children_of"]


def children_of(settings: Settings) -> list[str]:
    """Return the names of the processes, which `actors.node` wires, in the order of the data flow."""
    director = ["config", *settings.health_names(), "director"] if "ipvs" in settings.roles else []
    return [*director, "docker"] if "docker" in settings.roles else director
