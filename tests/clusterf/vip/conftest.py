import pytest

from tests.clusterf.support.vip_keeping import Keeping


@pytest.fixture
def keeping(tmp_path):
    return Keeping(tmp_path / "ipvs.db")


@pytest.fixture(autouse=True)
def _all_levels(caplog):
    caplog.set_level("INFO")
