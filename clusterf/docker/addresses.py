"""Where a container can be reached: by its own address on one of its networks, or by its host's.

Which network's is told by its label, else by the node's settings, else it is
the default bridge, else the only one that there is. Nothing is guessed: what
stays ambiguous is reported.

A container's last place stays known while it has none. An engine takes a
container off its networks before it says that it has ended, and one that has
ended has no address; yet its backends have to stay, with weight 0, where they
were.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple, TypeVar

import msgspec

from clusterf.docker.containers import Attachment, Container, Published
from clusterf.lib.addresses import IPAddress, Protocol, check_real_server_address

__all__ = ["AddressProblem", "Addressing", "ContainerAddress", "Found", "find", "host_ports"]

Address = TypeVar("Address", IPv4Address, IPv6Address)

BRIDGE: Final = "bridge"  # the name of the network that an engine puts containers on by default
_ANY: Final = {4: ("", "0.0.0.0"), 6: ("", "::")}  # noqa: S104


class Addressing(msgspec.Struct, frozen=True):
    """How a node publishes its containers.

    `host`: at `host4` and `host6`, by their published ports; else at their
    own addresses, of `network` where they are on it; empty: of no network
    before others.
    """

    network: str = ""
    host: bool = False
    host4: IPv4Address | None = None
    host6: IPv6Address | None = None


class ContainerAddress(msgspec.Struct, frozen=True):
    """Where a container can be reached, or could be when it last was.

    `network` is the id of the network that the addresses are of. They are the
    host's where there is `published`, which tells the ports there.
    """

    network: str = ""
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    published: tuple[Published, ...] | None = None

    @property
    def usable(self) -> bool:
        """Whether it is a place at all."""
        return bool(self.published or (self.published is None and (self.ipv4 or self.ipv6)))


class AddressProblem(NamedTuple):
    """Something that is wrong with where a container is; `fatal`: it takes something away."""

    reason: str
    fatal: bool = True


class Found(NamedTuple):
    """A container's place, None: there has never been one; whether it is there now; and what is wrong with that."""

    place: ContainerAddress | None
    present: bool
    flaws: tuple[AddressProblem, ...] = ()


def find(container: Container, label: str, addressing: Addressing, last: ContainerAddress | None) -> Found:
    """Return where a container is; `label` names its network, if not empty; `last` is where it was before.

    One that does not run is where it was.
    """
    try:
        place, flaws = _place(container, label, addressing, last)
    except ValueError as error:
        return Found(last, present=False, flaws=(AddressProblem(str(error)),) if container.running else ())
    if not container.running:
        return Found(last or (place if place.usable else None), present=False)
    if place.usable:
        return Found(place, present=True, flaws=flaws)
    if last is None and not flaws:
        flaws = (AddressProblem("it publishes no port" if addressing.host else "it has no address on its network"),)
    return Found(last, present=False, flaws=flaws)  # with a last place it is most likely about to end


def _place(
    container: Container, label: str, addressing: Addressing, last: ContainerAddress | None
) -> tuple[ContainerAddress, tuple[AddressProblem, ...]]:
    """Return where the engine says that a container is, and what is wrong with it. Raises ValueError."""
    if addressing.host:
        return ContainerAddress(ipv4=addressing.host4, ipv6=addressing.host6, published=container.published), ()
    attachment, doubt = _choose(container.attachments, label, addressing.network, last)
    ipv4, flaw4 = _fit(attachment.ipv4)
    ipv6, flaw6 = _fit(attachment.ipv6)
    return ContainerAddress(attachment.network_id, ipv4, ipv6), doubt + flaw4 + flaw6


def _choose(
    attachments: Sequence[Attachment], label: str, preferred: str, last: ContainerAddress | None
) -> tuple[Attachment, tuple[AddressProblem, ...]]:
    """Return the network whose addresses count, and a doubt about it. Raises ValueError where it cannot be told."""
    by_name = {attachment.network: attachment for attachment in attachments}
    if label:
        if label not in by_name:
            raise ValueError(f"it is not on the network {label[:100]}")
        return by_name[label], ()
    for name in (preferred, BRIDGE):
        if name in by_name:
            return by_name[name], ()
    if len(attachments) == 1:
        return attachments[0], ()
    if not attachments:
        raise ValueError("it is on no network")
    several = f"it is on several networks ({', '.join(by_name)[:100]}), and no label says which counts"
    for attachment in attachments:
        # it was the only one until a moment ago: a container that works is not taken away for another network
        if last is not None and attachment.network_id == last.network:
            return attachment, (AddressProblem(f"{several}; {attachment.network[:100]} still does", fatal=False),)
    raise ValueError(several)


def _fit(address: Address | None) -> tuple[Address | None, tuple[AddressProblem, ...]]:
    """Return the address if a backend can have it, else none and what is wrong with it."""
    if address is None:
        return None, ()
    try:
        check_real_server_address(address)
    except ValueError as error:
        return None, (AddressProblem(str(error)),)
    return address, ()


def host_ports(
    place: ContainerAddress, wanted: Sequence[tuple[Protocol, int]]
) -> tuple[ContainerAddress, dict[Protocol, int], bool]:
    """Return at which of the host's addresses, and at which ports there, a container's ports are.

    A backend has one port of each protocol. So what the host has at its IPv4
    address counts, else what it has at its IPv6 address; True: that has
    ports too, but others, and is left out.
    """
    four = _ports_at(place, place.ipv4, wanted)
    six = _ports_at(place, place.ipv6, wanted)
    ports = four or six
    at = ContainerAddress(ipv4=place.ipv4 if four else None, ipv6=place.ipv6 if six and six == ports else None)
    return at, ports, bool(six) and six != ports


def _ports_at(
    place: ContainerAddress, address: IPAddress | None, wanted: Sequence[tuple[Protocol, int]]
) -> dict[Protocol, int]:
    """Return the ports of the host's `address` that lead to those wanted, as far as there are any."""
    if address is None:
        return {}
    answering = {*_ANY[address.version], str(address)}
    return {
        at.protocol: at.host_port
        for at in reversed(place.published or ())
        if (at.protocol, at.port) in wanted and at.address in answering
    }
