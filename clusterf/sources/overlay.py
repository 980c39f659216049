"""Several sources on top of each other: of equal keys the latest source's object is in force."""

from clusterf.config.model import Key, RouteKey, Value

__all__ = ["Overlay"]


class Overlay:
    """The objects of each source, by key."""

    def __init__(self, routes_from: list[bool]) -> None:
        """Lay as many sources on top of each other as `routes_from` tells of whether their routes count."""
        self._routes_from = routes_from
        # one source alone needs no memory of what it said: that is in force
        self._layers: list[dict[Key, Value]] = [{} for _ in routes_from] if len(routes_from) > 1 else []

    def takes(self, source: int, key: Key) -> bool:
        """Tell whether what `source` says of `key` counts at all."""
        return self._routes_from[source] or not isinstance(key, RouteKey)

    def put(self, source: int, key: Key, value: Value | None) -> Value | None:
        """Take what `source` says of `key`, None: nothing; return the value that is in force."""
        if not self._layers:
            return value
        if value is None:
            self._layers[source].pop(key, None)
        else:
            self._layers[source][key] = value
        return next((layer[key] for layer in reversed(self._layers) if key in layer), None)
