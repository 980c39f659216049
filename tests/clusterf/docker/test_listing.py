from clusterf.docker.inventory import Inspection
from clusterf.docker.listing import Listing

C1, C2 = Inspection("container", "c1"), Inspection("container", "c2")


def test_first_list_is_due_at_once_and_the_next_after_the_interval():
    listing = Listing(600)
    assert listing.wait == 0
    listing.begin()
    assert 300 < listing.wait < 900


def test_list_can_be_hastened_but_not_put_off():
    listing = Listing(600)
    listing.begin()
    listing.hasten(20)
    assert 10 < listing.wait <= 20
    listing.hasten(100)
    assert listing.wait <= 20
    listing.hasten()
    assert listing.wait == 0


def test_list_is_complete_once_answered_and_inspected():
    listing = Listing(600)
    assert not listing.complete()
    listing.begin()
    assert not listing.complete()
    listing.answer(["c1", "c2", "plain"], [C1, C2])
    listing.inspected(C1)
    assert not listing.complete()
    assert not listing.completed
    listing.inspected(C2)
    assert listing.complete()
    assert listing.completed


def test_list_completes_once():
    listing = Listing(600)
    listing.begin()
    listing.answer([], [])
    assert listing.complete()
    listing.inspected(C1)
    assert not listing.complete()


def test_inspection_before_the_answer_does_not_complete_a_list():
    listing = Listing(600)
    listing.begin()
    listing.inspecting(C1)
    listing.inspected(C1)
    assert not listing.complete()


def test_containers_inspected_since_the_list_began_are_present():
    listing = Listing(600)
    listing.begin()
    listing.inspecting(C2)
    listing.answer(["c1"], [C1])
    assert listing.present == {"c1", "c2"}
    listing.begin()
    assert listing.present == set()


def test_new_list_abandons_the_one_under_way():
    listing = Listing(600)
    listing.begin()
    listing.answer(["c1"], [C1])
    listing.begin()
    listing.inspected(C1)
    assert not listing.complete()
    listing.answer(["c2"], [])
    assert listing.complete()
    assert listing.present == {"c2"}
