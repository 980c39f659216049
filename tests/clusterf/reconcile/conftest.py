import pytest

from clusterf.lib.store import Store


@pytest.fixture
def store(tmp_path):
    """A store of what is ours."""
    store = Store(tmp_path / "ipvs.db")
    yield store
    store.close()
