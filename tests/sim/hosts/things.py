"""What happens to containers and to Docker hosts in a world, by name; two numbers choose what it is about."""

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.sim import faults
from tests.sim.hosts.containers import KINDS, Container
from tests.sim.network import State

if TYPE_CHECKING:
    from tests.sim.hosts.host import Host
    from tests.sim.hosts.world import DockerWorld

__all__ = ["DOCKER_EDITS", "DOCKER_FAULTS", "OTHER_FAULTS"]

SECONDS = (0.2, 1.0, 3.0, 10.0, 40.0)
Thing = Callable[["DockerWorld", int, int], None]


def _host(world: "DockerWorld", number: int) -> "Host":
    return world.hosts[number % len(world.hosts)]


def _one(world: "DockerWorld", number: int, which: int, *, running: bool = True) -> Container | None:
    found = [one for one in _host(world, number).engine.containers.values() if one.running is running]
    return found[which % len(found)] if found else None


def _seconds(number: int) -> float:
    return SECONDS[number % len(SECONDS)]


def run(world: "DockerWorld", number: int, which: int) -> None:
    service, other = (f"web{(which + shift) % world.script.services}" for shift in (0, 1))
    engine = _host(world, number).engine
    engine.run((service, other) if which % 7 == 0 and other != service else (service,), which // 4 % len(KINDS))


def stop(world: "DockerWorld", number: int, which: int) -> None:
    if one := _one(world, number, which):
        _host(world, number).engine.stop(one, (0.1, 2.0, 6.0, 10.0)[which // 16])


def start(world: "DockerWorld", number: int, which: int) -> None:
    if one := _one(world, number, which, running=False):
        _host(world, number).engine.start(one)


def restart(world: "DockerWorld", number: int, which: int) -> None:
    """Stop a container, and start it again."""
    if one := _one(world, number, which):
        engine = _host(world, number).engine
        engine.stop(one, 0.3)
        world.simulation.after((0.35, 3.0)[which // 32], lambda: engine.start(one))


def remove(world: "DockerWorld", number: int, which: int) -> None:
    if one := _one(world, number, which, running=which % 3 != 0):
        _host(world, number).engine.remove(one)


def replace(world: "DockerWorld", number: int, which: int) -> None:
    """Deploy: new containers of a service, and a moment later the old ones stop and go."""
    service, engine = f"web{which % world.script.services}", _host(world, number).engine
    old = [one for one in engine.containers.values() if one.services == (service,)]
    for place in range(max(1, len(old))):
        engine.run((service,), which // 8 + place)

    def end() -> None:
        for one in old:
            engine.stop(one, 1.0)
            world.simulation.after(1.5, lambda one=one: engine.remove(one))

    world.simulation.after((0.5, 5.0)[which // 32], end)


def crash(world: "DockerWorld", number: int, which: int) -> None:
    """Have a container end by itself, and perhaps be restarted by its engine."""
    if one := _one(world, number, which):
        engine = _host(world, number).engine
        world.network.put(bytes(map(int, one.published.split("."))), State.REFUSING)
        engine.crash(one)
        if which % 2:
            world.simulation.after(0.1 + which / 32, lambda: engine.start(one))


def pause_container(world: "DockerWorld", number: int, which: int) -> None:
    if one := _one(world, number, which):
        _host(world, number).engine.pause(one)


def turn_unhealthy(world: "DockerWorld", number: int, which: int) -> None:
    if one := _one(world, number, which):
        _host(world, number).engine.health(one, "unhealthy" if which % 3 else "healthy")


def connect_network(world: "DockerWorld", number: int, which: int) -> None:
    if one := _one(world, number, which):
        _host(world, number).engine.connect(one, ("back", "front")[which // 32])


def hang_up(world: "DockerWorld", number: int, which: int) -> None:
    """Send a container a signal by which it reads its configuration anew."""
    if one := _one(world, number, which):
        _host(world, number).engine.signal(one)


def break_container(world: "DockerWorld", number: int, which: int) -> None:
    """Have what runs in a container not answer, or answer again."""
    if one := _one(world, number, which):
        states = (State.REFUSING, State.BLACKHOLED, State.SLOW, State.UP)
        world.network.put(bytes(map(int, one.published.split("."))), states[which // 16])


def kill_docker(world: "DockerWorld", number: int, which: int) -> None:
    host = _host(world, number)
    if process := host.process(0):
        host.disturb(5.0)
        host.kill(process)


def pause_docker(world: "DockerWorld", number: int, which: int) -> None:
    host = _host(world, number)
    process = host.process(0)
    if process and not process.paused:
        host.disturb(_seconds(which))
        host.pause(process, _seconds(which))


def pause_host(world: "DockerWorld", number: int, which: int) -> None:
    host = _host(world, number)
    host.disturb(_seconds(which))
    host.pause_all(_seconds(which))


def restart_host(world: "DockerWorld", number: int, which: int) -> None:
    host = _host(world, number)
    host.disturb(_seconds(which // 2) + 10.0)
    host.restart(gracefully=which % 2 == 0, seconds=_seconds(which // 2))


def cut_host_from_etcd(world: "DockerWorld", number: int, which: int) -> None:
    host = _host(world, number)
    host.disturb(_seconds(which) + 10.0)
    host.unfit(_seconds(which))
    world.etcd.cut.add(host.name)
    world.simulation.after(_seconds(which), lambda: world.etcd.cut.discard(host.name))


def break_hosts_disk(world: "DockerWorld", number: int, which: int) -> None:
    host = _host(world, number)
    host.disk.fault = (faults.FULL, faults.READ_ONLY)[which // 8 % 2]
    world.simulation.after(_seconds(which), lambda: host.disk.mend(world.simulation.now))


def hang_engine(world: "DockerWorld", number: int, which: int) -> None:
    host = _host(world, number)
    if host.engine.answers():
        host.disturb(_seconds(which))
        host.engine.hang(_seconds(which))


def restart_engine(world: "DockerWorld", number: int, which: int) -> None:
    host = _host(world, number)
    if host.engine.answers():
        host.disturb(_seconds(which))
        host.engine.go_down(_seconds(which))


def cut_streams(world: "DockerWorld", number: int, which: int) -> None:
    host = _host(world, number)
    host.disturb(1.0)
    host.engine.disconnect()


def chatter(world: "DockerWorld", number: int, which: int) -> None:
    _host(world, number).engine.chatter()


def refuse_inspection(world: "DockerWorld", number: int, which: int) -> None:
    host = _host(world, number)
    if one := _one(world, number, which):
        host.disturb(_seconds(which // 8), 40.0)
        host.engine.refusing.add(one.id)
        world.simulation.after(_seconds(which // 8), lambda: host.engine.refusing.discard(one.id))


def stop_etcd_for_hosts(world: "DockerWorld", number: int, which: int) -> None:
    if not world.etcd.is_frozen:
        world.excuse_absent()
        for host in world.hosts:
            host.disturb(_seconds(which) + 10.0)
        faults.stop_etcd(world, number, which)


def freeze_etcd(world: "DockerWorld", number: int, which: int) -> None:
    """Have etcd stand still, in most cases for longer than any lease lasts."""
    seconds = (1.0, 12.0, 15.0, 20.0, 40.0)[which % 5]
    for host in world.hosts:
        host.disturb(seconds + 10.0)
    world.disturb(seconds + 10.0)
    world.freeze()
    world.simulation.after(seconds, world.thaw)


def revoke_lease(world: "DockerWorld", number: int, which: int) -> None:
    host, lessor = _host(world, number), world.etcd.lessor
    if not world.etcd.reachable(""):
        return
    world.disturb(0.0)
    for lease in [lease.number for lease in lessor.leases.values() if lease.owner == host.name]:
        lessor.end(lease, "revoked by hand")


def delete_by_hand(world: "DockerWorld", number: int, which: int) -> None:
    etcd = world.etcd
    found = sorted(path for path in etcd.contents if world.owner(path) is _host(world, number))
    if found and etcd.reachable(""):
        path = found[which % len(found)]
        world.disturb(0.0)
        world.observer.taken({path})
        etcd.transact({path: None})


def lose_hosts_disk(world: "DockerWorld", number: int, which: int) -> None:
    host = _host(world, number)
    host.disturb(5.0)
    host.forgot_at = host.lost_at = world.simulation.now
    host.disk.lose(world.simulation.now)
    world.doubt_signals(host)
    if not host.is_running:
        world.forget(host)


def forget_signal(world: "DockerWorld", number: int, which: int) -> None:
    """Have a container signalled to stop while the disk is full, and its node end once it could record that again."""
    host, one = _host(world, number), _one(world, number, which)
    if one is None or host.disk.fault is not None or not host.is_calm:
        return
    host.disk.fault = faults.FULL
    host.engine.stop(one, 9.9)
    world.simulation.after(1.0, lambda: host.disk.mend(world.simulation.now))
    world.simulation.after(7.1, host.engine.chatter)
    world.simulation.after(7.2, lambda: kill_docker(world, number, which))


def restart_blind(world: "DockerWorld", number: int, which: int) -> None:
    """Have a node restart while its engine hangs, and all leases end after that; or before, so that none is read."""
    if world.etcd.reachable(""):
        hang_engine(world, number, 4)
        world.simulation.after(3.0 * (which % 2), lambda: kill_docker(world, number, which))
        world.simulation.after(3.0 * (1 - which % 2), lambda: freeze_etcd(world, number, 1))


def lose_record(world: "DockerWorld", number: int, which: int) -> None:
    """Connect a container to one more network, and later restart its node without its record, but with its lease."""
    host = _host(world, number)
    if not host.is_calm or not world.etcd.reachable("") or host.disk.fault is not None:
        return
    if (one := _one(world, number, which)) is not None and len(one.networks) == 1:
        host.engine.connect(one, "back")

    def lose() -> None:
        world.doubt_signals(host)
        for path in host.disk.folder.glob("docker.db*"):
            path.unlink()

    def end() -> None:
        if host.is_calm and world.etcd.reachable("") and host.disk.fault is None:
            host.disturb(15.0)
            host.restart(gracefully=True, seconds=1.0)
            world.simulation.after(0.5, lose)

    world.simulation.after(1.0, end)


def copy_state(world: "DockerWorld", number: int, which: int) -> None:
    """Start a host with a copy of another one's state directory."""
    host, other = _host(world, number), _host(world, number + 1)
    if host is other:
        return
    host.disturb(15.0)
    host.restart(gracefully=which % 2 == 0, seconds=2.0)
    host.forgot_at = world.simulation.now
    world.forget(host)

    def copy() -> None:
        shutil.rmtree(host.disk.folder)
        shutil.copytree(other.disk.folder, host.disk.folder)

    world.simulation.after(1.0, copy)


def step_engines_clock(world: "DockerWorld", number: int, which: int) -> None:
    _host(world, number).engine.clock_step += (-3600.0, -30.0, -2.0, 5.0, 3600.0)[which % 5]


DOCKER_EDITS: dict[str, tuple[int, Thing]] = {
    function.__name__: (often, function)
    for often, function in (
        (6, run),
        (6, stop),
        (5, start),
        (4, restart),
        (3, remove),
        (2, replace),
        (3, crash),
        (2, pause_container),
        (2, turn_unhealthy),
        (3, connect_network),
        (1, hang_up),
        (4, break_container),
    )
}
DOCKER_FAULTS: dict[str, tuple[int, Thing]] = {
    function.__name__: (often, function)
    for often, function in (
        (4, kill_docker),
        (3, pause_docker),
        (1, pause_host),
        (3, restart_host),
        (2, cut_host_from_etcd),
        (3, break_hosts_disk),
        (3, hang_engine),
        (2, restart_engine),
        (2, cut_streams),
        (2, chatter),
        (2, refuse_inspection),
        (2, stop_etcd_for_hosts),
        (2, freeze_etcd),
        (1, revoke_lease),
        (2, delete_by_hand),
        (1, lose_hosts_disk),
        (1, copy_state),
        (1, lose_record),
        (1, forget_signal),
        (1, restart_blind),
        (2, step_engines_clock),
    )
}
OTHER_FAULTS = {
    "kill": 3,
    "pause": 2,
    "restart_node": 1,
    "cut_links": 1,
    "cut_from_etcd": 2,
    "compact_etcd": 1,
    "break_disk": 1,
    "connect": 2,
    "reload": 1,
}
