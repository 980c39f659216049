"""A noop log is replayed as the documentation says; nothing that etcd, a tree or a kernel says gets in its way."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clusterf.support.hostile_etcd import HOSTILE, lying
from tests.system.support.netns import network_namespace
from tests.system.support.node import Node, Tree, saved, table

pytestmark = pytest.mark.ipvs

OPERATIONS = Path(__file__).parents[3] / "docs/operations.md"
TABLE = """\
-A -f 7 -6 -s mh -b mh-fallback,mh-port
-A -t 10.1.0.1:80 -s wlc -p 300 -M 255.255.255.0
-A -u [fd00:1::1]:53 -s wlc
-a -f 7 -6 -r [fd00:3::1]:0 -i -w 10 --tun-type ipip
-a -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 10
-a -u [fd00:1::1]:53 -r [fd00:3::1]:53 -i -w 10 --tun-type ipip
"""


class Etcd(NamedTuple):
    url: str


def recipe(log: Path) -> str:
    """Return the command of the documentation that replays a noop log."""
    (found,) = re.findall(r"^    (sed .* LOG .*)$", OPERATIONS.read_text(), re.MULTILINE)
    return found.replace("LOG", str(log))


def configure(tree: Tree, owned: Path) -> None:
    persistence = {"timeout": 300, "netmask": "255.255.255.0"}
    web = {"ipv4": "10.1.0.1", "tcp": 80, "persistence": persistence}
    tree.service("web", web, b={"ipv4": "10.3.0.1", "tcp": 80, "upper_threshold": 9, "lower_threshold": 3})
    tree.service("dns", {"ipv6": "fd00:1::1", "udp": 53}, b={"ipv6": "fd00:3::1", "udp": 53})
    marked = {"fwmark": 7, "scheduler": "mh", "scheduler_flags": ["mh-fallback", "mh-port"], "ipv6": "fd00:1::7"}
    tree.service("marked", marked, b={"ipv6": "fd00:3::1"})
    tree.put("routes/six", {"prefix": "fd00:3::/64", "ipvsmethod": "tunnel"})
    hostile = HOSTILE.replace("/tmp/owned", str(owned))
    for number, value in enumerate(
        ({"scheduler": hostile}, {hostile: 1, "scheduler": "no"}, {"ipv4": hostile}, {"tcp": hostile})
    ):
        tree.put(f"services/bad{number}/frontend", {"ipv4": "10.1.0.9", "tcp": 9, **value})
    tree.put(f"services/x\nipvs noop: touch {owned.name}\n/frontend", {"scheduler": 1})


def dummy() -> None:
    for words in ("link add eth9 type dummy", "link set eth9 up multicast on", "address add 10.9.9.1/24 dev eth9"):
        subprocess.run(["ip", *words.split()], check=True)


def test_recipe_replays_a_noop_log_and_runs_nothing_that_came_from_outside(
    namespace: None, tmp_path: Path, tree: Tree
) -> None:
    owned = tmp_path / "owned"
    configure(tree, owned)
    dummy()
    log = tmp_path / "log"
    with lying(HOSTILE.replace("/tmp/owned", str(owned))) as endpoint:
        flags = ["--noop", "--flush", "--ipvs-sync", "both:eth9:7", "--ipvs-sysctl", "on", "--vip-interface", "eth9"]
        node = Node(tmp_path, tree, Etcd(f"etcd://{endpoint}/clusterf"), flags=flags)
        with node:
            node.wait_for(lambda: node.tables[-1:] == [table(TABLE)])
            node.wait_for_log("permission_denied: sorry")
            node.wait_for_log("watch: sorry")
            node.wait_for_log("--start-daemon backup")
            node.wait_for_log("ip address add")
    lines = log.read_text().split("\n")
    commands = [line.split()[2] for line in lines if line.startswith("ipvs noop:")]
    assert set(commands) <= {"ipvsadm", "sysctl", "ip"}

    with network_namespace():
        dummy()
        done = subprocess.run(["sh", "-c", recipe(log)], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert saved() == table(TABLE)
        daemons = subprocess.run(["ipvsadm", "-l", "--daemon"], capture_output=True, text=True, check=True).stdout
        assert re.findall(r"^(\w+) sync daemon \(mcast=eth9, syncid=7", daemons, re.MULTILINE) == ["master", "backup"]
    assert not owned.exists()


def test_recipe_runs_nothing_even_of_a_log_that_is_a_fake(namespace: None, tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    log = tmp_path / "log"
    fakes = (
        "; touch {}",
        "$(touch {})",
        "`touch {}`",
        "-A -t 10.1.0.1:80 -s rr; touch {}",
        "| touch {}",
        "&& touch {}",
    )
    for fake in fakes:
        log.write_text(f"ipvs noop: touch {owned}\nipvs noop: ipvsadm {fake.format(owned)}\n")
        subprocess.run(["sh", "-c", recipe(log)], capture_output=True, check=False)
    assert not owned.exists()
