"""A Docker engine in memory: its answers to inspections and its events, in the format of real engines.

The order of events, and what an inspect shows between them, was taken from
recordings of the engines 20.10, 26.1 and 28.5.
"""

from datetime import UTC, datetime

from clusterf.docker.containers import container_of

__all__ = ["FakeEngine", "event", "inspect", "network", "running"]

START = 1_795_354_253_000_000_000  # nanoseconds, as real clocks have them
NEVER = "0001-01-01T00:00:00Z"
OURS = "net.qmsk.clusterf."


def inspect(
    one="c1",
    name="/web",
    *,
    labels=None,
    exposed=("8080/tcp",),
    networks=None,
    ports=None,
    running=True,
    started="2026-11-22T13:30:53.5Z",  # half a second after START
    **state,
):
    """Return the inspection of a container; `labels` are without our prefix, `networks` are addresses by name."""
    networks = {"bridge": "172.17.0.2"} if networks is None else networks
    health = state.pop("health", None)
    stop_signal = state.pop("stop_signal", None)
    stop_timeout = state.pop("stop_timeout", None)
    bindings = state.pop("bindings", {})
    return {
        "Id": one,
        "Created": "2026-11-22T13:30:53.06Z",
        "Name": name,
        "State": {
            "Status": "running" if running else "exited",
            "Running": running,
            "Paused": False,
            "Restarting": False,
            "OOMKilled": False,
            "Dead": False,
            "Pid": 4711 if running else 0,
            "ExitCode": 0,
            "Error": "",
            "StartedAt": started,
            "FinishedAt": NEVER,
        }
        | ({"Health": {"Status": health, "FailingStreak": 0, "Log": []}} if health else {})
        | state,
        "Config": {
            "Hostname": one[:12],
            "ExposedPorts": {port: {} for port in exposed} or None,
            "Env": None,
            "Labels": {OURS + key: value for key, value in (labels or {}).items()} | {"other.label": "x"},
        }
        | ({"StopSignal": stop_signal} if stop_signal else {})
        | ({"StopTimeout": stop_timeout} if stop_timeout is not None else {}),
        "HostConfig": {"NetworkMode": "default", "PortBindings": bindings},
        "NetworkSettings": {
            "Bridge": "",
            "Ports": ports or {},
            "Networks": {network: endpoint(network, address) for network, address in networks.items()},
        },
    }


def running(one="c1", *, started="2026-11-22T13:30:53.5Z", **shape):
    """Return a labelled container that is running."""
    labels = {"service": "web", "backend.tcp": "8080"} | shape.pop("labels", {})
    return container_of(inspect(one, labels=labels, started=started, **shape))


def endpoint(network, addresses):
    """Return one of `NetworkSettings.Networks`; `addresses`: of IPv4, and after a space of IPv6."""
    ipv4, _, ipv6 = addresses.partition(" ")
    return {
        "IPAMConfig": None,
        "Aliases": None,
        "NetworkID": f"id-of-{network}",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": ipv4,
        "IPPrefixLen": 16,
        "IPv6Gateway": "",
        "GlobalIPv6Address": ipv6,
        "GlobalIPv6PrefixLen": 0,
        "DriverOpts": None,
    }


def network(name, *subnets):
    """Return the inspection of a network."""
    return {
        "Name": name,
        "Id": f"id-of-{name}",
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": {}, "Config": [{"Subnet": s, "Gateway": ""} for s in subnets]},
        "Containers": {},
        "Labels": {},
    }


def event(kind, action, one, time=START + 10**9, **attributes):
    """Return an event of an engine."""
    raw = {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": one, "Attributes": {"name": "web"} | attributes},
        "scope": "local",
        "time": time // 10**9,
        "timeNano": time,
    }
    return raw | ({"status": action, "id": one, "from": "lab/web"} if kind == "container" else {})


class FakeEngine:
    """Containers whose state `do` changes, and the events of each change."""

    def __init__(self, **labels):
        self.labels = {"service": "web", "backend.tcp": "8080"} | labels
        self.now = START
        self.containers = {}
        self.addresses = 1

    def inspect(self, one):
        """Return a container as inspected, None where there is none."""
        state = self.containers.get(one)
        return None if state is None else container_of(inspect(one, **state))

    def list(self):
        return [self.inspect(one) for one in self.containers]

    def do(self, what, one="c1"):
        """Make something happen to a container; return the event of it, if it has one."""
        self.now += 1_000_000
        word, _, argument = what.partition("=")
        return getattr(self, f"_{word}")(one, argument)

    def _event(self, action, one, **attributes):
        return event("container", action, one, self.now, **attributes)

    def _create(self, one, labelled):
        labels = {} if labelled == "no" else dict(self.labels)
        self.containers[one] = {"labels": labels, "networks": {"bridge": ""}, "running": False, "started": NEVER}
        return self._event("create", one)

    def _connect(self, one, name):
        name = name or "bridge"
        self.addresses += 1
        self.containers[one]["networks"][name] = f"172.{17 if name == 'bridge' else 31}.0.{self.addresses % 254 + 1}"
        return event("network", "connect", f"id-of-{name}", self.now, container=one, type="bridge")

    def _disconnect(self, one, name):
        """By somebody: the container is not on the network any more."""
        del self.containers[one]["networks"][name or "bridge"]
        return self._leave(one, name)

    def _leave(self, one, name):
        """Because it ends: it stays on the network, without an address."""
        name = name or "bridge"
        if name in self.containers[one]["networks"]:
            self.containers[one]["networks"][name] = ""
        return event("network", "disconnect", f"id-of-{name}", self.now, container=one, type="bridge")

    def _start(self, one, _):
        started = f"{datetime.fromtimestamp(self.now // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{self.now % 10**9:09d}Z"
        self.containers[one] |= {"running": True, "started": started, "Restarting": False}
        self.now += 1000
        return self._event("start", one)

    def _kill(self, one, signal):
        return self._event("kill", one, signal=signal)

    def _die(self, one, status):
        self.containers[one] |= {"running": False, "Paused": False}
        return self._event("die", one, exitCode=status or "0")

    def _crash(self, one, _):
        """A container that is restarted by its policy is running, and restarting."""
        self.containers[one] |= {"running": True, "Restarting": True}
        return self._event("die", one, exitCode="5")

    def _pause(self, one, _):
        self.containers[one]["Paused"] = True
        return self._event("pause", one)

    def _unpause(self, one, _):
        self.containers[one]["Paused"] = False
        return self._event("unpause", one)

    def _health(self, one, status):
        self.containers[one]["health"] = status
        return None if status == "starting" else self._event(f"health_status: {status}", one)

    def _rename(self, one, name):
        self.containers[one]["name"] = f"/{name}"
        return self._event("rename", one, oldName="/web")

    def _destroy(self, one, _):
        del self.containers[one]
        return self._event("destroy", one)

    def _stop(self, one, _):
        return self._event("stop", one)

    def _restart(self, one, _):
        return self._event("restart", one)

    def _oom(self, one, _):
        return self._event("oom", one)

    def _update(self, one, _):
        return self._event("update", one)

    def _exec(self, one, _):
        return self._event("exec_start: /bin/sh -c test -f /tmp/healthy", one, execID="e1")
