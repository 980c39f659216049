"""The first inputs of each target, made by our own encoders: `python -m tests.fuzz.seeds` writes them to the corpus.

A seed has its meaning for a name; what fuzzing has found has another one, and stays.
"""

import json
import struct
import tempfile
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path
from random import Random

import msgspec

from actors.link.messages import DoubtIs, DoubtKey, ProblemsAre, ProblemsKey, Pulse, Synced, ValueIs, VerdictIs
from actors.supervision.control import Finished, Flushed, LinkEnd, LinkLost, Pong
from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey, Route, RouteKey
from clusterf.config.problems import Problem
from clusterf.docker.addresses import ContainerAddress
from clusterf.docker.record import ContainerRecord, encode_record
from clusterf.etcd.stubs import etcdrpc
from clusterf.health.verdict import StoredVerdict, Verdict, VerdictKey
from clusterf.ipvs.netlink.daemons import encode_daemon
from clusterf.ipvs.netlink.services import encode_step
from clusterf.ipvs.sync import SyncDaemon, SyncRole
from clusterf.ipvs.table import Op, RealServer, Step, VirtualServer
from clusterf.lib.addresses import Endpoint, Family
from clusterf.lib.store import Store
from clusterf.reconcile.kept_record import Kept, _encode
from clusterf.reconcile.lapse_record import _key
from clusterf.reconcile.ownership import encode
from clusterf.sources.last_good import _COPY, _Mark
from tests.clusterf.support.fake_engine import OURS, event, inspect, network
from tests.clusterf.support.netlink_answers import BACKEND, DEST, SERVICE, WEB
from tests.fuzz.etcd import PREFIX, URL
from tests.fuzz.http_grammar import random_http
from tests.fuzz.link import frame
from tests.fuzz.main import CORPUS
from tests.fuzz.netlink import FAMILY
from tests.fuzz.state import JOINT
from tests.fuzz.state import URL as TREE
from tests.fuzz.target import SEPARATOR

__all__ = ["seeds"]

FULL = {
    b"services/web/frontend": {
        "ipv4": "10.107.107.107",
        "ipv6": "2001:db8::107",
        "tcp": 80,
        "udp": 53,
        "scheduler": "mh",
        "scheduler_flags": ["mh-port"],
        "persistence": {"timeout": 60, "netmask": "255.255.255.0"},
        "drain_timeout": 5,
        "one_packet": True,
    },
    b"services/web/backends/b1": {
        "ipv4": "10.3.107.1",
        "ipv6": "2001:db8::1",
        "tcp": 8080,
        "udp": 53,
        "weight": 7,
        "upper_threshold": 9,
        "lower_threshold": 3,
        "publisher": "node-1",
    },
    b"services/web/health": {
        "type": "https",
        "path": "/healthz",
        "port": 8443,
        "method": "POST",
        "host": "web",
        "status": "200-299,404",
        "headers": {"X-Probe": "1"},
        "body": "ping",
        "expect": "OK",
        "expect_regex": "O+K",
        "redirects": 2,
        "tls": {"verify": False, "server_name": "web", "ca": "/etc/ca.pem"},
        "interval": 5,
        "timeout": 2,
        "rise": 2,
        "fall": 3,
        "fast_interval": 1,
        "jitter": 0.1,
        "initial": "up",
        "panic_threshold": 50,
        "on_down": "remove",
    },
    b"health": {"type": "tcp", "port": 80},
    b"routes/r1": {
        "Prefix": "10.3.0.0/16",
        "Gateway": "10.107.0.1",
        "IPVSMethod": "tunnel",
        "tunnel": {"type": "gue", "port": 6080, "checksum": "csum"},
    },
    b"routes/r2": {"Prefix": "", "IPVSMethod": "masq"},
    b"services/mark/frontend": {"fwmark": 7, "ipv4": "10.107.107.108"},
    b"vips/a": {"prefix": "10.107.0.0/16", "services": ["web*"]},
}
VALUES = {path: json.dumps(value).encode() for path, value in FULL.items()}
TOML = b"""role = ["ipvs", "docker"]
config-source = ["etcd://127.0.0.1:2379/clusterf", "file:///etc/clusterf"]
noop = true
ipvs-exclude = ["10.0.0.0/8"]
health-processes = 2
health-reference = ["10.0.0.1:53"]
resync-interval = 30.5
node-name = "node-1"
log-level = "debug"
etcd-ttl = 15
"""


def seeds() -> Iterator[tuple[str, str, bytes]]:
    """Yield the target, the name and the bytes of each seed."""
    for path, raw in VALUES.items():
        yield "value", path.decode().replace("/", "-"), path + b"\n" + raw
    yield "table", "all", SEPARATOR.join(path + b"\n" + raw for path, raw in VALUES.items())
    files = [b"file " + path + b"\n" + raw for path, raw in VALUES.items()]
    odd = [
        b"link services/l\n",
        b"link services/web/health\n1",
        b"pipe routes/p\n",
        b"folder routes/r9\n",
        b"file .git/x\n",
        b"file a/b/c/d/e/f\n{}",
    ]
    yield "tree", "files", SEPARATOR.join(files[:3])
    yield "tree", "odd", SEPARATOR.join([*files[2:4], *odd])
    yield from _docker()
    yield from _etcd()
    yield from _netlink()
    for seed in range(40):
        yield "http-plain", f"random-{seed}", random_http(Random(seed))
        yield "http-client", f"random-{seed}", random_http(Random(1000 + seed))
    yield from _links()
    yield from _states()
    yield "settings", "all", TOML
    yield "url", "etcd", b"etcd+https://a:1,[::1]:2379,10.0.0.1/p%2fx/"
    yield "url", "file", b"file://localhost/etc/cl%75sterf"
    for number, word in enumerate(
        ("10.0.0.1", "::ffff:10.0.0.1", "[2001:db8::1]:80", "10.0.0.1:53", "node-1", "tcp://h:2375", "unix:///x")
    ):
        yield "word", str(number), word.encode()


def _docker() -> Iterator[tuple[str, str, bytes]]:
    labels = {
        "service": "web api",
        "backend.tcp": "8080",
        "backend:api.weight": "20",
        "health": "http:/healthz",
        "network": "front",
    }
    one = inspect(
        "c1",
        labels=labels,
        networks={"front": "10.1.0.2 2001:db8::2", "bridge": "172.17.0.2"},
        health="healthy",
        stop_signal="SIGQUIT",
    )
    two = inspect(
        "c1", labels=labels, ports={"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "80"}]}, bindings={"53/udp": None}
    )
    bare = [{"Id": "c1", "Labels": one["Config"]["Labels"]}, {"Id": "c2", "Labels": None}]
    dumped = {
        "container": b"container\n" + json.dumps(one).encode(),
        "host": b"container\n" + json.dumps(two).encode() + SEPARATOR + b"host\n",
        "network": b"network\n" + json.dumps(network("front", "10.1.0.0/16", "2001:db8::/64", "10.2.0.0/16")).encode(),
        "list": b"list\n" + json.dumps([bare, [network("front", "10.1.0.0/16")]]).encode(),
        "kill": b"event\n" + json.dumps(event("container", "kill", "c1", signal="15")).encode(),
        "die": b"event\n" + json.dumps(event("container", "die", "c1")).encode(),
        "connect": b"event\n" + json.dumps(event("network", "connect", "id-of-front", container="c1")).encode(),
        "destroy": b"event\n" + json.dumps(event("container", "destroy", "c1")).encode(),
    }
    for name, data in dumped.items():
        yield "docker", name, data
    yield "docker", "all", SEPARATOR.join(dumped.values())
    yield "labels", "all", "\n".join(f"{label}={value}" for label, value in labels.items()).encode()
    yield (
        "labels",
        "json",
        b'service=web\nbackend.udp=53\nbackend:web.tcp=8080\nhealth={"type": "tcp", "port": 80}\nnetwork=bridge',
    )
    assert OURS


def _etcd() -> Iterator[tuple[str, str, bytes]]:
    header = etcdrpc.ResponseHeader(cluster_id=7, member_id=1, revision=9, raft_term=2)

    def bytes_of(message: object) -> bytes:
        return bytes(message.SerializeToString())  # type: ignore[attr-defined]

    ordered = sorted(VALUES.items())
    kvs = [
        etcdrpc.RangeResponse().kvs.add(key=PREFIX + path, value=raw, mod_revision=8, version=1)
        for path, raw in ordered
    ]
    pages = [
        etcdrpc.RangeResponse(header=header, kvs=kvs[:3], more=True, count=9),
        etcdrpc.RangeResponse(header=header, kvs=kvs[3:], count=6),
    ]
    yield "etcd", "list", SEPARATOR.join([b"list", *map(bytes_of, pages)])
    yield "etcd", "paths", SEPARATOR.join([b"paths", *map(bytes_of, pages)])
    yield (
        "etcd",
        "compacted",
        SEPARATOR.join([b"paths", b"error 11 etcdserver: mvcc: required revision has been compacted"]),
    )
    token = etcdrpc.AuthenticateResponse(header=header, token="abc.1")
    yield "etcd", "login", SEPARATOR.join([b"login", bytes_of(token), *map(bytes_of, pages)])
    done = etcdrpc.TxnResponse(header=header, succeeded=True)
    for _ in range(2):
        done.responses.add().response_put.SetInParent()
    done.responses.add().response_txn.SetInParent()
    yield "etcd", "transact", SEPARATOR.join([b"transact", bytes_of(done)])
    reads = etcdrpc.TxnResponse(header=header, succeeded=True)
    for path in (b"services/web/backends/b1", b"routes/r1"):
        reads.responses.add().response_range.kvs.add(key=PREFIX + path, value=b"{}", lease=99)
    times = etcdrpc.LeaseTimeToLiveResponse(
        header=header, ID=99, TTL=10, keys=[PREFIX + b"routes/r1", PREFIX + b"services/web/backends/b1"]
    )
    lives = etcdrpc.LeaseTimeToLiveResponse(header=header, ID=99, TTL=9, grantedTTL=10)
    yield "etcd", "time", SEPARATOR.join([b"time", bytes_of(lives)])
    yield "etcd", "leased", SEPARATOR.join([b"leased", bytes_of(times), bytes_of(reads)])
    yield (
        "etcd",
        "grant",
        SEPARATOR.join([b"grant", bytes_of(etcdrpc.LeaseGrantResponse(header=header, ID=99, TTL=15))]),
    )
    yield (
        "etcd",
        "keep",
        SEPARATOR.join([b"keep", bytes_of(etcdrpc.LeaseKeepAliveResponse(header=header, ID=99, TTL=15))]),
    )
    yield "etcd", "revoke", SEPARATOR.join([b"revoke", b"error 5 etcdserver: requested lease not found"])
    messages = [etcdrpc.WatchResponse(header=header, created=True)]
    for number, kv in enumerate(kvs):
        kv.mod_revision = 9 + number
        message = etcdrpc.WatchResponse(header=header)
        message.events.add(type=number % 2, kv=kv)
        messages.append(message)
    yield "watch", "events", SEPARATOR.join(map(bytes_of, messages))
    ended = etcdrpc.WatchResponse(header=header, canceled=True, cancel_reason="etcdserver: no leader")
    yield "watch", "cancelled", SEPARATOR.join([bytes_of(messages[1]), bytes_of(ended)])
    yield "watch", "compacted", bytes_of(etcdrpc.WatchResponse(header=header, canceled=True, compact_revision=4))


def _netlink() -> Iterator[tuple[str, str, bytes]]:
    mark = encode_step(Step(Op.ADD_VIRTUAL, VirtualServer(Family.IPV6, fwmark=7), settings=_settings()))[1]
    daemon = encode_daemon(SyncDaemon(SyncRole.MASTER, "eth0", 3))
    found = {
        "service": SERVICE,
        "mark": mark,
        "dest": DEST,
        "daemon": daemon,
        "family": struct.pack("=HHH2x", 6, 1, FAMILY),
    }
    for name, payload in found.items():
        yield "netlink-payload", name, payload

    def message(kind: int, body: bytes, flags: int = 2) -> bytes:
        return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body

    generic = struct.pack("=BBH", 1, 1, 0)
    services = message(FAMILY, generic + SERVICE) * 2
    done, fine, refused = (
        message(3, struct.pack("=i", 0)),
        message(2, struct.pack("=i", 0) + b"\0" * 16, 0),
        message(2, struct.pack("=i", -17) + b"\0" * 16),
    )
    yield "netlink", "dump", SEPARATOR.join([b"dump12", services, done])
    yield "netlink", "interrupted", SEPARATOR.join([b"dump12", message(FAMILY, generic + SERVICE, 0x12), done])
    yield "netlink", "ask", SEPARATOR.join([b"ask12", services + fine])
    yield "netlink", "refused", SEPARATOR.join([b"ask12", refused])
    yield "netlink", "batch", SEPARATOR.join([b"batch", refused, struct.pack("=IHHIIi", 20, 2, 0, 2, 0, 0)])
    yield "netlink", "overrun", SEPARATOR.join([b"dump", message(4, b"")])


def _settings() -> object:
    from clusterf.ipvs.netlink.services import decode_virtual

    found = decode_virtual(SERVICE)
    assert found is not None
    return (
        msgspec.structs.replace(found[1], netmask=128, persistence_engine="sip")
        if isinstance(found[1], msgspec.Struct)
        else found[1]
    )


def _links() -> Iterator[tuple[str, str, bytes]]:
    web, b1 = FrontendKey(b"web"), BackendKey(b"web", b"b1")
    problem = Problem("file:///x", b"services/web/health", "tcp", "not a port", True)
    config = [
        ValueIs(web, Frontend(ipv4=IPv4Address("10.107.107.107"), tcp=80)),
        ValueIs(b1, Backend(ipv4=IPv4Address("10.3.107.1"), tcp=80, publisher="n")),
        ValueIs(HealthKey(None), HealthCheck(type="http", headers=(("a", "b"),))),
        ValueIs(RouteKey(b"r"), Route(method="masq")),
        ProblemsAre(ProblemsKey("file:///x", b"services/web/health"), (problem,)),
        DoubtIs(DoubtKey("file:///x"), "why"),
    ]
    verdict = VerdictIs(VerdictKey(b"web", b"b1", Endpoint(b"\x0a\x03\x6b\x01", 80)), Verdict(False, 1.5, "refused"))
    yield "link", "configuration", frame([*config[:2]]) + frame([*config[2:], Synced(3)]) + frame([Pulse(1.5)])
    yield "link", "verdicts", frame([verdict, Synced(1)]) + frame([VerdictIs(verdict.key, None)])
    yield (
        "link",
        "again",
        frame([*config, Synced(1)]) + frame([ValueIs(b1, None), ProblemsAre(config[4].key, ()), Synced(2)]),
    )
    for message in (Pong(), Finished(0), Flushed(), LinkLost("a", 1), LinkEnd("a", "b", 1)):
        yield "control", type(message).__name__.lower(), msgspec.json.encode(message)


def _states() -> Iterator[tuple[str, str, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.db"
        with closing(Store(path, sections=(TREE,), keep_stale=True)) as store:
            store.update(TREE, {path: raw for path, raw in VALUES.items() if path.startswith(b"s")})
        yield "state-file", "small", path.read_bytes()[: 1 << 15]
    real = RealServer(BACKEND.address, BACKEND.port)
    packed = msgspec.msgpack.encode
    key = VerdictKey(b"web", b"b1", Endpoint(b"\x0a\x03\x6b\x01", 80))
    mark = msgspec.json.encode(_Mark(7, 1.5, 0))
    rows = {
        "verdicts": [(packed(key), packed(StoredVerdict(Verdict(False, 1.5, "refused"), True)))],
        "last-good": [*VALUES.items(), (_COPY, mark)],
        "origin": [
            (b"cluster", packed(7)),
            (b"doubt", packed(("why", True))),
            (b"unknown", packed(("2026", [b"health"]))),
            (b"mounts", packed({b"": (b"/a", b"/", 3, 4)})),
        ],
        "owned": [(encode(WEB), b"5.5"), (encode(VirtualServer(Family.IPV6, fwmark=7)), b"")],
        "hold": [(b"until", b"12.5")],
        "kept": [(b"kept", _encode(Kept(frozenset({"why"}), frozenset({(WEB, real), (WEB, None)}))))],
        "lapses": [(_key((b"web", b"b1", WEB)), b"12.5")],
        "containers": [(b"c1", encode_record(ContainerRecord(5, ContainerAddress("n", IPv4Address("10.0.0.1")))))],
        "lease": [(b'{"id": 99, "ttl": 15, "prefix": "L2NsdXN0ZXJmLw==", "place": ""}', b"")],
    }
    for name, found in rows.items():
        yield "state-rows", name, SEPARATOR.join([name.encode(), *(JOINT.join(row) for row in found)])
    assert URL


def main() -> None:
    """Write the seeds."""
    for target, name, data in seeds():
        path = CORPUS / target / f"seed-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
