"""`make fuzz-mutants`: put one bug into the code at a time, and show that the fuzzer of the target finds it."""

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec

from clusterf.health.probes import http_client
from clusterf.reconcile import ownership
from clusterf.sources.tree import _read

__all__ = ["MUTANTS", "Mutant", "applied"]

SECONDS = 60.0  # after which a mutant counts as not found


class Mutant(NamedTuple):
    """The target that finds it, and what is replaced by what."""

    target: str
    replaced: str
    value: Any


def _second_answer(self: Any) -> None:
    if (status := self._parser.get_status_code()) >= 200:
        self._status = status


def _unchecked_records(self: Any) -> Iterator[Any]:
    for key, value in self._record.items():
        yield ownership.decode(key), ownership._decode_seconds(value)


def _unchecked_frames(connection: Any, longest: int, decode: Any) -> Iterator[Any]:
    with connection.makefile("rb") as stream:
        while len(header := stream.read(4)) == 4:
            yield decode(stream.read(min(1 << 28, int.from_bytes(header, "big"))))


def _first_bytes(path: bytes) -> Any:
    raw, status = _read(path)
    return raw[:100], status


def _any_event(self: Any, event: Any) -> Any:
    from clusterf.etcd.watch import Event

    return Event(event.kv.key.removeprefix(self._prefix), event.kv.value, event.kv.mod_revision)


MUTANTS = {
    "bytes behind a certificate leave with it": Mutant(
        "authorities", "clusterf.health.authority_files._der_length", len
    ),
    "problems quote what is invalid as it is": Mutant("value", "clusterf.config.problems.printable", lambda text: text),
    "a fwmark comes without its command": Mutant(
        "table", "clusterf.ipvs.ipvsadm._virtual", lambda v: f"-t {v.address.compressed}"
    ),
    "a list of etcd has any revision": Mutant("etcd", "clusterf.etcd.pages.header_of", lambda reply: reply.header),
    "events may go back": Mutant("watch", "clusterf.etcd.watch.Watch._event", _any_event),
    "files are cut": Mutant("tree", "clusterf.sources.tree._read", _first_bytes),
    "any id goes into a key": Mutant("docker", "clusterf.docker.containers._checked_id", lambda text: text),
    "any text is a number": Mutant("labels", "clusterf.docker.labels._NUMBER", re.compile(".*")),
    "numbers of the kernel are whole": Mutant(
        "netlink-payload", "clusterf.ipvs.netlink.services.StructError", KeyError
    ),
    "late answers reach the next query": Mutant(
        "netlink", "clusterf.ipvs.netlink.channel.Channel._reopen", lambda self: None
    ),
    "the answer after the first one counts": Mutant(
        "http-plain", "clusterf.health.probes.http.HttpProbe.on_headers_complete", _second_answer
    ),
    "a reason quotes the target": Mutant(
        "http-client",
        "clusterf.health.probes.http_client._explained",
        lambda error: http_client._Failed(f"{error}"[:60]),
    ),
    "frames are valid": Mutant("link", "actors.link.subscription._frames", _unchecked_frames),
    "anything is a control message": Mutant(
        "control", "actors.supervision.control._child_decoder", msgspec.json.Decoder()
    ),
    "SQLite has no errors": Mutant("state-file", "clusterf.lib.store.TROUBLE", (OSError,)),
    "what is recorded is valid": Mutant(
        "state-rows", "clusterf.reconcile.ownership.Ownership._load", _unchecked_records
    ),
    "settings have any type": Mutant("settings", "actors.options.settings_file._expected", lambda *_: ("", True)),
    "anything is an endpoint": Mutant(
        "url", "clusterf.etcd.location._ENDPOINT", re.compile("(?P<host>.+?)(:(?P<port>[0-9]{1,5}))?")
    ),
    "a number is an address": Mutant("word", "clusterf.lib.addresses.parse_ipv4", lambda text: IPv4Address(int(text))),
}


@contextmanager
def applied(name: str) -> Iterator[None]:
    """Have a mutant in the place of the code; an empty name: none."""
    if not name:
        yield
        return
    with patch(MUTANTS[name].replaced, MUTANTS[name].value):
        yield


def main() -> int:
    """Run all mutants; return 1 if one is not found."""
    from tests.fuzz.main import run

    missed = 0
    for name, mutant in MUTANTS.items():
        if sys.argv[1:] and mutant.target not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = run(mutant.target, SECONDS, 1, Path(folder), name)
            log = (Path(folder) / "log").read_text()
        missed += not found
        count = re.search(r"(?:number_of_executed_units: |found after )(\d+)", log)
        how = f"after {count[1] if count else 'a few'} inputs" if found else "NOT FOUND"
        print(f"{mutant.target}: {name}: {how}", flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
