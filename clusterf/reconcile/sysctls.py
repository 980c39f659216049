"""The settings of IPVS in this network namespace that a director is to have.

They are files below `/proc/sys/net/ipv4/vs`, which shows the settings of the
network namespace of the thread that opens them. To write them takes
CAP_NET_ADMIN and no more. What each is for:
Documentation/networking/ipvs-sysctl.rst of the kernel.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

__all__ = ["RECOMMENDED", "VALUES", "SysctlKeeper", "command", "parse_sysctls"]

log = logging.getLogger(__name__)

PLACE = Path("/proc/sys/net/ipv4/vs")
_SWITCH = range(2)
# what may be set, and to which values. The bits of conn_reuse_mode: whether the connections of a
# client that uses a port again are balanced anew, and whether in the state FIN_WAIT too
VALUES: Mapping[str, range] = MappingProxyType(
    {
        "expire_nodest_conn": _SWITCH,
        "expire_quiescent_template": _SWITCH,
        "conn_reuse_mode": range(4),
        "conntrack": _SWITCH,
        "sloppy_tcp": _SWITCH,
    }
)
# conntrack is left alone: turned off it harms a firewall or source NAT, turned on it costs each connection
RECOMMENDED: Mapping[str, int] = MappingProxyType(
    {"expire_nodest_conn": 1, "expire_quiescent_template": 1, "conn_reuse_mode": 1, "sloppy_tcp": 1}
)


def parse_sysctls(text: str) -> dict[str, int]:
    """Return the settings that `text` asks for: the recommended ones, as `conntrack=1,sloppy_tcp=0` changes them.

    A word for yes is the recommended ones, a word for no is none. Raises
    ValueError with the reason.
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
            raise ValueError(f"{name} is there twice")
        named[name] = value
    return {**RECOMMENDED, **named}


def _parse_setting(text: str) -> tuple[str, int]:
    name, equals, value = (word.strip() for word in text.partition("="))
    if not equals:
        raise ValueError(f"{text.strip()!r} is not NAME=VALUE")
    if name not in VALUES:
        raise ValueError(f"{name!r} is none of {', '.join(VALUES)}")
    allowed = VALUES[name]
    if value not in map(str, allowed):
        raise ValueError(f"{name} is {allowed[0]} to {allowed[-1]}, not {value!r}")
    return name, int(value)


def command(name: str, value: int) -> str:
    """Return the command that sets it."""
    return f"sysctl -w net.ipv4.vs.{name}={value}"


class SysctlKeeper:
    """The `Keeper` of these settings, in the network namespace of the thread that calls it.

    With `noop` it writes nothing, and says what it would set when that is news.
    """

    def __init__(self, wanted: Mapping[str, int], *, noop: bool = False, place: Path = PLACE) -> None:
        self._wanted = wanted
        self._noop = noop
        self._place = place
        # of what was found at the last look, all of which is news only once: what the kernel does
        # not have, what was right, what noop would have set
        self._unknown: set[str] = set()
        self._right: set[str] = set()
        self._told: set[str] = set()

    def keep(self) -> None:
        """Set what is not as it has to be. Raises OSError if some cannot be set, when the others are."""
        failures = [failure for name, value in self._wanted.items() if (failure := self._keep(name, value))]
        if failures:
            raise OSError("; ".join(failures))

    def _keep(self, name: str, wanted: int) -> str:
        """Return what went wrong, "" if nothing did."""
        try:
            value = self._read(name)
            if value is None:
                self._miss(name)
            elif value == str(wanted):
                self._told.discard(name)
                self._right.add(name)
            elif self._noop:
                self._tell(name, wanted)
            else:
                self._set(name, value, wanted)
        except OSError as error:
            self._right.discard(name)
            return f"failed: {command(name, wanted)}: {error.strerror}"
        return ""

    def _read(self, name: str) -> str | None:
        """Return the value of a setting, None if this kernel does not have it."""
        try:
            return (self._place / name).read_text().strip()
        except FileNotFoundError:
            # with noop there may be no IPVS at all, and what would be done is to be seen nevertheless
            return "" if self._noop and not self._place.exists() else None

    def _miss(self, name: str) -> None:
        if name not in self._unknown:
            log.warning("ipvs: this kernel has no net.ipv4.vs.%s here, which is left out", name)
        self._unknown.add(name)

    def _tell(self, name: str, wanted: int) -> None:
        if name not in self._told:
            log.info("ipvs noop: %s", command(name, wanted))
        self._told.add(name)

    def _set(self, name: str, value: str, wanted: int) -> None:
        (self._place / name).write_text(str(wanted))
        if name in self._right:
            log.warning("ipvs: net.ipv4.vs.%s was changed by others to %s, mending it", name, value)
        log.info("ipvs: %s  # was %s", command(name, wanted), value)
        self._right.add(name)
