from clusterf.docker.check_offers import CheckOffer, CheckOffers

OLD, NEW, SAME = CheckOffer(1, "a", b"x"), CheckOffer(2, "b", b"y"), CheckOffer(1, "c", b"x")


def test_the_offer_of_the_newest_counts():
    offers = CheckOffers()
    assert offers.best(b"k") is None
    offers.replace("b", {b"k": NEW})
    offers.replace("a", {b"k": OLD})
    assert offers.best(b"k") == NEW
    offers.replace("b", {})
    assert offers.best(b"k") == OLD


def test_among_those_of_one_age_it_is_always_the_same():
    for order in ([OLD, SAME], [SAME, OLD]):
        offers = CheckOffers()
        for offer in order:
            offers.replace(offer.by, {b"k": offer})
        assert offers.best(b"k") == SAME


def test_the_keys_concerned_are_those_before_and_after():
    offers = CheckOffers()
    assert set(offers.replace("a", {b"k": OLD, b"l": OLD})) == {b"k", b"l"}
    assert set(offers.replace("a", {b"l": OLD, b"m": OLD})) == {b"k", b"l", b"m"}
    assert offers.best(b"k") is None
    assert set(offers.replace("a", {})) == {b"l", b"m"}
    assert not set(offers.replace("a", {}))


def test_offers_agree_when_their_values_do():
    offers = CheckOffers()
    assert offers.agree(b"k")
    offers.replace("a", {b"k": OLD})
    offers.replace("c", {b"k": SAME})
    assert offers.agree(b"k")
    offers.replace("b", {b"k": NEW})
    assert not offers.agree(b"k")


def test_nothing_is_kept_of_who_offers_nothing():
    offers = CheckOffers()
    offers.replace("a", {b"k": OLD})
    offers.replace("a", {})
    assert (offers._by_key, offers._keys_of) == ({}, {})
