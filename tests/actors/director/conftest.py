import pytest

from tests.actors.support.fake_kernel import FakeKernel
from tests.actors.support.writing import Writing


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level("INFO")


@pytest.fixture
def kernel():
    return FakeKernel()


@pytest.fixture
def writing(kernel, tmp_path):
    return Writing(kernel, tmp_path / "ipvs.db")
