"""Mutators: from an input to another one that is alike. Each takes bytes and a source of chance, and returns bytes."""

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

__all__ = ["Mutate", "headed", "in_parts", "mutate_bytes", "mutate_json", "mutate_lines", "one_of"]

Mutate = Callable[[bytes, Random], bytes]

NUMBERS = [0, 1, -1, 2, 9, 10, 32, 33, 64, 100, 127, 128, 255, 256, 1000, 4095, 4096, 65535, 65536, 100000]
NUMBERS += [
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**33,
    2**53,
    2**63 - 1,
    2**63,
    -(2**63),
    2**64 - 1,
    2**64,
    10**30,
    10**400,
]
TEXTS = [
    "",
    " ",
    "a",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "\x1b[2J",
    "\x1b]0;x\x07",
    "\x7f",
    "\x85",
    "\x9b",
    "\xa0",
    "\u202e",
    "\u200b",
]
TEXTS += [
    "\u2028",
    "\u2066",
    "\ufeff",
    "\u115f",
    "e\u0301",
    "\U000e0001",
    "\ud800",
    "\\",
    "/",
    "..",
    ".",
    "%s",
    "%n",
    "%2f",
    "%00",
    "$(id)",
]
TEXTS += [
    "`id`",
    "; id",
    "10.0.0.1",
    "10.0.0.256",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "fe80::1%eth0",
    "224.0.0.1",
    "255.255.255.255",
]
TEXTS += [
    "0.0.0.0",
    "10.0.0.0/8",
    "10.0.0.1/33",
    "2001:db8::/32",
    "::/129",
    "1e999",
    "-0",
    "0x10",
    "07",
    "1_000",
    "٣",
    "x" * 300,
    "%%",
]
TEXTS += [
    "none",
    "tcp",
    "http",
    "https",
    "masq",
    "droute",
    "tunnel",
    "wlc",
    "mh",
    "mh-port",
    "GET",
    "HEAD",
    "CONNECT",
    "200-399",
    "(a+)+$",
    "[",
    "NaN",
]
TOKENS = [text.encode(errors="surrogatepass") for text in TEXTS] + [
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\x80",
    b"[" * 2000,
    b'{"a":' * 1000,
]
TOKENS += [b"null", b"true", b"{}", b"[]", b'""', b'"', b",", b":", b"{", b"}", b"\n%%\n"]
_NUMBER = re.compile(rb"-?[0-9]+")


def mutate_bytes(data: bytes, rng: Random) -> bytes:
    """Change some bytes: flip, set, insert, delete, repeat, move, or put another number or token in their place."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice((1, 1, 2, 4, 8, 16, 64, 256)))
        match rng.randrange(9):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(out):
                out[at] = rng.choice((0, 1, 2, 4, 8, 10, 13, 27, 32, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
            case 2:
                out[at:at] = rng.choice(TOKENS)
            case 3:
                del out[at:end]
            case 4:
                out[at:at] = out[at:end] * rng.choice((1, 1, 2, 20))
            case 5:
                piece = out[at:end]
                del out[at:end]
                there = rng.randrange(len(out) + 1)
                out[there:there] = piece
            case 6:
                out[at:end] = rng.choice(TOKENS)
            case 7 if numbers := list(_NUMBER.finditer(bytes(out))):
                found = rng.choice(numbers)
                out[found.start() : found.end()] = str(rng.choice(NUMBERS)).encode()
            case _:
                out[at:end] = rng.randbytes(end - at)
    return bytes(out)


def mutate_lines(data: bytes, rng: Random) -> bytes:
    """Repeat, delete, swap or change a line."""
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            lines.insert(at, lines[other])
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            lines[at] = mutate_bytes(lines[at], rng)
    return b"\n".join(lines)


def mutate_json(data: bytes, rng: Random) -> bytes:
    """Change a value, a name or a member of a JSON text, which stays JSON; bytes of another text."""
    try:
        root = [json.loads(data)]
    except (ValueError, RecursionError):
        return mutate_bytes(data, rng)
    if rng.random() < 0.15:
        return mutate_bytes(data, rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change(rng.choice(list(_containers(root))), root, rng)
    try:
        return json.dumps(root[0] if root else None, ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")
    except RecursionError:
        return data


def _containers(node: Any) -> Any:
    yield node
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, dict | list) and child:
            yield from _containers(child)


def _change(node: Any, root: list[Any], rng: Random) -> None:
    """Change one member of an object or an array."""
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    if not keys:
        return
    key = rng.choice(keys)
    match rng.randrange(8):
        case 0 if len(root) > 1 or node is not root:
            del node[key]
        case 1 if isinstance(node, dict):
            node[rng.choice([str(key).upper(), rng.choice(TEXTS), str(key) + rng.choice(TEXTS)])] = node[key]
        case 2:
            everything = [
                child for each in _containers(root) for child in (each.values() if isinstance(each, dict) else each)
            ]
            node[key] = json.loads(json.dumps(rng.choice(everything)))
        case 3 if isinstance(node, list) and node is not root:
            node.extend([node[key]] * rng.choice((1, 2, 50)))
        case 4 if isinstance(node[key], str):
            node[key] = mutate_bytes(node[key].encode(errors="surrogatepass"), rng).decode(errors="replace")
        case 5:
            node[key] = rng.choice(TEXTS)
        case 6:
            node[key] = rng.choice([*NUMBERS, 0.5, -0.0, 1e308, 1e-300])
        case _:
            node[key] = rng.choice([None, True, False, [], {}, [node[key]], {"a": node[key]}, [[[[]]]], ""])


def one_of(*mutators: Mutate) -> Mutate:
    """Return a mutator that is one of these each time."""
    return lambda data, rng: rng.choice(mutators)(data, rng)


def headed(head: Mutate, body: Mutate) -> Mutate:
    """Return a mutator of an input whose first line is of another kind than the rest."""

    def mutate(data: bytes, rng: Random) -> bytes:
        first, _, rest = data.partition(b"\n")
        return b"\n".join((head(first, rng), rest) if rng.random() < 0.2 else (first, body(rest, rng)))

    return mutate


def in_parts(mutator: Mutate, separator: bytes = b"\n%%\n", also: Sequence[bytes] = ()) -> Mutate:
    """Return a mutator that changes one part of an input, or repeats, drops or moves one; `also` are parts to add."""

    def mutate(data: bytes, rng: Random) -> bytes:
        found = data.split(separator)
        at, other = rng.randrange(len(found)), rng.randrange(len(found))
        match rng.randrange(10):
            case 0:
                found.insert(at, found[other])
            case 1 if len(found) > 1:
                del found[at]
            case 2:
                found[at], found[other] = found[other], found[at]
            case 3 if also:
                found.insert(at, rng.choice(also))
            case _:
                found[at] = mutator(found[at], rng)
        return separator.join(found)

    return mutate
