"""From JSON to the values of the configuration, and what is wrong with them.

This is the one place where untrusted bytes become values, so nothing that is
in them may raise. Each kind of object has a `_Shape`: how each field is read,
and what its fields must be to each other. Fields are read one by one, so that
every bad one is reported. As Go's encoding/json does, names of fields are
matched without regard to case, the last of equal names counts, and null counts
as absent; an empty address, prefix, gateway, method or scheduler does, too.
(A name that is repeated to the letter counts at its first place.)
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, inet_pton
from types import NoneType
from typing import Annotated, Any, Final, NamedTuple, get_args

import msgspec

from clusterf.model import (
    Backend,
    BackendKey,
    Frontend,
    FrontendKey,
    HealthCheck,
    HealthKey,
    IPNetwork,
    Key,
    Persistence,
    Route,
    RouteKey,
    Tls,
    Value,
)
from clusterf.names import escape
from clusterf.table import SCHEDULER_FLAGS, SCHEDULERS, IPAddress

__all__ = ["MAX_SIZE", "Decoded", "Problem", "decode"]

MAX_SIZE: Final = 3 << 19  # etcd's own limit of a request, 1.5 MiB
_SHOWN = 200  # characters of a hostile value that a line of a log takes
_JSON: Final = msgspec.json.Decoder(dict[str, Any])
_Read = Callable[[Any], Any]
_ALL_ONES = 0xFFFFFFFF
_BROADCAST = IPv4Address(_ALL_ONES)
_PREFIX = re.compile(r"([^/]+)(/[0-9]{1,3})?")
_STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_HTTP_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # a token of RFC 9110


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with one key of one source.

    `path` is the key path, `field` is empty where the object as a whole is
    meant. `fatal`: the object is not used; else this is only a warning.
    `str()` of it is one printable line, whatever the parts hold.
    """

    source: str
    path: bytes
    field: str
    reason: str
    fatal: bool

    def __str__(self) -> str:
        parts = (_printable(self.source), escape(self.path), _printable(self.field), _printable(self.reason))
        return ": ".join(filter(None, parts))


class Decoded(msgspec.Struct, frozen=True):
    """A value, None if it is bad, and what was wrong with it."""

    value: Value | None
    problems: tuple[Problem, ...]


def decode(source: str, path: bytes, key: Key, raw: bytes) -> Decoded:
    """Return the value that `raw` holds for `key`, and all that is wrong with it.

    Never raises, whatever `raw` is. An unknown field is a problem but not a
    fatal one. `source` and `path` only go into the problems.

    A persistence `netmask` that is a number is a prefix length: of IPv6 if the
    frontend has an `ipv6`, and IPv4 clients are then each on their own; else of
    IPv4. A dotted quad is always the IPv4 mask.
    """
    reading = _Reading(source, path)
    try:
        data = _parse(raw)
    except ValueError as error:
        reading.fault(str(error), "")
        return Decoded(None, tuple(reading.problems))
    value = reading.object(_SHAPES[type(key)], data)
    return Decoded(None if reading.bad else value, tuple(reading.problems))


def _parse(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in `raw`. Raises ValueError."""
    if len(raw) > MAX_SIZE:
        raise ValueError(f"{len(raw)} bytes are too many, the limit is {MAX_SIZE}")
    text = raw.decode()
    if not text or text.isspace():
        return {}
    try:
        return _JSON.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _printable(text: str) -> str:
    return _cut(escape(_cut(text).encode(errors="surrogatepass")))


class _Shape(NamedTuple):
    """How an object is read: its fields by lower-case name, and what is made of those present."""

    fields: Mapping[str, "_Read | _Shape"]
    finish: Callable[[dict[str, Any], "_Reading"], Any]


class _Reading:
    """One value while it is read, and what is wrong with it so far."""

    def __init__(self, source: str, path: bytes) -> None:
        self.source = source
        self.path = path
        self.problems: list[Problem] = []
        self.bad: set[str] = set()  # the fields with a fatal problem

    def fault(self, reason: str, field: str, *others: str) -> None:
        """Report `field` as bad, unless it, or one of the others that it is judged by, already is."""
        if self.bad.isdisjoint((field, *others)):
            self.bad.add(field)
            self.problems.append(Problem(self.source, self.path, field, _cut(reason), fatal=True))

    def object(self, shape: _Shape, data: dict[str, Any], at: str = "") -> Any:
        """Return what `shape` makes of `data`; `at` is in front of the names of its fields."""
        values = {}
        last = {name.lower(): (name, raw) for name, raw in data.items() if raw is not None}
        for field, (name, raw) in last.items():
            read = shape.fields.get(field)
            if read is None:
                self.problems.append(Problem(self.source, self.path, _cut(at + name), "unknown field", fatal=False))
                continue
            try:
                if isinstance(read, _Shape):
                    values[field] = self.object(read, _object(raw), f"{field}.")
                else:
                    values[field] = read(raw)
            except ValueError as error:
                self.fault(str(error), at + field)
        return shape.finish(values, self)


def _typed(kind: Any) -> _Read:
    """Return a reader of what msgspec takes for `kind`."""
    one = msgspec.defstruct("One", [("value", kind)], array_like=True)

    def read(raw: object) -> object:
        try:
            return msgspec.convert((raw,), one).value  # type: ignore[attr-defined]
        except msgspec.ValidationError as error:
            raise ValueError(str(error).rpartition(" - at `")[0]) from None

    return read


def _fields(model: type[msgspec.Struct]) -> dict[str, Any]:
    """Return a reader for each field of `model`, by its annotation."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(model)}
    return {
        name: _typed(get_args(kind)[0] if NoneType in get_args(kind) else kind)  # null does not come so far
        for name, kind in kinds.items()
    }


_object = _typed(dict[str, Any])
_text = _typed(str)
_texts = _typed(tuple[str, ...])
_texts_by_name = _typed(dict[str, str])
_prefix_length = _typed(Annotated[int, msgspec.Meta(ge=1, le=128)])


def _matching(pattern: str, what: str) -> _Read:
    """Return a reader of strings that match `pattern`."""
    whole = re.compile(pattern)

    def read(raw: object) -> object:
        if not whole.fullmatch(text := _text(raw)):
            raise ValueError(f"not {what}: {text}")
        return text

    return read


def _or_default(read: _Read, default: str | None) -> _Read:
    """Return a reader that takes an empty string for `default`, and else is `read`."""
    return lambda raw: default if raw == "" else read(raw)


def _address(parse: Callable[[str], IPAddress], check: Callable[[IPAddress], None]) -> _Read:
    """Return a reader of addresses that `check` lets through."""

    def read(raw: object) -> IPAddress | None:
        if not (text := _text(raw)):
            return None
        check(address := parse(text))
        return address

    return read


def _ipv4(text: str) -> IPv4Address:
    # the C library parses far faster than ipaddress, and takes no zones
    try:
        return IPv4Address(inet_pton(AF_INET, text))
    except (OSError, ValueError):
        raise ValueError(f"not an IPv4 address: {text}") from None


def _ipv6(text: str) -> IPv6Address:
    try:
        return IPv6Address(inet_pton(AF_INET6, text))
    except (OSError, ValueError):
        raise ValueError(f"not an IPv6 address (a zone is not part of one): {text}") from None


def _ip(text: str) -> IPAddress:
    return _ipv6(text) if ":" in text else _ipv4(text)


def _check_vip(address: IPAddress) -> None:
    """Raise ValueError if no client can connect to `address`."""
    if address.is_unspecified or address.is_multicast or address == _BROADCAST:
        raise ValueError(f"unspecified, multicast or broadcast address: {address}")


def _check_end(address: IPAddress) -> None:
    """Raise ValueError if the kernel takes no real server with `address`."""
    _check_vip(address)
    if isinstance(address, IPv6Address) and (address.is_link_local or address.ipv4_mapped):
        raise ValueError(f"link-local or IPv4-mapped address: {address}")


def _prefix(raw: object) -> IPNetwork | None:
    if not (text := _text(raw)):
        return None
    if not (match := _PREFIX.fullmatch(text)):
        raise ValueError(f"not an address prefix: {text}")
    _ip(match[1])  # more exact than ip_network in what it takes and in what it says
    return ip_network(text, strict=False)


def _netmask(raw: object) -> IPv4Address | int | None:
    """Return an IPv4 mask or a prefix length."""
    if not isinstance(raw, str):
        length: int = _prefix_length(raw)
        return length
    if not raw:
        return None
    mask = _ipv4(raw)
    hosts = int(mask) ^ _ALL_ONES
    if hosts == _ALL_ONES or hosts & (hosts + 1):
        raise ValueError(f"not a netmask, or one with holes: {raw}")
    return mask


def _scheduler(raw: object) -> str | None:
    if (text := _text(raw)) and text not in SCHEDULERS:
        raise ValueError(f"unknown scheduler: {text}")
    return text or None


def _scheduler_flags(raw: object) -> tuple[str, ...]:
    flags: tuple[str, ...] = _texts(raw)
    for flag in flags:
        if flag not in SCHEDULER_FLAGS:
            raise ValueError(f"unknown scheduler flag: {flag}")
    return flags


def _status(raw: object) -> tuple[tuple[int, int], ...]:
    ranges = []
    for part in _text(raw).split(","):
        match = _STATUS.fullmatch(part.strip())
        if not match or (low := int(match[1])) > (high := int(match[2] or low)):
            raise ValueError(f"not a list of HTTP status codes such as 200-399,404: {part}")
        ranges.append((low, high))
    return tuple(ranges)


def _headers(raw: object) -> tuple[tuple[str, str], ...]:
    for name, text in (headers := _texts_by_name(raw)).items():
        if not re.fullmatch(_HTTP_NAME, name):
            raise ValueError(f"not a header name: {name}")
        if re.search(r"[\r\n\0]", text):
            raise ValueError(f"CR, LF or NUL in the header {name}")
    return tuple(headers.items())


def _frontend(fields: dict[str, Any], reading: _Reading) -> Frontend:
    if "persistence" in fields:
        six = fields.get("ipv6") is not None
        fields["persistence"] = _persistence(fields["persistence"], reading, six=six)
    frontend = Frontend(**fields)
    if frontend.one_packet and frontend.udp is None and frontend.fwmark is None:
        reading.fault("needs udp or fwmark", "one_packet", "udp", "fwmark")
    for flag in frontend.scheduler_flags if frontend.scheduler else ():
        if not flag.startswith((f"{frontend.scheduler}-", "flag-")):
            reading.fault(f"{flag} is no flag of {frontend.scheduler}", "scheduler_flags")
    return frontend


def _persistence(fields: dict[str, Any], reading: _Reading, *, six: bool) -> Persistence:
    netmask = fields.pop("netmask", None)
    if isinstance(netmask, IPv4Address):
        fields["netmask4"] = int(netmask)
    elif netmask and six:
        fields["netmask6"] = netmask
    elif netmask and netmask <= 32:
        fields["netmask4"] = _ALL_ONES << (32 - netmask) & _ALL_ONES
    elif netmask:
        reading.fault(f"a prefix length of IPv4 is at most 32, not {netmask}", "persistence.netmask", "ipv6")
    return Persistence(**fields)


def _backend(fields: dict[str, Any], reading: _Reading) -> Backend:
    backend = Backend(**fields)
    if backend.lower_threshold > backend.upper_threshold:
        reading.fault("greater than upper_threshold", "lower_threshold", "upper_threshold")
    return backend


def _health_check(fields: dict[str, Any], reading: _Reading) -> HealthCheck:
    check = HealthCheck(**fields)
    if check.timeout > check.interval:
        reading.fault(f"{check.timeout:g} s is longer than the interval, {check.interval:g} s", "timeout", "interval")
    return check


def _route(fields: dict[str, Any], _: _Reading) -> Route:
    prefix, gateway = fields.get("prefix"), fields.get("gateway")
    return Route(
        prefix4=prefix if isinstance(prefix, IPv4Network) else None,
        prefix6=prefix if isinstance(prefix, IPv6Network) else None,
        gateway4=gateway if isinstance(gateway, IPv4Address) else None,
        gateway6=gateway if isinstance(gateway, IPv6Address) else None,
        method=fields.get("ipvsmethod"),
    )


def _fields_of(fields: dict[str, Any], _: _Reading) -> dict[str, Any]:
    return fields


def _tls(fields: dict[str, Any], _: _Reading) -> Tls:
    return Tls(**fields)


_unspaced = _matching(r"[^\s\x00-\x1f\x7f-\x9f]*", "a name without spaces and control characters")
_SHAPES: Final[Mapping[type, _Shape]] = {
    FrontendKey: _Shape(
        _fields(Frontend)
        | {
            "ipv4": _address(_ipv4, _check_vip),
            "ipv6": _address(_ipv6, _check_vip),
            "scheduler": _scheduler,
            "scheduler_flags": _scheduler_flags,
            "persistence": _Shape({"timeout": _fields(Persistence)["timeout"], "netmask": _netmask}, _fields_of),
        },
        _frontend,
    ),
    BackendKey: _Shape(
        _fields(Backend) | {"ipv4": _address(_ipv4, _check_end), "ipv6": _address(_ipv6, _check_end)},
        _backend,
    ),
    HealthKey: _Shape(
        _fields(HealthCheck)
        | {
            "path": _matching(r"/[^\s\x00-\x1f\x7f-\x9f]*", "a path that starts with / and holds no spaces"),
            "method": _or_default(_matching(_HTTP_NAME, "an HTTP method"), HealthCheck().method),
            "host": _unspaced,
            "status": _status,
            "headers": _headers,
            "tls": _Shape(
                _fields(Tls) | {"server_name": _unspaced, "ca": _matching(r"[^\x00-\x1f\x7f-\x9f]*", "a file name")},
                _tls,
            ),
        },
        _health_check,
    ),
    RouteKey: _Shape(
        {
            "prefix": _prefix,
            "gateway": _address(_ip, _check_end),
            "ipvsmethod": _or_default(_fields(Route)["method"], None),
        },
        _route,
    ),
}
