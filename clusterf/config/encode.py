"""From values of the configuration to JSON: the reverse of `clusterf.config.decode`."""

from ipaddress import IPv4Address
from typing import Any

import msgspec

from clusterf.config.decode import OF_HTTP
from clusterf.config.model import TAG, Backend, BackendCheck, Frontend, HealthCheck, Route, Value, VipRule
from clusterf.ipvs.table import Tunnel

__all__ = ["encode", "to_json"]


def encode(value: Value) -> dict[str, Any]:
    """Return the JSON object of `value`, without fields that have their defaults; `decode` returns `value` for it."""
    match value:
        case Route(method=method):
            texts = {"Prefix": value.prefix, "Gateway": value.gateway, "IPVSMethod": method}
            fields: dict[str, Any] = {name: str(text) for name, text in texts.items() if text is not None}
            return fields | ({"tunnel": _tunnel(value.tunnel)} if value.tunnel != Tunnel() else {})
        case VipRule(services=services):
            return {"prefix": str(value.prefix), "services": list(services)}
        case Frontend(persistence=persistence) if persistence is not None:
            return _fields(value) | {"persistence": _persistence(_fields(persistence))}
        case Backend(health=own) if own is not None:
            return _fields(value) | {"health": _own_check(own)}
        case HealthCheck(headers=headers, status=status):
            fields = _fields(value)
            ranges = ",".join(f"{low}-{high}" if low != high else f"{low}" for low, high in status)
            readable: dict[str, Any] = {"headers": dict(headers), "status": ranges}
            fields |= {name: field for name, field in readable.items() if name in fields}
            if not fields.get("tls", True):  # which msgspec does not take for the default
                del fields["tls"]
            sources = [fields.pop(name) for name in ("source4", "source6") if name in fields]
            # without a type, these are reported
            type_ = {"type": value.type} if fields.keys() & OF_HTTP else {}
            return type_ | fields | ({"source": sources} if sources else {})
        case _:
            return _fields(value)


def to_json(value: Value) -> bytes:
    """Return the JSON object of `value` as text."""
    return msgspec.json.encode(encode(value))


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(value, enc_hook=str)
    fields.pop(TAG, None)
    return fields


def _own_check(own: BackendCheck) -> dict[str, Any]:
    return encode(own.check) | ({"from": own.origin} if own.origin != "operator" else {})


def _tunnel(tunnel: Tunnel) -> dict[str, Any]:
    names = {"type": tunnel.type, "checksum": tunnel.checksum}
    return {field: kind.name.lower() for field, kind in names.items() if kind} | (
        {"port": tunnel.port} if tunnel.port else {}
    )


def _persistence(fields: dict[str, Any]) -> dict[str, Any]:
    mask, length = fields.pop("netmask4", None), fields.pop("netmask6", None)
    if mask is not None:
        return fields | {"netmask": str(IPv4Address(mask))}
    return fields | {"netmask": length} if length is not None else fields
