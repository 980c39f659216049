from actors.link.messages import Pulse, Synced
from actors.link.published import FRAME, Published
from tests.actors.support.link import backend, deletion


def published(*messages, synced=True):
    published = Published()
    published.put(messages, synced=synced)
    return published


def test_new_view_gets_the_whole_state_and_then_synced():
    view = published(backend(1), backend(2)).add_view()
    assert view.waiting
    assert view.frame() == [backend(1), backend(2), Synced(2)]
    assert not view.waiting
    assert view.frame() == []


def test_state_that_is_not_complete_is_sent_without_synced():
    state = published(backend(1), synced=False)
    view = state.add_view()
    assert view.frame() == [backend(1)]
    state.put([], synced=True)
    assert view.frame() == [Synced(1)]
    state.put([backend(1, 5)], synced=False)
    assert view.frame() == [backend(1, 5)]


def test_only_the_newest_message_of_a_key_is_sent():
    state = published()
    view = state.add_view()
    view.frame()
    for weight in range(2, 100):
        state.put([backend(1, weight), backend(2, weight)], synced=True)
    assert view.frame() == [backend(1, 99), backend(2, 99)]


def test_unchanged_message_is_not_sent_again():
    state = published(backend(1))
    view = state.add_view()
    view.frame()
    state.put([backend(1), deletion(9)], synced=True)
    assert not view.waiting
    assert state.revision == 1


def test_deletion_is_sent_to_those_that_were_sent_the_key_only():
    state = published(backend(1))
    old = state.add_view()
    old.frame()
    new = state.add_view()
    state.put([deletion(1), backend(2), deletion(2)], synced=True)
    assert old.frame() == [deletion(1)]
    assert new.frame() == [Synced(4)]
    assert len(state) == 0


def test_synced_follows_the_last_of_several_frames():
    view = published(*map(backend, range(FRAME + 1))).add_view()
    assert len(view.frame()) == FRAME
    assert view.frame() == [backend(FRAME), Synced(FRAME + 1)]


def test_frame_of_exactly_the_state_has_synced():
    view = published(*map(backend, range(FRAME))).add_view()
    assert view.frame()[FRAME:] == [Synced(FRAME)]


def test_view_that_was_removed_collects_nothing():
    state = published()
    view = state.add_view()
    view.frame()
    state.remove_view(view)
    state.remove_view(view)
    state.put([backend(1)], synced=True)
    assert not view.pending


def test_pulse_follows_all_that_is_pending_for_those_that_know_the_whole_state():
    state = published(*map(backend, range(FRAME)))
    old = state.add_view()
    old.frame()
    new = state.add_view()
    state.pulse(1.0)
    state.put(map(backend, range(FRAME, 2 * FRAME + 1)), synced=True)
    state.pulse(2.0)
    assert len(old.frame()) == FRAME
    assert old.frame() == [backend(2 * FRAME), Pulse(2.0)]
    assert not old.waiting
    assert [new.frame()[-1] for _ in range(3)][2] == Synced(2 * FRAME + 1)
    assert not new.waiting
    state.pulse(3.0)
    assert new.waiting
    assert new.frame() == [Pulse(3.0)]
