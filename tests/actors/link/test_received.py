import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.link import received
from actors.link.messages import (
    AuthoritiesAre,
    AuthoritiesKey,
    ProblemsAre,
    ProblemsKey,
    Synced,
    VerdictIs,
    deletion_of,
    is_deletion,
)
from actors.link.published import Published
from actors.link.received import ReceivedKeys
from clusterf.config.keys import path_of
from clusterf.config.problems import Problem
from clusterf.health.authorities import Authorities
from clusterf.health.verdict import Verdict, VerdictKey
from clusterf.lib.addresses import parse_endpoint
from tests.actors.support.link import backend, deletion, state_of

AT = parse_endpoint("10.0.0.1:80")


def verdict(number, length):
    return VerdictIs(VerdictKey(b"x" * length, b"%010d" % number, AT), Verdict(up=True, since=0.0))


def test_messages_are_passed_on_as_they_are():
    keys = ReceivedKeys()
    assert keys.receive([backend(1), Synced(1), deletion(1)]) == (backend(1), Synced(1), deletion(1))


def test_keys_that_a_new_connection_does_not_repeat_are_deleted_before_synced():
    keys = ReceivedKeys()
    keys.receive([backend(1), backend(2), Synced(2)])
    keys.connected()
    assert keys.receive([backend(1, 5)]) == (backend(1, 5),)
    assert keys.receive([Synced(1)]) == (deletion(2), Synced(1))


def test_keys_of_connections_that_were_never_synced_are_deleted_too():
    keys = ReceivedKeys()
    for number in (1, 2):
        keys.connected()
        keys.receive([backend(number)])
    keys.connected()
    *gone, last = keys.receive([Synced(0)])
    assert set(gone) == {deletion(1), deletion(2)}
    assert last == Synced(0)


def test_key_that_the_new_connection_deletes_itself_is_deleted_once():
    keys = ReceivedKeys()
    keys.receive([backend(1), Synced(1)])
    keys.connected()
    assert keys.receive([deletion(1), Synced(1)]) == (deletion(1), Synced(1))


def test_authorities_are_gone_also_while_a_whole_source_is_unreadable():
    keys = ReceivedKeys()
    named = AuthoritiesAre(AuthoritiesKey("/ca.pem"), Authorities("pem"))
    keys.receive([backend(1), named, Synced(1)])
    keys.connected()
    assert keys.receive([problems(b""), Synced(1)]) == (problems(b""), deletion_of(named.key), Synced(1))


def test_second_synced_of_a_connection_deletes_nothing():
    keys = ReceivedKeys()
    keys.receive([backend(1), Synced(1), backend(2)])
    assert keys.receive([Synced(2)]) == (Synced(2),)


def problems(path, *, fatal=True):
    key = ProblemsKey("etcd://h", path)
    return ProblemsAre(key, (Problem("etcd://h", path, "", "bad", fatal=fatal),))


PATH = path_of(backend(1).key)


@pytest.mark.parametrize("path", [PATH, PATH.rpartition(b"/")[0], b""])
def test_key_whose_value_is_invalid_or_unreadable_is_not_gone_until_that_ends(path):
    keys = ReceivedKeys()
    keys.receive([backend(1), Synced(1)])
    keys.connected()
    assert keys.receive([problems(path), Synced(1)]) == (problems(path), Synced(1))
    ended = deletion_of(problems(path).key)
    assert keys.receive([ended]) == (deletion(1), ended)
    assert keys.receive([ended]) == (ended,)


def test_key_with_two_problems_is_not_gone_until_both_have_ended():
    keys = ReceivedKeys()
    keys.receive([backend(1), Synced(1)])
    keys.connected()
    keys.receive([problems(PATH), problems(b"services"), Synced(1)])
    first, second = (deletion_of(problems(path).key) for path in (b"services", PATH))
    assert keys.receive([first]) == (first,)
    assert keys.receive([second]) == (deletion(1), second)


def test_value_that_is_invalid_when_it_is_put_right_is_not_deleted():
    keys = ReceivedKeys()
    keys.receive([backend(1), Synced(1)])
    keys.connected()
    keys.receive([problems(PATH), Synced(1)])
    ended = deletion_of(problems(PATH).key)
    assert keys.receive([backend(1, 5), ended]) == (backend(1, 5), ended)


def test_key_that_is_kept_is_gone_if_the_next_connection_says_nothing_of_it():
    keys = ReceivedKeys()
    keys.receive([backend(1), Synced(1)])
    for _ in range(2):
        keys.connected()
        assert keys.receive([problems(PATH), Synced(1)]) == (problems(PATH), Synced(1))
    keys.connected()
    *gone, last = keys.receive([Synced(0)])
    assert set(gone) == {deletion(1), deletion_of(problems(PATH).key)}
    assert last == Synced(0)


@pytest.mark.parametrize("problem", [problems(PATH, fatal=False), problems(b"services/other")])
def test_other_problems_keep_no_key(problem):
    keys = ReceivedKeys()
    keys.receive([backend(1), Synced(1)])
    keys.connected()
    assert keys.receive([problem, Synced(1)]) == (problem, deletion(1), Synced(1))


class _Ends:
    """A publisher and a subscriber in one: frames go straight from one to the other."""

    def __init__(self):
        self.published = Published()
        self.view = self.published.add_view()
        self.keys = ReceivedKeys()
        self.state = {}

    def connect(self, *, crashed):
        """Replace the connection; `crashed`: the publisher, too, by one that knows nothing yet."""
        self.published.remove_view(self.view)
        if crashed:
            self.published = Published()
        self.view = self.published.add_view()
        self.keys.connected()

    def pass_on(self):
        for message in self.keys.receive(self.view.frame()):
            if isinstance(message, Synced):
                continue
            if is_deletion(message):
                self.state.pop(message.key, None)
            else:
                self.state[message.key] = message


_numbers = st.integers(0, 4)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _numbers, st.integers(1, 3)),
        st.tuples(st.just("delete"), _numbers, st.just(0)),
        st.tuples(st.sampled_from(["pass on", "reconnect", "crash"]), st.just(0), st.just(0)),
    ),
    max_size=30,
)


@given(_steps)
def test_both_ends_are_equal_in_the_end_whatever_was_lost(steps):
    ends = _Ends()
    for kind, number, weight in steps:
        match kind:
            case "put":
                ends.published.put([backend(number, weight)], synced=False)
            case "delete":
                ends.published.put([deletion(number)], synced=False)
            case "pass on":
                ends.pass_on()
            case _:
                ends.connect(crashed=kind == "crash")
    ends.published.put([], synced=True)
    while ends.view.waiting:
        ends.pass_on()
    assert ends.state == ends.published.messages == state_of(*ends.published.messages.values())


def test_names_of_verdicts_are_limited(monkeypatch):
    monkeypatch.setattr(received, "MOST_NAMES", 1000)
    keys = ReceivedKeys()
    keys.receive([verdict(number, 90) for number in range(10)])
    keys.receive([verdict(number, 90) for number in range(10)])  # the same ones
    keys.connected()
    keys.receive([verdict(1, 90), Synced(1)])  # the others are gone
    keys.receive([verdict(number, 90) for number in range(20, 29)])
    with pytest.raises(OSError, match="more than 1000 bytes of names"):
        keys.receive([verdict(30, 1)])
