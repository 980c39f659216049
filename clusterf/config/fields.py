"""Readers of single fields of the configuration.

A reader takes any JSON value but null and returns the field's value, or raises
ValueError with the reason why it is not one.
"""

import re
from collections.abc import Callable
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_network
from types import NoneType
from typing import Annotated, Any, get_args

import msgspec

from clusterf.config.model import Port
from clusterf.ipvs.table import SCHEDULER_FLAGS, SCHEDULERS
from clusterf.lib.addresses import IPAddress, IPNetwork, check_real_server_address, parse_ip, parse_ipv4
from clusterf.lib.patterns import check_pattern, compile_pattern
from clusterf.lib.text import parse_node_name

__all__ = [
    "ALL_ONES",
    "Read",
    "address",
    "fields_of",
    "matching",
    "one_of",
    "or_default",
    "read_body",
    "read_expected",
    "read_headers",
    "read_method",
    "read_name_patterns",
    "read_netmask",
    "read_node_name",
    "read_object",
    "read_pattern",
    "read_port",
    "read_prefix",
    "read_scheduler",
    "read_scheduler_flags",
    "read_server_name",
    "read_sources",
    "read_status",
]

Read = Callable[[Any], Any]
ALL_ONES = 0xFFFFFFFF
_HTTP_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # a token of RFC 9110
_PREFIX = re.compile(r"([^/]+)(/[0-9]{1,3})?")
_STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_LABEL = r"[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_OWN_HEADERS = {"connection", "content-length", "expect", "transfer-encoding"}  # set by the probes
_MAX_HEADERS = 16 << 10  # bytes, of names and values
_MAX_BODY = 64 << 10  # bytes
_MAX_EXPECTED = 1 << 10  # characters
_MAX_PATTERNS = 1000


def _typed(kind: Any) -> Read:
    """Return a reader of values that msgspec converts to `kind`."""
    one = msgspec.defstruct("One", [("value", kind)], array_like=True)

    def read(raw: object) -> object:
        try:
            return msgspec.convert((raw,), one).value  # type: ignore[attr-defined]
        except msgspec.ValidationError as error:
            raise ValueError(str(error).rpartition(" - at `")[0]) from None

    return read


def fields_of(model: type[msgspec.Struct]) -> dict[str, Any]:
    """Return a reader for each field of `model`, by its annotation."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(model)}
    return {
        name: _typed(get_args(kind)[0] if NoneType in get_args(kind) else kind)  # null is not read: it counts as absent
        for name, kind in kinds.items()
    }


read_object = _typed(dict[str, Any])
_text = _typed(str)
_texts = _typed(tuple[str, ...])
_texts_by_name = _typed(dict[str, str])
read_port = _typed(Port)
_prefix_length = _typed(Annotated[int, msgspec.Meta(ge=1, le=128)])


def matching(pattern: str, what: str, longest: int = 4096) -> Read:
    """Return a reader of strings that match `pattern` and have at most `longest` characters."""
    whole = re.compile(pattern)

    def read(raw: object) -> object:
        if not whole.fullmatch(text := _short(raw, longest)):
            raise ValueError(f"not {what}: {text}")
        return text

    return read


def _short(raw: object, longest: int) -> str:
    text: str = _text(raw)
    if len(text) > longest:
        raise ValueError(f"{len(text)} characters are too many, the limit is {longest}")
    return text


def one_of(kind: type[Enum]) -> Read:
    """Return a reader of the lower-case names of members of `kind`."""
    members = {member.name.lower(): member for member in kind}

    def read(raw: object) -> Enum:
        if (text := _text(raw)) not in members:
            raise ValueError(f"not one of {', '.join(members)}: {text}")
        return members[text]

    return read


def or_default(read: Read, default: str | None) -> Read:
    """Return a reader like `read`, but with `default` for an empty string."""
    return lambda raw: default if raw == "" else read(raw)


def address(parse: Callable[[str], IPAddress], check: Callable[[IPAddress], None]) -> Read:
    """Return a reader of addresses that pass `check`."""

    def read(raw: object) -> IPAddress | None:
        if not (text := _text(raw)):
            return None
        check(address := parse(text))
        return address

    return read


def read_prefix(raw: object) -> IPNetwork | None:
    """Return an address prefix with its host bits masked, None for an empty string."""
    if not (text := _text(raw)):
        return None
    if not (match := _PREFIX.fullmatch(text)):
        raise ValueError(f"not an address prefix: {text}")
    parse_ip(match[1])  # stricter than ip_network, and with better reasons
    return ip_network(text, strict=False)


def read_name_patterns(raw: object) -> tuple[str, ...]:
    """Return patterns for names."""
    patterns: tuple[str, ...] = _texts(raw)
    if len(patterns) > _MAX_PATTERNS:
        raise ValueError(f"{len(patterns)} patterns are too many, the limit is {_MAX_PATTERNS}")
    return tuple(map(check_pattern, patterns))


def read_netmask(raw: object) -> IPv4Address | int | None:
    """Return an IPv4 mask or a prefix length."""
    if not isinstance(raw, str):
        length: int = _prefix_length(raw)
        return length
    if not raw:
        return None
    mask = parse_ipv4(raw)
    hosts = int(mask) ^ ALL_ONES
    if hosts == ALL_ONES or hosts & (hosts + 1):
        raise ValueError(f"not a netmask, or one with holes: {raw}")
    return mask


def read_scheduler(raw: object) -> str | None:
    """Return the name of a scheduler, None for an empty string."""
    if (text := _text(raw)) and text not in SCHEDULERS:
        raise ValueError(f"unknown scheduler: {text}")
    return text or None


def read_scheduler_flags(raw: object) -> tuple[str, ...]:
    """Return a list of names of scheduler flags."""
    flags: tuple[str, ...] = _texts(raw)
    for flag in flags:
        if flag not in SCHEDULER_FLAGS:
            raise ValueError(f"unknown scheduler flag: {flag}")
    return flags


def read_status(raw: object) -> tuple[tuple[int, int], ...]:
    """Return the inclusive ranges of a list such as `200-399,404`."""
    ranges = []
    for part in _short(raw, 1000).split(","):
        match = _STATUS.fullmatch(part.strip())
        if not match or (low := int(match[1])) > (high := int(match[2] or low)):
            raise ValueError(f"not a list of HTTP status codes such as 200-399,404: {part}")
        ranges.append((low, high))
    return tuple(ranges)


def read_method(raw: object) -> str:
    """Return an HTTP method in upper case."""
    method = str(_token(raw)).upper()
    if method == "CONNECT":
        raise ValueError("CONNECT is not supported")
    return method


_token = matching(_HTTP_NAME, "an HTTP method", 32)


def read_headers(raw: object) -> tuple[tuple[str, str], ...]:
    """Return the names and values of HTTP headers; all can be sent."""
    headers: dict[str, str] = _texts_by_name(raw)
    for name, text in headers.items():
        if not re.fullmatch(_HTTP_NAME, name):
            raise ValueError(f"not a header name: {name}")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"header {name} cannot be set")
        if re.search(r"[\0-\x08\x0a-\x1f\x7f]", text):
            raise ValueError(f"control character in header {name}")
    if (size := sum(len(name) + len(text.encode()) for name, text in headers.items())) > _MAX_HEADERS:
        raise ValueError(f"{size} bytes are too many, the limit is {_MAX_HEADERS}")
    return tuple(headers.items())


def read_body(raw: object) -> str:
    """Return the body of an HTTP request."""
    body: str = _text(raw)
    if (size := len(body.encode())) > _MAX_BODY:
        raise ValueError(f"{size} bytes are too many, the limit is {_MAX_BODY}")
    return body


def read_expected(raw: object) -> str:
    """Return a text to search for."""
    return _short(raw, _MAX_EXPECTED)


def read_pattern(raw: object) -> str:
    """Return an RE2 regular expression, as written."""
    if pattern := _short(raw, _MAX_EXPECTED):
        compile_pattern(pattern)
    return pattern


def read_node_name(raw: object) -> object:
    """Read the name of a node."""
    return parse_node_name(_text(raw))


def read_server_name(raw: object) -> str:
    """Return the name or address that a certificate is for; it may be empty."""
    name: str = _short(raw, 253)
    if name and not _HOST_NAME.fullmatch(name):
        try:
            parse_ip(name)
        except ValueError:
            raise ValueError(f"not a host name or address: {name}") from None
    return name


def read_sources(raw: object) -> tuple[IPv4Address | None, IPv6Address | None]:
    """Return the address of each family in an address or a list of them."""
    texts = ((raw,) if raw else ()) if isinstance(raw, str) else _texts(raw)
    found: dict[type, IPAddress] = {}
    for text in texts:
        address = parse_ip(text)
        check_real_server_address(address)
        if found.setdefault(type(address), address) is not address:
            raise ValueError(f"more than one address of a family: {text}")
    return found.get(IPv4Address), found.get(IPv6Address)  # type: ignore[return-value]
