"""All fuzz targets, by name. To add one: a module with `TARGETS`, a line here, and inputs in `corpus/NAME/`."""

from tests.fuzz import authorities, docker, etcd, http_probes, link, netlink, settings, state, tree, urls, values
from tests.fuzz.target import Target

__all__ = ["TARGETS"]

TARGETS: dict[str, Target] = {
    name: target
    for module in (authorities, values, etcd, tree, docker, netlink, http_probes, link, state, settings, urls)
    for name, target in module.TARGETS.items()
}
