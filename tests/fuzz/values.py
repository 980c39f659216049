"""Values of the configuration: `value` is one key and its bytes, `table` several that make a table."""

from random import Random

import msgspec

from actors.link.messages import ValueIs, WireMessage
from clusterf.config.decode import decode
from clusterf.config.encode import to_json
from clusterf.config.keys import parse_key, path_of
from clusterf.config.model import Key, Value
from clusterf.director import build as building
from clusterf.ipvs.diff import diff
from clusterf.ipvs.ipvsadm import command, lines
from clusterf.ipvs.netlink.services import encode_step
from clusterf.ipvs.shadow import ShadowKernel
from clusterf.ipvs.table import Table
from clusterf.lib.msgpack import dec_hook, enc_hook
from clusterf.lib.text import escape
from clusterf.sources.last_good import KeyUpdate, describe
from tests.fuzz.invariants import assert_printable, check_line
from tests.fuzz.mutate import headed, in_parts, mutate_bytes, mutate_json
from tests.fuzz.target import Target, parts, targets

__all__ = ["TARGETS", "check_value"]

SOURCE = "etcd://127.0.0.1:2379/clusterf"
PATHS = [
    b"services/web/frontend",
    b"services/web/backends/b1",
    b"services/web/health",
    b"health",
    b"routes/r1",
    b"services/w\x1b/health",
]
PATHS += [
    b"services//frontend",
    b"services/web",
    b"vips/a",
    b"drains/d",
    b"nodes/n/alive",
    b"services/\xff\xe2\x80\xae/backends/\n",
    b"routes/",
]
_packed = msgspec.msgpack.Decoder(WireMessage, dec_hook=dec_hook)


def mutate_value(data: bytes, rng: Random) -> bytes:
    """Change the path of a value, or its JSON."""
    return headed(lambda path, rng: rng.choice(PATHS) if rng.random() < 0.5 else mutate_bytes(path, rng), mutate_json)(
        data, rng
    )


def check_value(path: bytes, raw: bytes) -> tuple[Key, Value] | None:
    """Check all that is promised of one value; return it with its key, None if it is invalid."""
    key = parse_key(path)
    if key is None:
        return None
    assert path_of(key) == path
    decoded = decode(SOURCE, path, key, raw)
    for problem in decoded.problems:
        assert problem.reason
        check_line(str(problem), SOURCE, escape(path))
    for line in describe(KeyUpdate(path, key, decoded.value, decoded.problems)):
        assert_printable(line)
    assert (decoded.value is None) == any(problem.fatal for problem in decoded.problems)
    if decoded.value is None:
        return None
    again = decode(SOURCE, path, key, to_json(decoded.value))
    assert (again.value, [each for each in again.problems if not each.note]) == (decoded.value, []), (
        f"encoded and decoded again: {again} for {decoded.value}"
    )
    message = ValueIs(key, decoded.value)
    assert _packed.decode(msgspec.msgpack.encode(message, enc_hook=enc_hook)) == message
    return key, decoded.value


def _value(data: bytes) -> str:
    path, _, raw = data.partition(b"\n")
    found = check_value(path, raw)
    if parse_key(path) is None:
        return "no key"
    return f"{type(found[1]).__name__}" if found else f"invalid {type(parse_key(path)).__name__}"


def _table(data: bytes) -> str:
    """Check that whatever is valid makes a table that the kernel takes, and that can be written as commands."""
    found = [check_value(*part.partition(b"\n")[::2]) for part in parts(data)]
    table, problems = building.build(dict(filter(None, found)), building.Defaults())
    for problem in problems:
        assert_printable(str(problem))
    steps = list(diff(table, Table()))
    for step in steps:
        assert_printable(command(step))
        encode_step(step)
    for line in lines(table):
        assert_printable(line)
    kernel = ShadowKernel()
    refused = [(step, error) for step, error in zip(steps, kernel.apply(steps), strict=True) if error]
    assert not refused, f"the kernel would refuse {refused}"
    assert kernel.table == table
    return f"{min(len(steps), 10)} steps" if steps else "no steps"


_DECODING = (
    "clusterf.config.decode",
    "clusterf.config.fields",
    "clusterf.config.reading",
    "clusterf.config.keys",
    "clusterf.config.encode",
)
TARGETS = targets(
    {
        "value": Target(_value, _DECODING, mutate_value),
        "table": Target(
            _table,
            ("clusterf.config.decode", "clusterf.ipvs.ipvsadm", "clusterf.ipvs.netlink.services"),
            in_parts(mutate_value),
        ),
    }
)
