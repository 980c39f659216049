"""The faults that happen in a world, by name. Each takes two numbers that choose what it is about."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from actors.base.messages import Reload
from clusterf.ipvs.table import Op, RealServer, RealServerSettings, Step, VirtualServer, VirtualServerSettings
from tests.sim.disk import FULL, READ_ONLY
from tests.sim.event import Event
from tests.sim.network import State
from tests.sim.operator import render

if TYPE_CHECKING:
    from tests.sim.node import Node
    from tests.sim.world import World

__all__ = ["FAULTS"]

SECONDS = (0.2, 1.0, 3.0, 10.0, 40.0)
Fault = Callable[["World", int, int], None]


def _node(world: "World", number: int) -> "Node":
    return world.nodes[number % len(world.nodes)]


def _seconds(number: int) -> float:
    return SECONDS[number % len(SECONDS)]


def kill(world: "World", number: int, which: int) -> None:
    node = _node(world, number)
    if process := node.process(which):
        node.disturb(5.0)
        node.kill(process)


def kill_director_and_health(world: "World", number: int, which: int) -> None:
    kill(world, number, 1)
    kill(world, number, 2)


def pause(world: "World", number: int, which: int) -> None:
    node, seconds = _node(world, number), _seconds(which // 4)
    process = node.process(which)
    if process and not process.paused:
        node.disturb(seconds)
        node.pause(process, seconds)


def pause_machine(world: "World", number: int, which: int) -> None:
    node = _node(world, number)
    node.disturb(_seconds(which))
    node.pause_all(_seconds(which))


def restart_node(world: "World", number: int, which: int) -> None:
    node = _node(world, number)
    node.disturb(10.0)
    node.restart(gracefully=which % 2 == 0, seconds=_seconds(which // 2))


def cut_links(world: "World", number: int, which: int) -> None:
    node = _node(world, number)
    node.disturb(_seconds(which))
    node.links_cut = True
    for publisher in list(node.publishers.values()):
        publisher.disconnect()
    world.simulation.after(_seconds(which), lambda: setattr(node, "links_cut", False))


def slow_links(world: "World", number: int, which: int) -> None:
    node = _node(world, number)
    node.disturb(_seconds(which))
    node.link_delay = 500.0
    world.simulation.after(_seconds(which), lambda: setattr(node, "link_delay", 1.0))


def cut_from_etcd(world: "World", number: int, which: int) -> None:
    node = _node(world, number)
    node.disturb(_seconds(which) + 10.0)
    world.etcd.cut.add(node.name)
    world.simulation.after(_seconds(which), lambda: world.etcd.cut.discard(node.name))


def stop_etcd(world: "World", number: int, which: int) -> None:
    world.disturb(_seconds(which) + 10.0)
    world.etcd.is_down = True
    world.etcd.close_watches("unavailable")
    world.simulation.after(_seconds(which), lambda: setattr(world.etcd, "is_down", False))


def compact_etcd(world: "World", number: int, which: int) -> None:
    world.disturb(10.0)
    world.etcd.compact()


def replace_etcd(world: "World", number: int, which: int) -> None:
    """Another cluster with nothing, or little, in it; or with `number` odd the same one as it was some time ago."""
    world.replace_etcd(older=number % 2 == 1)


def return_etcd(world: "World", number: int, which: int) -> None:
    world.return_etcd()


def garbage(world: "World", number: int, which: int) -> None:
    """Have an invalid value at a key whose last good value every node knows."""
    if paths := _known(world):
        world.put({paths[(number * 64 + which) % len(paths)]: (b"{", b"", b'{"tcp": 0}')[which % 3]})


def forget_values(world: "World", number: int, which: int) -> None:
    """Have values become invalid, and a node end and lose its records; later they are valid again."""
    node, paths = _node(world, number), _known(world)[which % 7 :: which % 5 + 1]
    if not paths:
        return
    world.put(dict.fromkeys(paths, b"{"))

    def end() -> None:
        node.disturb(25.0)
        lose_disk(world, number, which)
        node.restart(gracefully=which % 2 == 0)

    def repair() -> None:
        world.put({path: value for path, value in render(world.configuration).items() if path in paths})

    world.simulation.after(2.0, end)
    world.simulation.after(22.0, repair)


def _known(world: "World") -> list[bytes]:
    """Return the keys whose value every node has recorded."""
    now = world.simulation.now
    if any(now <= node.disturbed_until for node in world.nodes):
        return []
    return sorted(path for path in world.contents if now - world.put_at[path] > 5.0)


def confirm(world: "World", number: int, which: int) -> None:
    world.confirm()


def reload(world: "World", number: int, which: int) -> None:
    _node(world, number).tell_all(Reload())


def break_host(world: "World", number: int, which: int) -> None:
    _put(world, number, which, list(State)[1:][which % 4])


def repair_host(world: "World", number: int, which: int) -> None:
    _put(world, number, which, State.UP)


def repair_hosts(world: "World", number: int, which: int) -> None:
    world.network.recover()


def _put(world: "World", number: int, which: int, state: State) -> None:
    world.network.put(bytes([10, number % 8, which // 4 % 4, which // 16 + 1]), state)


def break_pool(world: "World", number: int, which: int) -> None:
    """Have all machines of a pool refuse."""
    for machine in range(4):
        world.network.put(bytes([10, number % 8, which % 4, machine + 1]), State.REFUSING)


def cut_probes(world: "World", number: int, which: int) -> None:
    """Have all probes of a node fail, as its own network is down."""
    node = _node(world, number)
    node.disturb(_seconds(which), 60.0)
    node.blind_until = max(node.blind_until, world.simulation.now + _seconds(which) + 60.0)
    world.network.cut.add(node.name)
    world.simulation.after(_seconds(which), lambda: world.network.cut.discard(node.name))


def refuse_steps(world: "World", number: int, which: int) -> None:
    node = _node(world, number)
    node.disturb(_seconds(which), 60.0)
    node.kernel.refusing = (0.1, 0.5, 1.0)[which // 5 % 3]
    world.simulation.after(_seconds(which), lambda: setattr(node.kernel, "refusing", 0.0))


def lose_answers(world: "World", number: int, which: int) -> None:
    node = _node(world, number)
    node.disturb(_seconds(which), 60.0)
    node.kernel.losing = (0.1, 0.5, 1.0)[which // 5 % 3]
    world.simulation.after(_seconds(which), lambda: setattr(node.kernel, "losing", 0.0))


def edit_by_hand(world: "World", number: int, which: int) -> None:
    """Weigh or delete a real server, or delete a virtual server, as somebody else."""
    node = _node(world, number)
    pairs = sorted(
        ((virtual, real) for virtual, reals in node.kernel.table.reals.items() for real in reals),
        key=lambda pair: (str(pair[0]), str(pair[1])),
    )
    if not pairs:
        return
    virtual, real = pairs[which // 4 % len(pairs)]
    match which % 4:
        case 0:
            step = Step(Op.REMOVE_REAL, virtual, real)
        case 1:
            step = Step(Op.REMOVE_VIRTUAL, virtual)
        case _:
            settings = msgspec.structs.replace(node.kernel.table.reals[virtual][real], weight=which % 2 * 7)
            step = Step(Op.EDIT_REAL, virtual, real, settings)
    world.by_hand(node, step)


def add_foreign(world: "World", number: int, which: int) -> None:
    """Add a virtual server with a real server as somebody else, where there is none and none is configured."""
    node = _node(world, number)
    candidates = sorted(world.truth.ever - world.truth.virtuals.keys() - node.kernel.table.virtuals.keys(), key=str)
    if not candidates:
        return
    virtual: VirtualServer = candidates[which % len(candidates)]
    settings = VirtualServerSettings("rr", msgspec.structs.astuple(world.plain)[1], 0, world.plain.netmask)
    real = RealServer(type(virtual.address)("192.0.2.77"), 80)
    world.by_hand(node, Step(Op.ADD_VIRTUAL, virtual, None, settings))
    world.by_hand(node, Step(Op.ADD_REAL, virtual, real, RealServerSettings(world.masq, 1)))


def connect(world: "World", number: int, which: int) -> None:
    """Have real servers get active connections, or lose all."""
    kernel = _node(world, number).kernel
    kernel.active.clear()
    for virtual, reals in kernel.table.reals.items():
        for place, real in enumerate(reals):
            if which >> place % 6 & 1:
                kernel.active[virtual, real] = 3


def break_disk(world: "World", number: int, which: int) -> None:
    node = _node(world, number)
    node.disk.fault = (FULL, READ_ONLY)[which // 8 % 2]
    world.simulation.after(_seconds(which), lambda: node.disk.mend(world.simulation.now))


def forget_a_change(world: "World", number: int, which: int) -> None:
    """Have a service go while the disk is full, others take its virtual server, and the node end behind its disk."""
    node = _node(world, number)
    node.disk.fault = FULL
    world.happen(Event(0.0, "remove_service", which % 8, number))

    def end() -> None:
        node.disturb(10.0)
        node.restart(gracefully=False, seconds=2.0)

    world.simulation.after(4.0, lambda: add_foreign(world, number, which))
    world.simulation.after(5.0, end)
    world.simulation.after(6.0, lambda: node.disk.mend(world.simulation.now))


def lose_disk(world: "World", number: int, which: int) -> None:
    node = _node(world, number)
    node.disturb(5.0, 70.0)
    node.forgot_at = world.simulation.now
    node.disk.lose(world.simulation.now)
    node.lost_at = world.simulation.now


def step_clock(world: "World", number: int, which: int) -> None:
    world.simulation.wall_step += (-86400.0, -5.0, -0.5, 0.5, 3600.0)[which % 5]
    world.tree.behind = (0.0, 0.5, 2.0)[number % 3]


def take_tree_away(world: "World", number: int, which: int) -> None:
    if world.simulation.now - max(world.put_at.values()) < 2.0:
        return  # a change of several files would be seen in part
    world.disturb(_seconds(which), 15.0)
    world.tree.take_away(("link", "link", "mount")[number % 3], ("services", "services", "")[number % 3])
    world.simulation.after(_seconds(which), world.tree.bring_back)


FAULTS: dict[str, tuple[int, Fault]] = {
    function.__name__: (often, function)
    for often, function in (
        (6, kill),
        (2, kill_director_and_health),
        (4, pause),
        (1, pause_machine),
        (2, restart_node),
        (3, cut_links),
        (3, slow_links),
        (3, cut_from_etcd),
        (2, stop_etcd),
        (2, compact_etcd),
        (1, replace_etcd),
        (2, return_etcd),
        (3, garbage),
        (1, confirm),
        (1, reload),
        (6, break_host),
        (4, repair_host),
        (3, repair_hosts),
        (1, break_pool),
        (1, cut_probes),
        (2, refuse_steps),
        (2, lose_answers),
        (3, edit_by_hand),
        (2, add_foreign),
        (3, connect),
        (3, break_disk),
        (1, forget_a_change),
        (1, lose_disk),
        (1, forget_values),
        (1, step_clock),
        (2, take_tree_away),
    )
}
