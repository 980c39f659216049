"""From a whole configuration to the whole table, in one step and without actors."""

from collections.abc import Mapping

from clusterf.config.model import Key, Value
from clusterf.config.problems import Problem, ProblemsOf
from clusterf.director.merger import Merger, RealServerWanted, VirtualServerWanted
from clusterf.ipvs.table import Table
from clusterf.resolve.resolver import Resolver
from clusterf.resolve.virtual_servers import Defaults

__all__ = ["build"]


def build(objects: Mapping[Key, Value], defaults: Defaults, *, elide: bool = False) -> tuple[Table, list[Problem]]:
    """Return the table of `objects` when all backends are up, and the conflicts between them."""
    resolver, merger, table = Resolver(defaults), Merger(elide=elide), Table()
    for key, value in objects.items():
        resolver.update(key, value)
    for item in resolver.flush():
        merger.update(item)
    problems: list[Problem] = []
    for result in merger.flush():
        match result:
            case VirtualServerWanted(virtual, claim):
                table.put_virtual(virtual, claim.settings if claim else None)
            case RealServerWanted(virtual, real, settings):
                table.put_real(virtual, real, settings)
            case ProblemsOf(_, found):
                problems.extend(found)
    return table, problems
