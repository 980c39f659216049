import pytest

from clusterf.leases.claims import Claims, Rival
from clusterf.leases.leased_keys import LeasedKeys

BACKEND, ROUTE = b"services/web/backends/id", b"routes/id"
OTHER = 7  # a lease


class Node:
    """A node, `b`, that has written what it wants, but for what others have."""

    def __init__(self):
        self.keys = LeasedKeys()
        self.claims = Claims(self.keys, "b", lambda path: path + b"-b" if path.startswith(b"routes/") else None)

    def write(self, **refused):
        """Return what is written and deleted, while others have `refused`, by the last part of the path."""
        done = {}
        while (step := self.keys.next()) is not None:
            rivals = {path: refused[name] for path, _ in step.puts if (name := path.decode().split("/")[-1]) in refused}
            fine = [
                (path, value)
                for path, value in step.puts
                if path not in rivals or self.claims.over.get(path) == rivals[path].revision
            ]
            deletes = step.deletes if all(self.keys.is_written(path) for path, _ in step.puts) else []
            self.keys.done(step._replace(puts=fine, deletes=deletes))
            done |= dict(fine) | dict.fromkeys(deletes)
            for path, _ in fine:
                self.claims.done(path)
            for path, rival in rivals.items():
                self.claims.over.pop(path, None)
                if path not in dict(fine):
                    self.claims.refused(path, rival)
        return done


@pytest.fixture
def node():
    return Node()


def rival(value, revision=5):
    return Rival(OTHER, revision, value)


def test_what_nobody_else_has_is_published(node):
    node.claims.want_only({BACKEND: b"1", ROUTE: b"1"})
    assert node.write() == {BACKEND: b"1", ROUTE: b"1"}
    node.claims.want(ROUTE, None)
    assert node.write() == {ROUTE: None}
    assert not node.claims.rivals


def test_route_of_another_node_has_ours_beside_it(node):
    node.claims.want_only({ROUTE: b"ours"})
    assert node.write(id=rival(b"theirs")) == {ROUTE + b"-b": b"ours"}
    assert node.claims.renamed == {ROUTE: ROUTE + b"-b"}
    node.claims.want(ROUTE, b"new")
    assert node.write() == {ROUTE + b"-b": b"new"}
    node.claims.want_only({ROUTE: b"newer"})
    assert node.write() == {ROUTE + b"-b": b"newer"}
    node.claims.want(ROUTE, None)
    assert node.write() == {ROUTE + b"-b": None}
    assert not node.claims.renamed


def test_route_beside_another_goes_with_the_others(node):
    node.claims.want_only({ROUTE: b"ours"})
    node.write(id=rival(b"theirs"))
    node.claims.want_only({})
    assert node.write() == {ROUTE + b"-b": None}
    node.claims.want(ROUTE, b"ours")
    assert node.write() == {ROUTE: b"ours"}


@pytest.mark.parametrize("only", [False, True])
def test_route_of_a_node_with_our_name_has_ours_beside_it_until_that_is_no_longer_wanted(node, only):
    node.claims.want_only({ROUTE: b"ours"})
    rivals = {"id": rival(b"theirs"), "id-b": rival(b"another's")}
    assert node.write(**rivals) == {ROUTE + b"-b-b": b"ours"}
    node.claims.want(ROUTE, b"new")
    assert node.write(**rivals) == {ROUTE + b"-b-b": b"new"}
    node.claims.want_only({}) if only else node.claims.want(ROUTE, None)
    assert node.write() == {ROUTE + b"-b-b": None}


@pytest.mark.parametrize("only", [False, True])
def test_route_that_waits_under_our_name_waits_no_more_when_it_is_not_wanted(node, only):
    node.claims.want_only({ROUTE: b"ours"})
    assert node.write(**{"id": rival(b"theirs"), "id-b": rival(b"ours")}) == {}
    assert node.claims.rivals == {OTHER: [ROUTE + b"-b"]}
    node.claims.want_only({ROUTE: b"ours"})
    assert node.claims.rivals == {OTHER: [ROUTE + b"-b"]}
    node.claims.want_only({}) if only else node.claims.want(ROUTE, None)
    assert node.claims.rivals == {}
    node.claims.retry(all_of_them=True)
    assert node.write() == {}


def test_route_that_was_found_on_our_lease_beside_another_stays(node):
    node.keys.reset_written({ROUTE + b"-b": b"ours"})
    node.claims.want_only({ROUTE: b"ours"})
    assert node.write(id=rival(b"theirs")) == {}
    assert node.keys.wanted == {ROUTE + b"-b": b"ours"}


@pytest.mark.parametrize("path", [BACKEND, ROUTE])
def test_key_that_has_our_value_is_left_to_the_other_node_until_its_value_changes(node, path):
    node.claims.want_only({path: b"ours"})
    assert node.write(id=rival(b"ours")) == {}
    assert node.claims.rivals == {OTHER: [path]}
    node.claims.want(path, b"ours")
    assert node.write() == {}
    node.claims.want(path, b"new")
    assert node.write() == {path: b"new"}


def test_backend_of_another_publisher_waits_until_that_is_gone_or_late(node):
    node.claims.want_only({BACKEND: b"ours"})
    assert node.write(id=rival(b'{"publisher": "a"}')) == {}
    assert node.claims.publishers(()) == {"a": OTHER}
    node.claims.want(BACKEND, b"new")
    assert node.write(id=rival(b'{"publisher": "a"}', 6)) == {}
    assert node.claims.late(8) == []
    assert node.claims.late(OTHER) == [BACKEND]
    assert node.write(id=rival(b"", 6)) == {BACKEND: b"new"}
    node.claims.taken(BACKEND)
    node.keys.reset_written()
    assert node.write(id=rival(b'{"publisher": "a"}')) == {}
    node.claims.freed([BACKEND, b"more"])
    assert node.claims.has_freed
    node.claims.retry()
    assert node.write() == {}, "it may be about to go here, too"
    node.claims.retry()
    assert node.write() == {BACKEND: b"new"}


def test_key_on_a_lease_that_was_ours_is_moved_from_it(node):
    node.claims.former.add(OTHER)
    node.claims.want_only({BACKEND: b"ours", ROUTE: b"ours"})
    assert node.write(id=rival(b'{"publisher": "a"}')) == {BACKEND: b"ours", ROUTE: b"ours"}


@pytest.mark.parametrize(("namesakes", "publishers"), [((), {}), ((OTHER,), {"b": OTHER})])
def test_node_with_our_name_is_one_of_those_we_wait_for_once_it_is_known_to_live(node, namesakes, publishers):
    value = b'{"publisher": "b"}'
    node.claims.want_only({BACKEND: value})
    assert node.write(id=rival(value)) == {}
    assert node.claims.publishers(namesakes) == publishers


def test_late_node_that_comes_back_meanwhile_keeps_its_key(node):
    node.claims.want_only({BACKEND: b"ours"})
    node.write(id=rival(b'{"publisher": "a"}'))
    node.claims.late(OTHER)
    assert node.write(id=rival(b'{"publisher": "a"}', 6)) == {}
    assert node.claims.rivals == {OTHER: [BACKEND]}


@pytest.mark.parametrize("theirs", [b'{"publisher": "b"}', b"{}", b"not JSON", b"[1]"])
def test_backend_of_an_earlier_run_of_ours_is_written_over_unless_it_was_just_taken_from_us(node, theirs):
    node.claims.want_only({BACKEND: b"ours"})
    assert node.write(id=rival(theirs)) == {BACKEND: b"ours"}
    node.claims.taken(BACKEND)
    node.keys.reset_written()
    assert node.write(id=rival(theirs)) == {}
    node.claims.want_only({BACKEND: b"new"})
    assert node.write(id=rival(theirs)) == {}


@pytest.mark.parametrize("path", [BACKEND, ROUTE])
def test_key_that_is_no_longer_wanted_does_not_wait(node, path):
    node.claims.want_only({path: b"ours"})
    node.write(id=rival(b"ours"))
    node.claims.want(path, None)
    assert node.claims.rivals == {}
    node.claims.freed([path])
    assert not node.claims.has_freed
    node.claims.want(path, b"ours")
    node.write(id=rival(b"ours"))
    node.claims.want_only({})
    assert node.write() == {}
    assert node.claims.rivals == {}


def test_all_keys_that_wait_stay_so_when_they_are_all_wanted_again(node):
    node.claims.want_only({BACKEND: b"ours", ROUTE: b"ours"})
    node.write(id=rival(b"ours"))
    node.claims.want_only({BACKEND: b"ours", ROUTE: b"ours", b"more": b"1"})
    assert node.write() == {b"more": b"1"}
    assert node.claims.rivals == {OTHER: [BACKEND, ROUTE]}


def test_whatever_waits_is_tried_again_when_all_is(node):
    node.claims.want_only({BACKEND: b"ours", ROUTE: b"ours"})
    node.write(id=rival(b"ours"))
    node.claims.retry(all_of_them=True)
    assert node.write() == {BACKEND: b"ours", ROUTE: b"ours"}


def test_refusal_of_what_is_no_longer_wanted_means_nothing(node):
    node.claims.refused(BACKEND, rival(b""))
    assert node.write() == {}
    assert not node.claims.rivals
