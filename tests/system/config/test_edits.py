"""Edits of the configuration while the node runs: each writes just what it changes."""

from collections.abc import Iterator

import pytest

from tests.system.support.node import Node, Tree, ipvsadm, saved

pytestmark = pytest.mark.ipvs

WEB = {"ipv4": "10.1.0.1", "tcp": 80}
BACKENDS = {f"b{n}": {"ipv4": f"10.3.0.{n}", "tcp": 80} for n in range(1, 4)}
TABLE = """\
-A -t 10.1.0.1:80 -s wlc
-a -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 10
-a -t 10.1.0.1:80 -r 10.3.0.2:80 -m -w 10
-a -t 10.1.0.1:80 -r 10.3.0.3:80 -m -w 10
"""


@pytest.fixture
def web(live: tuple[Node, Tree]) -> Iterator[tuple[Node, Tree]]:
    """A running node with a service `web` of three backends."""
    node, tree = live
    tree.service("web", WEB, **BACKENDS)
    node.wait_for_table(TABLE)
    node.forget()
    yield node, tree
    assert node.tables[-1] == saved()


def test_weight_is_edited(web: tuple[Node, Tree]) -> None:
    node, tree = web

    tree.put("services/web/backends/b2", {**BACKENDS["b2"], "weight": 7})

    node.wait_for_table(TABLE.replace("10.3.0.2:80 -m -w 10", "10.3.0.2:80 -m -w 7"))
    assert node.operations == ["ipvsadm -e -t 10.1.0.1:80 -r 10.3.0.2:80 -m -w 7"]


def test_changed_port_adds_a_real_server_before_the_old_one_is_removed(web: tuple[Node, Tree]) -> None:
    node, tree = web

    tree.put("services/web/backends/b2", {**BACKENDS["b2"], "tcp": 81})

    node.wait_for_table(TABLE.replace("10.3.0.2:80", "10.3.0.2:81"))
    assert node.operations == [
        "ipvsadm -a -t 10.1.0.1:80 -r 10.3.0.2:81 -m -w 10",
        "ipvsadm -d -t 10.1.0.1:80 -r 10.3.0.2:80",
    ]


def test_virtual_server_keeps_real_servers_while_a_route_replaces_all_of_them(
    web: tuple[Node, Tree],
) -> None:
    node, tree = web

    tree.put("routes/r", {"Gateway": "10.9.0.1", "IPVSMethod": "masq"})

    node.wait_for_table("-A -t 10.1.0.1:80 -s wlc\n-a -t 10.1.0.1:80 -r 10.9.0.1:80 -m -w 30")
    assert node.operations[0] == "ipvsadm -a -t 10.1.0.1:80 -r 10.9.0.1:80 -m -w 30"
    assert sorted(node.operations[1:]) == [f"ipvsadm -d -t 10.1.0.1:80 -r 10.3.0.{n}:80" for n in (1, 2, 3)]


def test_changed_vip_adds_a_complete_virtual_server_before_the_old_one_is_removed(web: tuple[Node, Tree]) -> None:
    node, tree = web

    tree.put("services/web/frontend", {**WEB, "ipv4": "10.1.0.2"})

    node.wait_for_table(TABLE.replace("10.1.0.1", "10.1.0.2"))
    assert node.operations[0] == "ipvsadm -A -t 10.1.0.2:80 -s wlc"
    assert sorted(node.operations[1:-1]) == [f"ipvsadm -a -t 10.1.0.2:80 -r 10.3.0.{n}:80 -m -w 10" for n in (1, 2, 3)]
    assert node.operations[-1] == "ipvsadm -D -t 10.1.0.1:80"


def test_scheduler_is_edited_and_real_servers_are_kept(web: tuple[Node, Tree]) -> None:
    node, tree = web

    tree.put("services/web/frontend", {**WEB, "scheduler": "rr", "persistence": {"timeout": 60}})

    node.wait_for_table(TABLE.replace("wlc", "rr -p 60"))
    assert node.operations == ["ipvsadm -E -t 10.1.0.1:80 -s rr -p 60"]


def test_thresholds_are_edited_although_no_table_shows_them(web: tuple[Node, Tree]) -> None:
    node, tree = web

    tree.put("services/web/backends/b1", {**BACKENDS["b1"], "upper_threshold": 9, "lower_threshold": 4})

    node.wait_for(lambda: "10.3.0.1:80                  9          4 " in ipvsadm("-Ln", "--thresholds"))
    assert node.operations == ["ipvsadm -e -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 10 -x 9 -y 4"]


def test_method_is_edited_in_place(web: tuple[Node, Tree]) -> None:
    node, tree = web

    tree.put("routes/r", {"Prefix": "10.3.0.2/32", "IPVSMethod": "tunnel"})

    node.wait_for_table(TABLE.replace("10.3.0.2:80 -m -w 10", "10.3.0.2:80 -i -w 10 --tun-type ipip"))
    assert node.operations == ["ipvsadm -e -t 10.1.0.1:80 -r 10.3.0.2:80 -i -w 10"]


def test_backends_are_added_and_removed(web: tuple[Node, Tree]) -> None:
    node, tree = web
    added = "-a -t 10.1.0.1:80 -r 10.3.0.4:80 -m -w 10"

    tree.put("services/web/backends/b4", {"ipv4": "10.3.0.4", "tcp": 80})
    node.wait_for_table(TABLE + added)
    tree.remove("services/web/backends/b4")
    node.wait_for_table(TABLE)

    assert node.operations == [f"ipvsadm {added}", "ipvsadm -d -t 10.1.0.1:80 -r 10.3.0.4:80"]


def test_directory_of_backends_is_removed_and_restored(web: tuple[Node, Tree]) -> None:
    node, tree = web
    backends = tree.folder / "services/web/backends"

    away = backends.rename(tree.folder.with_name("away"))
    node.wait_for_table("-A -t 10.1.0.1:80 -s wlc")
    away.rename(backends)
    node.wait_for_table(TABLE)
    tree.remove("services/web/backends")
    node.wait_for_table("-A -t 10.1.0.1:80 -s wlc")

    assert all(command.split()[1] in {"-a", "-d"} for command in node.operations)


def test_removed_service_takes_its_real_servers_and_no_others(web: tuple[Node, Tree]) -> None:
    node, tree = web
    api = TABLE.replace("10.1.0.1", "10.1.0.9")
    tree.service("api", {"ipv4": "10.1.0.9", "tcp": 80}, **BACKENDS)
    node.wait_for_table(TABLE + api)
    node.forget()

    tree.remove("services/web/frontend")

    node.wait_for_table(api)
    assert node.operations == ["ipvsadm -D -t 10.1.0.1:80"]


def test_hidden_and_unknown_files_are_ignored(web: tuple[Node, Tree]) -> None:
    node, tree = web

    tree.put("services/web/backends/.b4", {"ipv4": "10.3.0.4", "tcp": 80})
    tree.put("services/.api/frontend", {"ipv4": "10.1.0.9", "tcp": 80})
    tree.put("services/web/extra", {"ipv4": "10.1.0.9", "tcp": 80})
    node.wait_for_log("services/web/extra: unknown key")
    tree.put("services/web/backends/b4", {"ipv4": "10.3.0.4", "tcp": 80})

    node.wait_for_table(f"{TABLE}-a -t 10.1.0.1:80 -r 10.3.0.4:80 -m -w 10")


def test_file_written_in_place_is_never_read_as_an_empty_one(
    web: tuple[Node, Tree],
) -> None:
    node, tree = web
    file = tree.folder / "services/web/backends/b2"

    for weight in range(1, 51):
        with file.open("w") as half_written:
            half_written.flush()
            half_written.write('{"ipv4": "10.3.0.2",')
            half_written.flush()
            half_written.write(f'"tcp": 80, "weight": {weight}}}')

    node.wait_for_table(TABLE.replace("10.3.0.2:80 -m -w 10", "10.3.0.2:80 -m -w 50"))
    assert {command.split()[1] for command in node.operations} == {"-e"}
    assert "services/web/backends/b2" not in node.log
