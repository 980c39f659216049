"""From JSON to the values of the configuration, and their problems.

This is the one place where untrusted bytes become values, so nothing that is
in them may raise. Each kind of object has a `Shape`: how each field is read,
and what its fields must be to each other. As Go's encoding/json does, names of
fields are matched without regard to case, the last of equal names counts, and null
counts as absent; an empty address, prefix, gateway, method or scheduler does, too.
(A name that is repeated to the letter counts at its first place.)
"""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from clusterf.config.fields import (
    ALL_ONES,
    address,
    fields_of,
    matching,
    one_of,
    or_default,
    read_body,
    read_expected,
    read_headers,
    read_method,
    read_name_patterns,
    read_netmask,
    read_node_name,
    read_pattern,
    read_port,
    read_prefix,
    read_scheduler,
    read_scheduler_flags,
    read_server_name,
    read_sources,
    read_status,
)
from clusterf.config.model import (
    MAX_TIMEOUT,
    MIN_INTERVAL,
    NO_BODY,
    Backend,
    BackendCheck,
    BackendKey,
    Frontend,
    FrontendKey,
    HealthCheck,
    HealthKey,
    Key,
    Persistence,
    Route,
    RouteKey,
    Tls,
    Value,
    VipKey,
    VipRule,
)
from clusterf.config.problems import Problem
from clusterf.config.reading import Reading, Shape
from clusterf.ipvs.table import Tunnel, TunnelChecksum, TunnelType
from clusterf.lib.addresses import check_real_server_address, check_vip, parse_ip, parse_ipv4, parse_ipv6

__all__ = ["MAX_DEPTH", "MAX_SIZE", "OF_HTTP", "Decoded", "decode"]

MAX_DEPTH: Final = 64  # of objects and lists in a value
MAX_SIZE: Final = 3 << 19  # bytes; the limit of a request to etcd, 1.5 MiB
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)  # the last one may have no end
_INNERMOST: Final = re.compile(rb"\[\]|\{\}")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_JSON: Final = msgspec.json.Decoder(dict[str, Any])


class Decoded(msgspec.Struct, frozen=True):
    """A value, None if it is invalid, and its problems.

    `fallback` is in force for an invalid value if no valid one is known: a backend of which
    only the check is invalid is checked in another way, not left out.
    """

    value: Value | None
    problems: tuple[Problem, ...]
    fallback: Value | None = None


def decode(source: str, path: bytes, key: Key, raw: bytes, *, limit: int | None = MAX_SIZE) -> Decoded:
    """Return the value that `raw` holds for `key`, and all its problems.

    Never raises, whatever `raw` is. More than `limit` bytes are invalid. An empty value is
    an object without fields, but invalid for a frontend, a backend or a key of `vips/`, as a file that is
    written in place is empty first.
    An unknown field is a problem but not a fatal one. `source` and `path` only go into
    the problems.

    A persistence `netmask` that is a number is a prefix length: of IPv6 if the
    frontend has an `ipv6`, and IPv4 clients are then each on their own; else of
    IPv4. A dotted quad is always the IPv4 mask.
    """
    reading = Reading(source, path)
    try:
        if limit is not None and len(raw) > limit:
            raise ValueError(f"{len(raw)} bytes are too many, the limit is {limit}")
        data = _parse(raw, may_be_empty=not isinstance(key, FrontendKey | BackendKey | VipKey))
    except ValueError as error:
        reading.fault(str(error), "")
        return Decoded(None, reading.problems)
    value = reading.object(_SHAPES[type(key)], data)
    if not reading.invalid:
        return Decoded(value, reading.problems)
    usable = isinstance(key, BackendKey) and all(f"{name}.".startswith("health.") for name in reading.invalid)
    fallback = replace(value, health=BackendCheck(origin="invalid")) if usable else None
    return Decoded(None, reading.problems, fallback)


def _parse(raw: bytes, *, may_be_empty: bool) -> dict[str, Any]:
    """Return the JSON object in `raw`. Raises ValueError."""
    text = raw.decode()
    if _is_deep(raw):  # the same everywhere, which the stack of who decodes is not
        raise ValueError("nested too deeply")
    if not text or text.isspace():
        if not may_be_empty:
            raise ValueError("empty")
        return {}
    try:
        return _JSON.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _is_deep(raw: bytes) -> bool:
    """Tell whether the JSON in `raw` is nested too deeply; what is no JSON may be either."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", raw).translate(None, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        outer = _INNERMOST.sub(b"", brackets)
        if len(outer) == len(brackets):
            return False
        brackets = outer
    return bool(brackets)


def _frontend(fields: dict[str, Any], reading: Reading) -> Frontend:
    if "persistence" in fields:
        six = fields.get("ipv6") is not None
        fields["persistence"] = _persistence(fields["persistence"], reading, six=six)
    frontend = Frontend(**fields)
    if frontend.one_packet and frontend.udp is None and frontend.fwmark is None:
        reading.fault("needs udp or fwmark", "one_packet", "udp", "fwmark")
    for flag in frontend.scheduler_flags if frontend.scheduler else ():
        if not flag.startswith((f"{frontend.scheduler}-", "flag-")):
            reading.fault(f"{flag} is not a flag of {frontend.scheduler}", "scheduler_flags")
    return frontend


def _persistence(fields: dict[str, Any], reading: Reading, *, six: bool) -> Persistence:
    netmask = fields.pop("netmask", None)
    if isinstance(netmask, IPv4Address):
        fields["netmask4"] = int(netmask)
    elif netmask and six:
        fields["netmask6"] = netmask
    elif netmask and netmask <= 32:
        fields["netmask4"] = ALL_ONES << (32 - netmask) & ALL_ONES
    elif netmask:
        reading.fault(f"a prefix length of IPv4 is at most 32, not {netmask}", "persistence.netmask", "ipv6")
    return Persistence(**fields)


def _backend(fields: dict[str, Any], reading: Reading) -> Backend:
    if "health" in fields:
        origin = fields["health"].pop("from", "operator")
        check = _health_check(fields["health"], reading, "health.")
        fields["health"] = BackendCheck(check if origin != "invalid" else HealthCheck(), origin)
    backend = Backend(**fields)
    if backend.lower_threshold > backend.upper_threshold:
        reading.fault("greater than upper_threshold", "lower_threshold", "upper_threshold")
    return backend


OF_HTTP: Final = frozenset({"path", "method", "host", "status", "headers", "body", "expect", "expect_regex", "tls"})


def _health_check(fields: dict[str, Any], reading: Reading, at: str = "") -> HealthCheck:
    """Return the check that has these fields; `at` is the prefix of their names in problems."""
    if "type" not in fields:
        for field in sorted(OF_HTTP & fields.keys()):
            reading.ignore("has no effect without a type of http or https", at + field)
    _clamp(fields, reading, at)
    # the default of an absent field must fit the fields that are present
    fields.setdefault("timeout", min(HealthCheck().timeout, fields.get("interval", HealthCheck().interval)))
    fields["source4"], fields["source6"] = fields.pop("source", (None, None))
    check = HealthCheck(**fields)
    for field in ("expect", "expect_regex"):
        if check.method == "HEAD" and getattr(check, field):
            reading.fault("an answer to HEAD has no body", at + field, f"{at}method")
    if check.body and check.method in NO_BODY:
        reading.note(f"a request by {check.method} has no body: the backends are not probed", f"{at}body")
    if check.timeout > check.interval:
        reason = f"{check.timeout:g} s is longer than the interval, {check.interval:g} s"
        reading.fault(reason, f"{at}timeout", f"{at}interval")
    return check


def _clamp(fields: dict[str, Any], reading: Reading, at: str) -> None:
    """Raise intervals and lower a timeout that would have probes cost others more than they are worth."""
    for field in ("interval", "fast_interval"):
        if fields.get(field, MIN_INTERVAL) < MIN_INTERVAL:
            reading.note(f"{fields[field]:g} s is too short: {MIN_INTERVAL:g} s is used", at + field)
            fields[field] = MIN_INTERVAL
    if fields.get("timeout", 0.0) > MAX_TIMEOUT:
        reading.note(f"{fields['timeout']:g} s is too long: {MAX_TIMEOUT:g} s is used", f"{at}timeout")
        fields["timeout"] = MAX_TIMEOUT


def _route(fields: dict[str, Any], reading: Reading) -> Route:
    prefix, gateway = fields.get("prefix"), fields.get("gateway")
    if "tunnel" in fields and fields.get("ipvsmethod") != "tunnel":
        reading.fault("needs an IPVSMethod of tunnel", "tunnel", "ipvsmethod")
    return Route(
        prefix4=prefix if isinstance(prefix, IPv4Network) else None,
        prefix6=prefix if isinstance(prefix, IPv6Network) else None,
        gateway4=gateway if isinstance(gateway, IPv4Address) else None,
        gateway6=gateway if isinstance(gateway, IPv6Address) else None,
        method=fields.get("ipvsmethod"),
        tunnel=fields.get("tunnel", Tunnel()),
    )


def _vip_rule(fields: dict[str, Any], reading: Reading) -> VipRule:
    prefix = fields.get("prefix")
    if prefix is None:
        reading.fault("needs a prefix", "prefix")
    if "services" not in fields:
        reading.fault("needs a list of patterns; an empty one gives the prefix to no service", "services")
    return VipRule(
        prefix4=prefix if isinstance(prefix, IPv4Network) else None,
        prefix6=prefix if isinstance(prefix, IPv6Network) else None,
        services=fields.get("services", ()),
    )


# IPVS has checksums of its own for these types only, and accepts any other without an error
_CHECKSUMS: Final = {
    TunnelType.IPIP: {TunnelChecksum.NONE},
    TunnelType.GUE: {TunnelChecksum.NONE, TunnelChecksum.CSUM, TunnelChecksum.REMCSUM},
    TunnelType.GRE: {TunnelChecksum.NONE, TunnelChecksum.CSUM},
}


def _tunnel(fields: dict[str, Any], reading: Reading) -> Tunnel:
    tunnel = Tunnel(**fields)
    name = tunnel.type.name.lower()
    if tunnel.type is TunnelType.GUE and not tunnel.port:
        reading.fault("gue needs the port at which the real server takes it", "tunnel.port", "tunnel.type")
    elif tunnel.type is not TunnelType.GUE and tunnel.port:
        reading.fault(f"{name} has no port", "tunnel.port", "tunnel.type")
    if tunnel.checksum not in _CHECKSUMS[tunnel.type]:
        reading.fault(f"{name} has no {tunnel.checksum.name.lower()}", "tunnel.checksum", "tunnel.type")
    return tunnel


def _as_fields(fields: dict[str, Any], _: Reading) -> dict[str, Any]:
    return fields


def _tls(fields: dict[str, Any], _: Reading) -> Tls:
    return Tls(**fields)


# source4 and source6 are one field of the configuration
_HEALTH: Final = {name: read for name, read in fields_of(HealthCheck).items() if name not in ("source4", "source6")} | {
    "path": matching(r"/[^\s\x00-\x1f\x7f-\x9f]*", "a path that starts with / and holds no spaces"),
    "method": or_default(read_method, HealthCheck().method),
    "host": matching(r"[!-~]*", "a name of ASCII without spaces and control characters", 255),
    "status": read_status,
    "headers": read_headers,
    "body": read_body,
    "expect": read_expected,
    "expect_regex": read_pattern,
    "source": read_sources,
    "tls": Shape(
        fields_of(Tls)
        | {
            "server_name": read_server_name,
            "ca": matching(r"(/[^\x00-\x1f\x7f-\x9f]*)?", "an absolute file name"),
        },
        _tls,
    ),
}
# `from` says that a container's label asks for the check, or for what is none
_BACKEND_HEALTH: Final = Shape(_HEALTH | {"from": matching("label|invalid", "label or invalid")}, _as_fields)
_SHAPES: Final[Mapping[type, Shape]] = {
    FrontendKey: Shape(
        fields_of(Frontend)
        | {
            "ipv4": address(parse_ipv4, check_vip),
            "ipv6": address(parse_ipv6, check_vip),
            "scheduler": read_scheduler,
            "scheduler_flags": read_scheduler_flags,
            "persistence": Shape({"timeout": fields_of(Persistence)["timeout"], "netmask": read_netmask}, _as_fields),
        },
        _frontend,
    ),
    BackendKey: Shape(
        fields_of(Backend)
        | {
            "ipv4": address(parse_ipv4, check_real_server_address),
            "ipv6": address(parse_ipv6, check_real_server_address),
            "publisher": read_node_name,
            "health": _BACKEND_HEALTH,
        },
        _backend,
    ),
    HealthKey: Shape(_HEALTH, _health_check),
    RouteKey: Shape(
        {
            "prefix": read_prefix,
            "gateway": address(parse_ip, check_real_server_address),
            "ipvsmethod": or_default(fields_of(Route)["method"], None),
            "tunnel": Shape(
                {"type": one_of(TunnelType), "port": read_port, "checksum": one_of(TunnelChecksum)}, _tunnel
            ),
        },
        _route,
    ),
    VipKey: Shape({"prefix": read_prefix, "services": read_name_patterns}, _vip_rule),
}
