"""Fixtures of the config process."""

import pytest

from tests.actors.support.watched_tree import Watched


@pytest.fixture
def tree(tmp_path, recorder_ref):
    (tmp_path / "root").mkdir()
    return Watched(tmp_path / "root", tmp_path / "config.db", recorder_ref)
