"""Fixtures of links."""

import pytest

from tests.actors.support.local_links import LocalLinks


@pytest.fixture
def links():
    return LocalLinks()
