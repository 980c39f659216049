"""The lease of a node with the role docker, and the keys on it, whatever happens to either."""

import os
import signal

from docker.models.containers import Container

from tests.system.support.docker_node import DockerNode, Published


def test_hung_process_is_back_before_its_keys_expire(
    node: DockerNode, published: Published, container: Container
) -> None:
    with node:
        published.wait_for(container, 10)
        before = published.revisions()
        hung = node.children()["docker"]
        os.kill(hung, signal.SIGSTOP)
        node.wait_for_log(rf"docker \(pid {hung}\): stuck for")
        node.wait_for_log(r"connected \(API version", count=2)
        assert published.revisions() == before
