"""Health checks from labels: one value for a key that several containers offer, that of the newest."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["CheckOffer", "CheckOffers"]


class CheckOffer(NamedTuple):
    """A value for a key, offered `by` a container started at `since`; the greatest of both wins, `since` first."""

    since: int
    by: str
    value: bytes


class CheckOffers:
    """The offers for each key, by container."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, dict[str, CheckOffer]] = {}
        self._keys_of: dict[str, frozenset[bytes]] = {}

    def replace(self, by: str, offers: Mapping[bytes, CheckOffer]) -> Iterable[bytes]:
        """Replace all offers of `by` with these; return the keys concerned."""
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

    def best(self, key: bytes) -> CheckOffer | None:
        """Return the offer that wins, None where there is none."""
        return max(self._by_key.get(key, {}).values(), default=None)

    def agree(self, key: bytes) -> bool:
        """Tell whether all offers for a key have the same value."""
        return len({offer.value for offer in self._by_key.get(key, {}).values()}) < 2
