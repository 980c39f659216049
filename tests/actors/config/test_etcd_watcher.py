import socket

from actors.base.messages import Ping
from actors.config.etcd_watcher import EtcdWatcher
from clusterf.etcd.location import EtcdCredentials, parse_location
from tests.waiting import wait_until

# with a real etcd: tests/system/etcd


def test_unreachable_etcd_is_logged_and_pings_are_answered(tmp_path, recorder_ref, recorder, caplog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"etcd://127.0.0.1:{unused.getsockname()[1]}/clusterf"
        watcher = EtcdWatcher.start(
            0, url, parse_location(url, EtcdCredentials()), tmp_path / "config.db", 300.0, recorder_ref
        )
        wait_until(lambda: "keeping the current state" in caplog.text or "retrying" in caplog.text)
        watcher.ask(Ping(), timeout=10)
        assert not recorder.syncs
        watcher.stop(timeout=10)
    assert not watcher.is_alive()
