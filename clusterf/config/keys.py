"""From key paths to keys and back.

A key path is what follows the prefix in etcd, or the root of a file tree,
without a slash in front: `services/web/backends/1`.
"""

from clusterf.config.model import BackendKey, FrontendKey, HealthKey, Key, RouteKey, VipKey

__all__ = ["parse_key", "path_of"]


def parse_key(path: bytes) -> Key | None:
    """Return the key that `path` names, None if it names none."""
    match path.split(b"/"):
        case [b"services", service, b"backends", backend] if service and backend:
            return BackendKey(service, backend)
        case [b"services", service, b"frontend"] if service:
            return FrontendKey(service)
        case [b"services", service, b"health"] if service:
            return HealthKey(service)
        case [b"routes", route] if route:
            return RouteKey(route)
        case [b"vips", name] if name:
            return VipKey(name)
        case [b"health"]:
            return HealthKey(None)
        case _:
            return None


def path_of(key: Key) -> bytes:
    """Return the path of `key`, such that `parse_key(path_of(key)) == key`."""
    match key:
        case BackendKey(service, backend):
            return b"services/%b/backends/%b" % (service, backend)
        case FrontendKey(service):
            return b"services/%b/frontend" % service
        case HealthKey(service):
            return b"health" if service is None else b"services/%b/health" % service
        case RouteKey(route):
            return b"routes/%b" % route
        case VipKey(name):
            return b"vips/%b" % name
