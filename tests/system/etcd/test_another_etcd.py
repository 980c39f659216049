"""Another etcd answers at the same address: an empty one, or one that was restored from a backup."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.etcd import EtcdCluster
from tests.system.support.etcd_config import SERVICES, Config, EtcdNode, etcd_node

OTHER_CLUSTER = "another etcd cluster answers"
WENT_BACK = "the revision of etcd went back from"
LACKS_KEYS = "the history of etcd lacks keys"
HOLDING = "holding removals until that ends, or until clusterf config confirm"
BACK = "the known etcd cluster is back: no longer holding removals"
CONFIRMED = "confirmed: no longer holding removals"


class Replaceable:
    """An etcd with a configuration, an older backup of it, and a node that has followed it."""

    def __init__(self, cluster: EtcdCluster, folder: Path) -> None:
        self.cluster = cluster
        self.backup, self.last = folder / "backup", folder / "last"
        self.config = Config(cluster, "clusterf")
        self.config.change(*SERVICES[:5])
        cluster.save(self.backup)
        self.config.change(*SERVICES)
        for weight in range(1, 11):
            self.config.change((1, 1, weight))
        self.node = etcd_node(folder / "node", cluster.url())
        with self.node as node:
            node.wait_for_shadow(self.config.table)
        cluster.save(self.last)
        cluster.kill()

    def new_cluster(self) -> str:
        """Start an empty etcd with another cluster id."""
        self.cluster.start(wipe=True, token="other")
        return OTHER_CLUSTER

    def empty(self) -> str:
        """Start an empty etcd with the same cluster id."""
        self.cluster.start(wipe=True)
        return WENT_BACK

    def restored(self) -> str:
        """Start the backup."""
        self.cluster.restore(self.backup)
        self.cluster.start()
        return WENT_BACK

    def restored_and_changed(self) -> str:
        """Start the backup, and change it until its revision is higher than ever."""
        self.cluster.restore(self.backup)
        self.cluster.start()
        for _ in range(50):
            self.cluster.ctl("put", "elsewhere", "")
        return LACKS_KEYS

    def bring_back(self) -> None:
        """Have the known etcd answer again."""
        self.cluster.kill()
        self.cluster.restore(self.last)
        self.cluster.start()


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Replaceable]:
    """An etcd that does not run, and its node, which does not run either."""
    with EtcdCluster(tmp_path / "etcd") as cluster:
        yield Replaceable(cluster, tmp_path)


REPLACEMENTS = [Replaceable.new_cluster, Replaceable.empty, Replaceable.restored, Replaceable.restored_and_changed]


def confirm(node: EtcdNode) -> None:
    """Do as `clusterf config confirm` does."""
    node.send(signal.SIGUSR2)


@pytest.mark.parametrize("replace", REPLACEMENTS)
def test_node_that_starts_keeps_what_the_known_etcd_had_until_it_is_confirmed(
    etcd: Replaceable, replace: Callable[[Replaceable], str]
) -> None:
    reason = replace(etcd)
    etcd.config.change((7, 1, 1))
    for run in range(2):
        with etcd.node as node:
            node.wait_for_log(f"{reason}.*{HOLDING}")
            node.wait_for_shadow(etcd.config.table)
            assert node.deletions == []
            if run == 0:
                node.kill("config")
                node.wait_for_log(HOLDING, 2)
                etcd.config.change((7, 1, 2))
                node.wait_for_shadow(etcd.config.table)
            else:
                confirm(node)
                node.wait_for_log(CONFIRMED)
                etcd.config.services = {7: {1: 2}} if reason in (OTHER_CLUSTER, WENT_BACK) else {}
                if replace in (Replaceable.restored, Replaceable.restored_and_changed):
                    etcd.config.services = {1: dict.fromkeys(range(1, 6), 10), 7: {1: 2}}
                node.wait_for_shadow(etcd.config.table)
    with etcd.node as node:
        node.wait_for_shadow(etcd.config.table)
        assert HOLDING not in node.log


@pytest.mark.parametrize("replace", REPLACEMENTS[:3])
def test_doubt_ends_when_the_known_etcd_is_back(etcd: Replaceable, replace: Callable[[Replaceable], str]) -> None:
    reason = replace(etcd)
    with etcd.node as node:
        node.wait_for_log(f"{reason}.*{HOLDING}")
        node.wait_for_shadow(etcd.config.table)
        etcd.bring_back()
        node.wait_for_log(BACK)
        etcd.config.change((1, 1, None))
        node.wait_for_shadow(etcd.config.table)
    with etcd.node as node:
        node.wait_for_shadow(etcd.config.table)
        assert HOLDING not in node.log


@pytest.mark.parametrize("replace", REPLACEMENTS)
def test_running_node_reports_the_doubt_once_and_applies_additions(
    etcd: Replaceable, replace: Callable[[Replaceable], str]
) -> None:
    etcd.cluster.start()
    with etcd.node as node:
        node.wait_for_shadow(etcd.config.table)
        node.pause()
        etcd.cluster.kill()
        reason = replace(etcd)
        etcd.config.change((7, 1, 1))
        node.resume()
        node.wait_for_log(f"{reason}.*{HOLDING}")
        added = "-a -t 10.107.0.7:80 -r 10.7.0.1:80 -m -w 1"
        node.wait_for(lambda: node.tables and added in node.tables[-1])
        assert node.log.count(HOLDING) == 1
