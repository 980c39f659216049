"""What comes over links between processes (`link`), and over the control sockets of the supervisor (`control`)."""

import socket
from random import Random
from typing import Any

import msgspec

from actors.link import subscription
from actors.link.messages import Pulse, Synced, WireMessage
from actors.link.received import ReceivedKeys
from actors.supervision import control
from clusterf.lib.msgpack import dec_hook, enc_hook
from tests.fuzz.invariants import assert_printable
from tests.fuzz.mutate import NUMBERS, TEXTS, mutate_bytes, mutate_json, one_of
from tests.fuzz.target import Target, targets

__all__ = ["TARGETS", "frame", "mutate_packed"]


_decoder = msgspec.msgpack.Decoder(list[WireMessage], dec_hook=dec_hook)


def frame(messages: list[Any]) -> bytes:
    """Return a frame as a publisher sends it."""
    body = msgspec.msgpack.encode(messages, enc_hook=enc_hook)
    return len(body).to_bytes(4, "big") + body


def mutate_frames(data: bytes, rng: Random) -> bytes:
    """Change what is in the frames, and keep their lengths true."""
    frames, rest = [], data
    while len(rest) >= 4 and (end := 4 + int.from_bytes(rest[:4], "big")) <= len(rest):
        frames.append(rest[4:end])
        rest = rest[end:]
    if not frames or rng.random() < 0.2:
        return mutate_bytes(data, rng)
    at = rng.randrange(len(frames))
    frames[at] = mutate_packed(frames[at], rng)
    if rng.random() < 0.2:
        frames.insert(rng.randrange(len(frames)), rng.choice(frames))
    return b"".join(len(each).to_bytes(4, "big") + each for each in frames) + rest


def mutate_packed(data: bytes, rng: Random) -> bytes:
    """Change something in lists of MessagePack, which stays that; bytes of anything else."""
    try:
        tree = [msgspec.msgpack.decode(data, strict=False)]
        for _ in range(rng.choice((1, 1, 2))):
            _change(tree, rng)
        return msgspec.msgpack.encode(tree[0]) if tree else b""
    except (ValueError, TypeError, OverflowError, RecursionError):
        return mutate_bytes(data, rng)


def _change(node: Any, rng: Random) -> None:
    """Change something somewhere in lists in lists."""
    while True:
        at = rng.randrange(len(node))
        if not isinstance(node[at], list) or not node[at] or rng.random() < 0.15:
            break
        node = node[at]
    match rng.randrange(6):
        case 0:
            node[at] = rng.choice([*NUMBERS[:-2], 0.5, float("nan"), float("inf"), -1.0])
        case 1:
            node[at] = rng.choice(TEXTS)
        case 2:
            node[at] = rng.choice(TEXTS).encode(errors="surrogatepass")
        case 3:
            node.insert(at, node[at])
        case 4 if isinstance(node[at], bytes):
            node[at] = mutate_bytes(node[at], rng)
        case _:
            node[at] = rng.choice([None, True, [], {}, [node[at]], b"", 4, 6, [1, b"web"], [2, b"web", b"b1"]])


def _link(data: bytes) -> str:
    """Check that frames are messages, or end the link with a reason; and that messages are encoded as they were."""
    ours, theirs = socket.socketpair()
    keys, count = ReceivedKeys(), 0
    with ours:
        with theirs:
            theirs.sendall(data)
        try:
            for messages in subscription._frames(ours, 1 << 28, _decoder.decode):
                _check_messages(messages, keys)
                count += 1
        except (OSError, EOFError) as error:
            assert_printable(str(error))
            return f"{min(count, 5)} frames, then {type(error).__name__}"
    return f"{count} frames"


def _check_messages(messages: list[WireMessage], keys: ReceivedKeys) -> None:
    received = keys.receive(messages)
    assert [message for message in received if message in messages or message != message][-1:] == messages[-1:]
    for message in received:
        if not isinstance(message, Synced | Pulse):
            hash(message.key)
    again = _decoder.decode(msgspec.msgpack.encode(messages, enc_hook=enc_hook))
    assert repr(again) == repr(messages)


def _control(data: bytes) -> str:
    """Check that a packet is a message that a child may send, or an error of the kinds that the supervisor expects."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            theirs.send(data)
        try:
            message = control.receive_from_child(ours)
        except (OSError, msgspec.DecodeError) as error:
            assert_printable(str(error))
            return type(error).__name__
    if message is not None:
        assert isinstance(message, control.ChildMessage)
        assert control._child_decoder.decode(msgspec.json.encode(message)) == message
    return type(message).__name__


TARGETS = targets(
    {
        "link": Target(
            _link,
            ("actors.link.subscription", "actors.link.received", "actors.link.messages", "clusterf.lib.msgpack"),
            mutate_frames,
        ),
        "control": Target(_control, ("actors.supervision.control",), one_of(mutate_json, mutate_bytes)),
    }
)
