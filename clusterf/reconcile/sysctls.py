"""The settings of IPVS that a director needs in its network namespace.

They are files below `/proc/sys/net/ipv4/vs`, which shows the settings of the
network namespace of the thread that opens them. Writing them
takes CAP_NET_ADMIN and nothing else. What each is for:
Documentation/networking/ipvs-sysctl.rst of the kernel.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from clusterf.ipvs.operation_log import log_prefix
from clusterf.lib.log_once import LogOnce

__all__ = ["RECOMMENDED", "VALUES", "SysctlKeeper", "parse_sysctls", "sysctl_command"]

log = logging.getLogger(__name__)

DIRECTORY = Path("/proc/sys/net/ipv4/vs")
_SWITCH = range(2)
# The bits of conn_reuse_mode: whether a new connection from a port that a client uses again is
# balanced anew, and whether in the state FIN_WAIT too.
VALUES: Mapping[str, range] = MappingProxyType(
    {
        "expire_nodest_conn": _SWITCH,
        "expire_quiescent_template": _SWITCH,
        "conn_reuse_mode": range(4),
        "conntrack": _SWITCH,
        "sloppy_tcp": _SWITCH,
    }
)
"""The settings that may be set, each with its allowed values."""

# conntrack is not among them: turned off it harms a firewall or source NAT, turned on it costs each connection
RECOMMENDED: Mapping[str, int] = MappingProxyType(
    {"expire_nodest_conn": 1, "expire_quiescent_template": 1, "conn_reuse_mode": 1, "sloppy_tcp": 1}
)
"""The settings of a director unless others are asked for."""


def parse_sysctls(text: str) -> dict[str, int]:
    """Return the settings that `text` asks for.

    `on` stands for the recommended ones, `off` for none; a list such as `conntrack=1,sloppy_tcp=0`
    changes the recommended ones. Raises ValueError with the reason.
    """
    match text.strip().lower():
        case "true" | "1" | "yes" | "on":
            return dict(RECOMMENDED)
        case "false" | "0" | "no" | "off":
            return {}
    named: dict[str, int] = {}
    for part in text.split(","):
        name, value = _parse_setting(part)
        if name in named:
            raise ValueError(f"{name} is given twice")
        named[name] = value
    return {**RECOMMENDED, **named}


def _parse_setting(text: str) -> tuple[str, int]:
    name, equals, value = (word.strip() for word in text.partition("="))
    if not equals:
        raise ValueError(f"{text.strip()!r} is not NAME=VALUE")
    if name not in VALUES:
        raise ValueError(f"{name!r} is not one of {', '.join(VALUES)}")
    allowed = VALUES[name]
    if value not in map(str, allowed):
        raise ValueError(f"{name} is {allowed[0]} to {allowed[-1]}, not {value!r}")
    return name, int(value)


def sysctl_command(name: str, value: int) -> str:
    """Return the command that sets one."""
    return f"sysctl -w net.ipv4.vs.{name}={value}"


class SysctlKeeper:
    """The `Companion` that keeps these settings, in the network namespace of the thread that calls it.

    With `noop` it writes nothing, and logs once what it would set.
    """

    def __init__(self, wanted: Mapping[str, int], *, noop: bool = False, directory: Path = DIRECTORY) -> None:
        self._wanted = wanted
        self._noop = noop
        self._directory = directory
        # the settings that were right when they were checked last
        self._right: set[str] = set()
        self._missing = LogOnce(log)
        self._would_set = LogOnce(log, logging.INFO)

    def keep(self) -> None:
        """Set what differs. Raises OSError if some cannot be set, after all others are."""
        failures = [failure for name, value in self._wanted.items() if (failure := self._keep(name, value))]
        if failures:
            raise OSError("; ".join(failures))

    def _keep(self, name: str, wanted: int) -> str:
        """Return what failed, "" if nothing did."""
        try:
            value = self._read(name)
            if value is None:
                self._missing.log(name, "ipvs: net.ipv4.vs.%s is missing in this kernel (ignored)", name)
            elif value == str(wanted):
                self._would_set.end(name)
                self._right.add(name)
            elif self._noop:
                self._would_set.log(name, "%s: %s", log_prefix(noop=True), sysctl_command(name, wanted))
            else:
                self._set(name, value, wanted)
        except OSError as error:
            self._right.discard(name)
            return f"failed: {sysctl_command(name, wanted)}: {error.strerror}"
        return ""

    def _read(self, name: str) -> str | None:
        """Return the value of a setting, None if this kernel does not have it."""
        try:
            return (self._directory / name).read_text().strip()
        except FileNotFoundError:
            # with noop there may be no IPVS at all, and the operations are to be logged nevertheless
            return "" if self._noop and not self._directory.exists() else None

    def _set(self, name: str, value: str, wanted: int) -> None:
        (self._directory / name).write_text(str(wanted))
        if name in self._right:
            log.warning("ipvs: drift: net.ipv4.vs.%s was set to %s outside clusterf, repairing", name, value)
        log.info("%s: %s  # was %s", log_prefix(noop=False), sysctl_command(name, wanted), value)
        self._right.add(name)
