"""The etcd that followers follow in these tests."""

import pytest

from clusterf.etcd import endpoints, watch_reader
from tests.clusterf.support.fake_etcd import FakeClient, FakeEtcd


@pytest.fixture
def etcd(monkeypatch):
    """An etcd in memory, of which every client is one."""
    monkeypatch.setattr(endpoints, "Client", FakeClient)
    FakeClient.etcd = FakeEtcd()
    return FakeClient.etcd


@pytest.fixture
def quick(etcd, monkeypatch):
    """Have followers see soon that they are to reload or to stop."""
    monkeypatch.setattr(watch_reader, "PAUSE", 0.01)
