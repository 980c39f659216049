import pytest

from actors.supervision.control import Finished, Flushed, LinkLost, Pong
from actors.supervision.permits import permits
from tests.actors.support.some_settings import some_settings

CHILDREN = ("config", "health", "health2", "docker", "director")


@pytest.mark.parametrize("name", CHILDREN)
def test_every_child_may_reply_and_report_lost_links(name):
    assert permits(name, Pong(), some_settings())
    assert permits(name, LinkLost("config", 1), some_settings())


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("status", [0, 1, 3])
@pytest.mark.parametrize("name", CHILDREN)
def test_only_the_director_may_end_the_node_and_without_once_only_as_it_cannot_work(name, status, once):
    assert permits(name, Finished(status), some_settings(once=once)) is (name == "director" and (once or status == 1))


@pytest.mark.parametrize("name", CHILDREN)
def test_only_the_director_flushes(name):
    assert permits(name, Flushed(), some_settings()) is (name == "director")
