"""The commands of findings, carried out on facts: they fix what they are for, and break nothing else."""

import re
import shlex
from ipaddress import ip_interface

from hypothesis import given
from hypothesis import strategies as st

from clusterf.doctor.checks import check_director, check_real_server
from clusterf.doctor.model import Conf
from clusterf.reconcile.sysctls import RECOMMENDED
from tests.clusterf.support.doctor_facts import ETH, LO, TUNNEL, VIP4, VIP6, WELL, held

confs = st.builds(Conf, st.integers(0, 2), st.integers(0, 8), st.integers(0, 2))
names = st.text(st.characters(exclude_characters="/: \t\n\r\x0b\x0c", codec="ascii", categories="LNPS"), min_size=1)


@st.composite
def facts(draw):
    """Facts in which settings of any interface, and the holders of VIPs, may be wrong."""
    addresses = st.lists(st.sampled_from(["10.1.1.1/24", "10.1.1.1/32", "fd00:1::1/64"]), max_size=2, unique=True)
    interfaces = [LO]
    for name in draw(st.lists(names.filter(lambda n: n not in {"all", "default", "lo"}), max_size=3, unique=True)):
        interface = draw(st.sampled_from([ETH, TUNNEL]))._replace(name=name, conf=draw(confs), up=draw(st.booleans()))
        interfaces.append(held(interface, *draw(addresses)))
    return WELL._replace(
        all=draw(confs),
        default=draw(confs),
        interfaces=tuple(interfaces),
        forwarding={4: draw(st.booleans()), 6: draw(st.booleans())},
        vs=draw(st.fixed_dictionaries({name: st.integers(0, 3) for name in RECOMMENDED})),
    )


def after(facts, command):
    """Return the facts once a command was run, as the programs that it names do it."""
    for words in map(shlex.split, command.split(" && ")):
        match words:
            case ["sysctl", "-w", *settings]:
                for setting in settings:
                    facts = after_sysctl(facts, setting)
            case ["ip", "address", ("add" | "del") as verb, address, "dev", name]:
                facts = after_ip(facts, verb, ip_interface(address), name)
    return facts


def after_sysctl(facts, setting):
    key, value = setting.rsplit("=", 1)
    # as sysctl(8) has it, the first of the two is what separates
    words = key.split("/") if re.search(r"[./]", key)[0] == "/" else key.split(".")
    match words:
        case ["net", "ipv4", "vs", name]:
            return facts._replace(vs={**facts.vs, name: int(value)})
        case ["net", "ipv4", "ip_forward"]:
            return facts._replace(forwarding={**facts.forwarding, 4: value == "1"})
        case ["net", "ipv6", "conf", "all", "forwarding"]:
            return facts._replace(forwarding={**facts.forwarding, 6: value == "1"})
        case ["net", "ipv4", "conf", ("all" | "default") as which, name]:
            return facts._replace(**{which: getattr(facts, which)._replace(**{name: int(value)})})
        case ["net", "ipv4", "conf", interface, name]:
            return with_interface(facts, interface, lambda i: i._replace(conf=i.conf._replace(**{name: int(value)})))


def after_ip(facts, verb, address, name):
    def change(interface):
        others = tuple(each for each in interface.addresses if each != address)
        assert verb == "add" or len(others) < len(interface.addresses)
        return interface._replace(addresses=(*others, address) if verb == "add" else others)

    return with_interface(facts, name, change)


def with_interface(facts, name, change):
    assert name in {interface.name for interface in facts.interfaces}
    return facts._replace(interfaces=tuple(change(i) if i.name == name else i for i in facts.interfaces))


@given(facts())
def test_commands_of_all_findings_leave_no_finding(facts):
    for check in (
        lambda facts: check_director(facts, [], RECOMMENDED, [VIP4]),
        lambda facts: check_real_server(facts, [VIP4, VIP6]),
    ):
        fixed = facts
        for finding in check(facts):
            fixed = after(fixed, finding.command) if finding.command else fixed
        assert [finding for finding in check(fixed) if finding.level != "ok"] == []
