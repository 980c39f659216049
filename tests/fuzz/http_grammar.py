"""Hostile answers of HTTP servers: mostly valid ones with a few faults, so that what follows the first line is read."""

from collections.abc import Sequence
from random import Random

from tests.fuzz.mutate import Mutate, in_parts, mutate_bytes, mutate_lines

__all__ = ["mutate_http", "random_http"]

# words of the first line of an input, which say what the check is and how the answer arrives
METHODS = ["GET"] * 8 + ["HEAD", "POST"]
EXPECTS = ["", "", "expect", "regex", "expect regex"]
STATUSES = ["", "", "any", "only-200"]
CUTS = ["", "", "cut=1", "cut=3", "cut=17", "cut=100"]
ENDS = ["", "", "", "silent", "reset"]

GOOD = [
    b"200 OK",
    b"200 OK",
    b"200 OK",
    b"204 No Content",
    b"200",
    b"200 ",
    b"206 Partial",
    b"304 Not Modified",
    b"301 M",
    b"302 F",
    b"307 T",
    b"308 P",
]
BAD = [
    b"500 No",
    b"503 Busy",
    b"404 Not Found",
    b"600 What",
    b"099 Low",
    b"1000 Much",
    b"20 0",
    b"-200 OK",
    b"2\xb2\xb2 OK",
    b"101 Switching",
    b"200 \x1b[2J",
]
INTERIM = [b"100 Continue", b"100 Continue", b"102 Processing", b"103 Early Hints", b"199 Mine"]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]
NO_VERSIONS = [b"HTTP/0.9", b"HTTP/2", b"HTTP/1.2", b"http/1.1", b"ICY", b"HTTP/1.1\x0b", b"RTSP/1.0"]
EOLS = [b"\n", b"\r", b"\r\r\n", b"\n\r"]
BODIES = [
    b"",
    b"OK",
    b"all is OK here",
    b"no",
    b"O\x00K\x1b[2J",
    b"x" * 500,
    b"\xff\xfe",
    b"O",
    b"OOOK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
]
LENGTHS = [
    b"0",
    b"1",
    b"00002",
    b"+2",
    b"-1",
    b"2, 2",
    b"2,3",
    b" 2",
    b"0x2",
    b"2\t",
    b"99999999999999999999",
    b"18446744073709551616",
    b"2 2",
    b"",
    b"\xb2",
]
CODINGS = [
    b"gzip, chunked",
    b"chunked, gzip",
    b"identity",
    b"Chunked ",
    b"chunked;q=1",
    b"xchunked",
    b"chunked, chunked",
    b"\x0bchunked",
]
EXTENSIONS = [b"", b"", b"", b";a", b";a=b", b";a=bcd;e=f"]
NO_EXTENSIONS = [b';a="\x1b[2J"', b"; " + b"x" * 300, b";\x00", b" ", b"\t;q"]
TRAILERS = [b"T: x", b"X-Sum: 1", b"T: yyyyyyyy"]
NO_TRAILERS = [
    b"Content-Length: 3",
    b"Transfer-Encoding: chunked",
    b"T: \x1b]0;x\x07",
    b"bad",
    b": x",
    b"T:" + b"y" * 400,
]
HEADERS = [
    b"Connection: close",
    b"Connection: keep-alive",
    b"Server: red",
    b"X: \xe2\x80\xae",
    b"X:",
    b"Set-Cookie: a=b; Domain=x",
    b"Content-Encoding: gzip",
]
HEADERS += [
    b"Trailer: T",
    b"X: " + b"z" * 900,
    b"Keep-Alive: timeout=5",
    b"Content-Type: text/html; charset=\xff",
    b"Retry-After: -1",
    b"WWW-Authenticate: Basic",
]
NO_HEADERS = [
    b"Connection: Upgrade",
    b"Upgrade: h2c",
    b"Server: \x1b[31mred",
    b" X: folded",
    b"X : blank",
    b"X\x00: nul",
    b"\xff: y",
    b"no colon",
    b"A: 1\r\n 2",
]
PLACES = [
    b"/",
    b"/other",
    b"other?q#f",
    b"//evil.example/",
    b"http://evil.example:99/",
    b"https://10.0.0.1/",
    b"http://10.0.0.1:8080/x",
    b"ftp://x/",
    b"file:///etc/passwd",
]
PLACES += [
    b"http://[::1]/",
    b"http://[::1",
    b"http://a:b@c/",
    b"http://x:99999/",
    b"",
    b"/\x1b[2J",
    b"/%0d%0aX: y",
    b"http://\xff/",
    b"http://xn--a/",
    b"/" + b"a" * 900,
]
PLACES += [
    b"http://127.0.0.1:2379/",
    b"?",
    b"#",
    b"/a b",
    b"http:/x",
    b"http:\\\\x",
    "http://ex\u00e4mple/\u202e".encode(),
    b"javascript:x",
    b"HTTP://10.0.0.1:8080/",
]
SIZES = [b"0x2", b"-1", b"fffffffffffffffff", b"g", b"", b" 1", b"1_0"]  # of chunks, which are none
NEXT = b"\n%%\n"


def random_http(rng: Random) -> bytes:
    """Return an input: a line about the check, then what each connection answers."""
    words = [rng.choice(each) for each in (METHODS, EXPECTS, STATUSES, CUTS, ENDS)]
    words.append(rng.choice(("", "", "redirects=1", "redirects=3")))
    answers = NEXT.join(_answer(rng) for _ in range(rng.choice((1, 1, 2, 4)) if words[-1] else 1))
    return " ".join(filter(None, words)).encode() + b"\n" + answers


def _of(rng: Random, good: Sequence[bytes], bad: Sequence[bytes]) -> bytes:
    """Choose a good one in most cases, as one fault ends most answers."""
    return rng.choice(good if rng.random() < 0.97 else bad)


def _answer(rng: Random) -> bytes:
    """Return all that comes over one connection."""
    eol = _of(rng, [b"\r\n"], EOLS)
    out = b"".join(_interim(rng, eol) for _ in range(rng.choice((0, 0, 0, 1, 2, 20))))
    out += _message(rng, eol)
    while rng.random() < 0.15:  # what is left over after the end, as on a connection that is kept
        out += rng.choice((_message(rng, eol), rng.choice(BODIES), eol))
    return mutate_bytes(out, rng) if rng.random() < 0.1 else out


def _interim(rng: Random, eol: bytes) -> bytes:
    if rng.random() < 0.03:
        return _head(rng, eol, rng.choice(INTERIM)) + eol
    return b"HTTP/1.1 " + rng.choice(INTERIM) + eol + rng.choice((b"", b"Link: x" + eol)) + eol


def _head(rng: Random, eol: bytes, status: bytes) -> bytes:
    headers = [_of(rng, HEADERS, NO_HEADERS) for _ in range(rng.choice((0, 0, 1, 2, 5)))]
    return eol.join([_of(rng, VERSIONS, NO_VERSIONS) + b" " + status, *headers, b""])


def _message(rng: Random, eol: bytes) -> bytes:
    body = rng.choice(BODIES)
    out = _head(rng, eol, _of(rng, GOOD, BAD))
    if rng.random() < 0.25:
        out += b"Location: " + rng.choice(PLACES) + eol
    match rng.randrange(5):
        case 0 | 1:
            out += b"Transfer-Encoding: " + _of(rng, [b"chunked"], CODINGS) + eol
            if rng.random() < 0.05:
                out += b"Content-Length: " + rng.choice(LENGTHS) + eol
            return out + eol + _chunks(rng, eol, body)
        case 2 | 3:
            true = str(len(body)).encode()
            out += b"Content-Length: " + _of(rng, [true], LENGTHS) + eol
            if rng.random() < 0.05:
                out += b"Content-Length: " + rng.choice((true, *LENGTHS)) + eol
    return out + eol + body


def _chunks(rng: Random, eol: bytes, body: bytes) -> bytes:
    out, size = b"", rng.choice((1, 2, 3, 1000))
    extensions = EXTENSIONS if rng.random() < 0.9 else NO_EXTENSIONS
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        out += (
            (b"%x" % len(piece) if rng.random() < 0.995 else rng.choice(SIZES)) + rng.choice(extensions) + eol + piece
        )
        out += eol if rng.random() < 0.995 else b""
    if rng.random() < 0.9:
        out += b"0" + rng.choice(extensions) + eol
        out += b"".join(_of(rng, TRAILERS, NO_TRAILERS) + eol for _ in range(rng.choice((0, 0, 1, 3))))
        out += eol if rng.random() < 0.9 else b""
    return out


_change: Mutate = in_parts(lambda data, rng: (mutate_lines if rng.random() < 0.6 else mutate_bytes)(data, rng), NEXT)


def mutate_http(data: bytes, rng: Random) -> bytes:
    """Change an input; every third time make a new one, or take a part of one."""
    if rng.random() < 0.3:
        new = random_http(rng)
        head, _, _ = data.partition(b"\n")
        return new if rng.random() < 0.7 else head + b"\n" + new.partition(b"\n")[2]
    head, _, rest = data.partition(b"\n")
    if rng.random() < 0.15:
        return random_http(rng).partition(b"\n")[0] + b"\n" + rest
    return head + b"\n" + _change(rest, rng)
