"""Where a container can be reached: by its own address on one of its networks, or by its host's.

The network is the one that the container's label names, else the one of the
node's settings, else the default bridge, else the only one. Nothing is
guessed: what is ambiguous is reported.

The last address of a container is kept while it has none. An engine takes a
container off its networks before it reports that it has ended, and an ended
container has no address; yet its backends have to stay, with weight 0, where
they were.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple, TypeVar

import msgspec

from clusterf.docker.containers import Attachment, Container, Published
from clusterf.lib.addresses import IPAddress, Protocol, check_real_server_address

__all__ = [
    "AddressProblem",
    "AddressResult",
    "Addressing",
    "ContainerAddress",
    "address_at",
    "find_address",
    "host_ports",
]

Address = TypeVar("Address", IPv4Address, IPv6Address)

BRIDGE: Final = "bridge"  # the network that an engine puts containers on by default
_ANY: Final = {4: ("", "0.0.0.0"), 6: ("", "::")}  # noqa: S104


class Addressing(msgspec.Struct, frozen=True):
    """How a node publishes its containers.

    `host`: at `host4` and `host6`, by their published ports; else at their own
    addresses, on the network of the name `network` where they are connected to
    it; empty: no network is preferred.
    """

    network: str = ""
    host: bool = False
    host4: IPv4Address | None = None
    host6: IPv6Address | None = None


class ContainerAddress(msgspec.Struct, frozen=True):
    """Where a container can be reached, or could be last. It is stored by the names of its fields.

    `network` is the id of the network of the addresses. With `published`
    ports, the addresses are the host's.
    """

    network: str = ""
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    published: tuple[Published, ...] | None = None

    @property
    def usable(self) -> bool:
        """Whether there is an address, or for the host's a published port, at all."""
        return bool(self.published or (self.published is None and (self.ipv4 or self.ipv6)))


class AddressProblem(NamedTuple):
    """A problem of a container's address; `fatal`: the container is not published there."""

    reason: str
    fatal: bool = True


class AddressResult(NamedTuple):
    """The address of a container, None: it never had one; whether it has it now; and problems."""

    address: ContainerAddress | None
    present: bool
    problems: tuple[AddressProblem, ...] = ()


def find_address(
    container: Container, label: str, addressing: Addressing, last: ContainerAddress | None
) -> AddressResult:
    """Return the address of a container; `label` names its network, if not empty; `last` is its last address.

    A container that is not running keeps its last address.
    """
    try:
        address, problems = _address(container, label, addressing, last)
    except ValueError as error:
        return AddressResult(last, present=False, problems=(AddressProblem(str(error)),) if container.running else ())
    if not container.running:
        return AddressResult(last or (address if address.usable else None), present=False)
    if address.usable:
        return AddressResult(address, present=True, problems=problems)
    if last is None and not problems:
        problems = (AddressProblem("no published port" if addressing.host else "no address on its network"),)
    return AddressResult(last, present=False, problems=problems)  # with a last address it is most likely ending


def address_at(container: Container, published: set[str]) -> ContainerAddress | None:
    """Return the address of a container on the network where it has one of those `published`; None: nowhere."""
    for attachment in container.attachments:
        if published & {str(address) for address in (attachment.ipv4, attachment.ipv6) if address is not None}:
            return ContainerAddress(attachment.network_id, attachment.ipv4, attachment.ipv6)
    return None


def _address(
    container: Container, label: str, addressing: Addressing, last: ContainerAddress | None
) -> tuple[ContainerAddress, tuple[AddressProblem, ...]]:
    """Return the address that the engine has for a container, and its problems. Raises ValueError."""
    if addressing.host:
        return ContainerAddress(ipv4=addressing.host4, ipv6=addressing.host6, published=container.published), ()
    attachment, ambiguity = _choose(container.attachments, label, addressing.network, last)
    ipv4, problems4 = _checked(attachment.ipv4)
    ipv6, problems6 = _checked(attachment.ipv6)
    return ContainerAddress(attachment.network_id, ipv4, ipv6), ambiguity + problems4 + problems6


def _choose(
    attachments: Sequence[Attachment], label: str, preferred: str, last: ContainerAddress | None
) -> tuple[Attachment, tuple[AddressProblem, ...]]:
    """Return the network to publish, with a warning if it is ambiguous. Raises ValueError if there is none."""
    by_name = {attachment.network: attachment for attachment in attachments}
    if label:
        if label not in by_name:
            raise ValueError(f"not connected to network {label[:100]}")
        return by_name[label], ()
    for name in (preferred, BRIDGE):
        if name in by_name:
            return by_name[name], ()
    if len(attachments) == 1:
        return attachments[0], ()
    if not attachments:
        raise ValueError("not connected to any network")
    several = f"connected to several networks ({', '.join(by_name)[:100]}) and no label selects one"
    for attachment in attachments:
        # it was the only one until a moment ago: a working container is not withdrawn because of another network
        if last is not None and attachment.network_id == last.network:
            return attachment, (AddressProblem(f"{several}: keeping {attachment.network[:100]}", fatal=False),)
    raise ValueError(several)


def _checked(address: Address | None) -> tuple[Address | None, tuple[AddressProblem, ...]]:
    """Return the address if a real server can have it, else None and the problem."""
    if address is None:
        return None, ()
    try:
        check_real_server_address(address)
    except ValueError as error:
        return None, (AddressProblem(str(error)),)
    return address, ()


def host_ports(
    address: ContainerAddress, wanted: Sequence[tuple[Protocol, int]]
) -> tuple[ContainerAddress, dict[Protocol, int], bool]:
    """Return the host's addresses, and the ports there, that lead to a container's ports.

    A backend has one port of each protocol. So the ports at the host's IPv4
    address win, else those at its IPv6 address; True: the latter differ, and
    are left out.
    """
    four = _ports_at(address, address.ipv4, wanted)
    six = _ports_at(address, address.ipv6, wanted)
    ports = four or six
    at = ContainerAddress(ipv4=address.ipv4 if four else None, ipv6=address.ipv6 if six and six == ports else None)
    return at, ports, bool(six) and six != ports


def _ports_at(
    container: ContainerAddress, address: IPAddress | None, wanted: Sequence[tuple[Protocol, int]]
) -> dict[Protocol, int]:
    """Return the ports at the host's `address` that lead to those wanted, as far as there are any."""
    if address is None:
        return {}
    listening = {*_ANY[address.version], str(address)}
    return {
        at.protocol: at.host_port
        for at in reversed(container.published or ())
        if (at.protocol, at.port) in wanted and at.address in listening
    }
