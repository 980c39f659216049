"""One value for a key that many may offer: that of the newest counts."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["CheckOffers", "Offer"]


class Offer(NamedTuple):
    """A value for a key; the one with the greatest `since`, then the greatest `by`, counts."""

    since: int
    by: str
    value: bytes


class CheckOffers:
    """What is offered for each key, by whom."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, dict[str, Offer]] = {}
        self._keys_of: dict[str, frozenset[bytes]] = {}

    def replace(self, by: str, offers: Mapping[bytes, Offer]) -> Iterable[bytes]:
        """Take these for all that `by` offers; return the keys concerned."""
        before = self._keys_of.pop(by, frozenset())
        for key in before - offers.keys():
            rest = self._by_key[key]
            del rest[by]
            if not rest:
                del self._by_key[key]
        for key, offer in offers.items():
            self._by_key.setdefault(key, {})[by] = offer
        if offers:
            self._keys_of[by] = frozenset(offers)
        return before | offers.keys()

    def best(self, key: bytes) -> Offer | None:
        """Return the offer that counts, None where there is none."""
        return max(self._by_key.get(key, {}).values(), default=None)

    def agree(self, key: bytes) -> bool:
        """Tell whether all who offer a value offer the same."""
        return len({offer.value for offer in self._by_key.get(key, {}).values()}) < 2
