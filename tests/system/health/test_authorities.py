"""Authorities of checks in files that only the config process may read; nothing but certificates leaves it."""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Authority, Server, answer
from tests.system.support.node import Node, Tree

pytestmark = pytest.mark.ipvs

NOBODY = 4711  # a user of nobody's, so that a process of uid 0 without capabilities cannot read their files
QUICK = {"type": "https", "interval": 0.4, "fast_interval": 0.1, "timeout": 0.4}
ADDRESS = "127.77.0.1"
VIP = "10.107.77.1"


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory that nobody but its owner may enter, whom no process of a node runs as."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)
    return folder


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def server(authority: Authority) -> Iterator[Server]:
    with Server(answer(), host=ADDRESS, port=8443, tls=authority.good(ADDRESS)) as server:
        yield server


def put(path: Path, content: bytes) -> str:
    """Put a file in place at once, readable for its owner only; return its path."""
    draft = path.with_name("draft")
    draft.write_bytes(content)
    draft.chmod(0o600)
    os.chown(draft, NOBODY, NOBODY)
    draft.replace(path)
    return str(path)


def check(tree: Tree, ca: str, **fields: Any) -> None:
    tree.put("services/web/health", {**QUICK, "tls": {"ca": ca}, **fields})
    tree.service("web", {"ipv4": VIP, "tcp": 443}, b1={"ipv4": ADDRESS, "tcp": 8443})


def wait_for_weight(node: Node, weight: int) -> None:
    node.wait_for_table([f"-A -t {VIP}:443 -s wlc", f"-a -t {VIP}:443 -r {ADDRESS}:8443 -m -w {weight}"])


def test_authorities_that_no_probing_process_may_read_are_trusted_and_followed(
    live: tuple[Node, Tree], closed: Path, authority: Authority, server: Server, tmp_path: Path
) -> None:
    node, tree = live
    (tmp_path / "other").mkdir()
    own, other = authority.pem.read_bytes(), Authority(tmp_path / "other").pem.read_bytes()
    path = closed / "ca.pem"
    check(tree, put(path, own))
    wait_for_weight(node, 10)

    put(path, other)
    node.wait_for_log(r"web/b1: \S+ is down: TLS: unknown authority")
    wait_for_weight(node, 0)
    put(path, own + other)
    wait_for_weight(node, 10)

    path.unlink()
    node.wait_for_log(
        rf"^warning: health: {path}: no such file or directory \(keeping the previous valid authorities\)"
    )
    node.kill("config", "health")
    node.wait_for_log(rf"^error: health: {path}: no such file or directory \(probes that need these")
    node.wait_for_log(r"^warning: health: cannot probe: TLS: ca: no such file or directory \(verdicts unchanged\)")
    wait_for_weight(node, 10)
    put(path, own)
    node.wait_for_log(rf"^health: {path}: valid again")
    node.forget()
    server.behaviour = answer(503)
    node.wait_for_log(r"web/b1: \S+ is down: HTTP 503")


def test_nothing_of_a_file_that_is_none_of_certificates_is_seen(
    live: tuple[Node, Tree], closed: Path, authority: Authority, server: Server
) -> None:
    node, tree = live
    own = authority.pem.read_bytes()
    check(tree, put(closed / "ca.pem", own))
    wait_for_weight(node, 10)

    secret = b"c2VjcmV0"
    key = b"-----BEGIN PRIVATE " + b"KEY-----\n" + secret + b"\n-----END PRIVATE " + b"KEY-----\n"
    for name, content in (("key.pem", key), ("both.pem", own + key), ("shadow", b"root:" + secret + b":1::::::\n")):
        path = put(closed / name, content)
        check(tree, path)
        node.wait_for_log(rf"^error: health: {path}: not only certificates in PEM format \(probes that need")
        node.wait_for_log(r"^warning: health: cannot probe: TLS: ca: not only certificates in PEM format")
    assert not re.search("c2VjcmV0|root:|PRIVATE", node.log)
    # what does not count changes nothing
    wait_for_weight(node, 10)
    accepted = server.accepted
    check(tree, str(closed / "ca.pem"))
    node.wait_for(lambda: server.accepted > accepted)


def test_once_waits_for_the_first_verdict_by_authorities(
    node: Node, tree: Tree, closed: Path, authority: Authority, server: Server
) -> None:
    check(tree, put(closed / "ca.pem", authority.pem.read_bytes()), interval=60, fast_interval=60)
    assert node.once() == 0
    assert f"-a -t {VIP}:443 -r {ADDRESS}:8443 -m -w 10" in node.only_table
    assert "without verdicts" not in node.log


def test_file_has_to_be_readable_for_the_config_process(
    namespace: None, tmp_path: Path, authority: Authority, server: Server
) -> None:
    # (the directories of other tests are root's, so that the config process of their nodes may read whatever root may)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        tree, ca = Tree(Path(folder, "tree")), Path(folder, "ca.pem")
        tree.clear()
        ca.write_bytes(authority.pem.read_bytes())
        ca.chmod(0o600)
        check(tree, str(ca))
        with Node(tmp_path, tree) as node:
            node.wait_for_log(rf"^error: health: {ca}: permission denied \(probes that need these authorities do not")
            wait_for_weight(node, 0)
            ca.chmod(0o644)
            node.wait_for_log(rf"^health: {ca}: valid again")
            wait_for_weight(node, 10)
