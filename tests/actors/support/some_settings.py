"""Settings for tests to which most of them do not matter."""

import msgspec

from actors.settings import Settings

__all__ = ["some_settings"]


def some_settings(**changes):
    """Return settings with some value for every field."""
    values = {"int": 1, "float": 1.0, "str": "", "bool": False}
    fields = {
        field.name: () if "tuple" in str(field.type) else values.get(getattr(field.type, "__name__", ""), "")
        for field in msgspec.structs.fields(Settings)
    }
    fields |= {"log_format": "text", "ipvs_forward_method": "masq", "log_level": "info", "vip_policy": "open"}
    fields |= {"docker_address": "container", "route_ipvs_method": None, "docker_label_checks": "basic"}
    return Settings(**fields | changes)
