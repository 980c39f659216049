"""Several sources on top of each other: of equal keys, the object of the last source is in force."""

from clusterf.config.model import Key, RouteKey, Value

__all__ = ["Overlay"]


class Overlay:
    """The objects of each source, by key."""

    def __init__(self, routes_from: list[bool]) -> None:
        """`routes_from` has an element for each source, in order: whether routes are accepted from it."""
        self._routes_from = routes_from
        # a single source needs no memory: what it sets is in force
        self._layers: list[dict[Key, Value]] = [{} for _ in routes_from] if len(routes_from) > 1 else []
        self._latest_first = range(len(routes_from) - 1, -1, -1)

    def accepts(self, source: int, key: Key) -> bool:
        """Return whether `source` may set `key`."""
        return self._routes_from[source] or not isinstance(key, RouteKey)

    def put(self, source: int, key: Key, value: Value | None) -> tuple[Value | None, int]:
        """Set the value of `key` in `source`; None: it has none. Returns the value in force, and its source."""
        if not self._layers:
            return value, source
        if value is None:
            self._layers[source].pop(key, None)
        else:
            self._layers[source][key] = value
        of = next((number for number in self._latest_first if key in self._layers[number]), None)
        return (None, source) if of is None else (self._layers[of][key], of)
