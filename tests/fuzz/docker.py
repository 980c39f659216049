"""What a Docker engine sends (`docker`: events, lists, inspections), and the labels of a container (`labels`)."""

import json
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Any

from clusterf.config.decode import decode
from clusterf.config.keys import parse_key
from clusterf.config.model import BackendKey, RouteKey
from clusterf.docker.addresses import Addressing
from clusterf.docker.engine import EngineError
from clusterf.docker.intake import Intake
from clusterf.docker.inventory import Inspection, Inventory
from clusterf.docker.publications import Changes
from clusterf.docker.record import decode_record, encode_record
from clusterf.docker.routes import Routing
from tests.clusterf.support.fake_engine import OURS, inspect
from tests.fuzz.invariants import assert_printable, logged
from tests.fuzz.mutate import headed, in_parts, mutate_bytes, mutate_json, mutate_lines, one_of
from tests.fuzz.target import Target, parts, targets

__all__ = ["TARGETS"]

ROUTING = Routing(networks=frozenset({"front"}), gateway4=IPv4Address("10.0.0.1"), method="droute")
KINDS = [b"event", b"container", b"network", b"list", b"host", b"error"]


class _Node:
    """An intake, and what it passes on."""

    def __init__(self, *, host: bool) -> None:
        at = {"host4": IPv4Address("192.0.2.1"), "host6": IPv6Address("2001:db8::1")} if host else {}
        inventory = Inventory(Addressing(host=host, **at), ROUTING, publisher="node-1")  # type: ignore[arg-type]
        self.intake = Intake("unix:///run/docker.sock", inventory, self._take)
        self.keys = 0

    def _take(self, changes: Changes, _: bool) -> None:
        for path, raw in changes.keys.items():
            _check_published(path, raw, BackendKey | RouteKey)
        for problems in changes.problems.values():
            for problem in problems:
                assert_printable(str(problem))
                assert len(str(problem)) < 1000
        for record in changes.records.values():
            assert record is None or decode_record(encode_record(record)) == record
        self.keys += sum(raw is not None for raw in changes.keys.values())


def _check_published(path: bytes, raw: bytes | None, kinds: Any) -> None:
    key = parse_key(path)
    assert isinstance(key, kinds), f"not a path for this: {path!r}"
    if raw is None:
        return
    decoded = decode("docker", path, key, raw)
    assert decoded.value is not None, f"published, and invalid: {path!r}: {decoded.problems}"


def _docker(data: bytes) -> str:
    """Check that whatever an engine sends, only valid keys are published, and only for it; and what is logged."""
    found = [part.partition(b"\n") for part in parts(data)]
    node = _Node(host=any(kind == b"host" for kind, _, _ in found))
    with logged():
        refused = sum(_send(node, kind, body) for kind, _, body in found)
        node.intake.report(complete=True)
    return f"{min(node.keys, 5)} keys, {min(refused, 3)} refused"


def _send(node: _Node, kind: bytes, body: bytes) -> bool:
    """Have a part taken in; return whether it is none."""
    try:
        if kind == b"event":
            node.intake.event(body)
            return False
        answer = json.loads(body)  # as the SDK does
        if kind in (b"container", b"network"):
            name = answer["Id"] if isinstance(answer, dict) and isinstance(answer.get("Id"), str) else "none"
            node.intake.inspected(Inspection(kind.decode(), name), answer, None)  # type: ignore[arg-type]
        elif (
            kind == b"list"
            and isinstance(answer, list)
            and len(answer) == 2
            and all(isinstance(a, list) for a in answer)
        ):
            present, _ = node.intake.listed(*answer)
            node.intake.list_completed(present)
        else:
            return True
    except (ValueError, RecursionError, EngineError) as error:
        if isinstance(error, EngineError):
            assert_printable(str(error))
        return True
    return False


def _labels(data: bytes) -> str:
    """Check labels, one a line, of a container that is otherwise as usual."""
    text = data.decode(errors="replace")
    given = dict(line.partition("=")[::2] for line in text.split("\n"))
    container = inspect(exposed=("8080/tcp", "53/udp"), networks={"front": "10.1.0.2", "bridge": "172.17.0.2"})
    container["Config"]["Labels"] = {OURS + label: value.replace("\\n", "\n") for label, value in given.items()}
    node = _Node(host=False)
    with logged() as lines:
        node.intake.inspected(Inspection("container", "c1"), json.loads(json.dumps(container)), None)
        node.intake.report(complete=True)
    assert not lines
    return f"{min(node.keys, 5)} keys"


def _kind(kind: bytes, rng: Random) -> bytes:
    return rng.choice(KINDS)


_MODULES = ("containers", "events", "intake", "inventory", "publication", "addresses", "routes", "stops")
TARGETS = targets(
    {
        "docker": Target(
            _docker,
            tuple(f"clusterf.docker.{name}" for name in _MODULES),
            in_parts(headed(_kind, mutate_json)),
            1 << 14,
        ),
        "labels": Target(
            _labels, ("clusterf.docker.labels", "clusterf.docker.label_checks"), one_of(mutate_lines, mutate_bytes)
        ),
    }
)
