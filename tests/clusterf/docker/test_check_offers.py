from clusterf.docker.check_offers import CheckOffer, CheckOffers

OLD, NEW, SAME = CheckOffer(1, "a", b"x"), CheckOffer(2, "b", b"y"), CheckOffer(1, "c", b"x")


def test_offer_of_the_newest_container_wins():
    offers = CheckOffers()
    assert offers.best(b"k") is None
    offers.replace("b", {b"k": NEW})
    offers.replace("a", {b"k": OLD})
    assert offers.best(b"k") == NEW
    offers.replace("b", {})
    assert offers.best(b"k") == OLD


def test_offers_of_the_same_age_are_ordered_by_container():
    for order in ([OLD, SAME], [SAME, OLD]):
        offers = CheckOffers()
        for offer in order:
            offers.replace(offer.by, {b"k": offer})
        assert offers.best(b"k") == SAME


def test_replacing_offers_concerns_their_old_and_new_keys():
    offers = CheckOffers()
    assert set(offers.replace("a", {b"k": OLD, b"l": OLD})) == {b"k", b"l"}
    assert set(offers.replace("a", {b"l": OLD, b"m": OLD})) == {b"k", b"l", b"m"}
    assert offers.best(b"k") is None
    assert set(offers.replace("a", {})) == {b"l", b"m"}
    assert not set(offers.replace("a", {}))


def test_offers_agree_if_their_values_are_equal():
    offers = CheckOffers()
    assert offers.agree(b"k")
    offers.replace("a", {b"k": OLD})
    offers.replace("c", {b"k": SAME})
    assert offers.agree(b"k")
    offers.replace("b", {b"k": NEW})
    assert not offers.agree(b"k")


def test_withdrawn_offers_leave_nothing_behind():
    offers = CheckOffers()
    offers.replace("a", {b"k": OLD})
    offers.replace("a", {})
    assert (offers._by_key, offers._keys_of) == ({}, {})
