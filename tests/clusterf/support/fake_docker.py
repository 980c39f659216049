"""A Docker engine in memory, with the interface of `clusterf.docker.engine.Engine`."""

from queue import SimpleQueue

import msgspec

from clusterf.docker.engine import EngineError, Refused
from tests.clusterf.support import fake_engine

__all__ = ["FakeDocker"]


class FakeDocker:
    """The engine behind all connections; `do` makes things happen there, and sends the events of them."""

    def __init__(self, **labels):
        self.engine = fake_engine.FakeEngine(**labels)
        self.networks = []
        # past events, open event streams, and the calls that were made
        self.past, self.streams, self.asked = [], [], []
        self.connects = 0
        self.id = "engine"
        # why the engine is unreachable; by container: why an inspection is refused, the event that its next
        # answer waits for, and an invalid answer
        self.away, self.refused, self.held, self.invalid = "", {}, {}, {}

    def do(self, *happenings, one="c1"):
        for what in happenings:
            if raw := self.engine.do(what, one):
                self.send(msgspec.json.encode(raw))

    def send(self, line):
        self.past.append(line)
        for stream in self.streams:
            stream.put(line)

    def disconnect(self):
        """End all event streams."""
        for stream in self.streams:
            stream.put(None)
        self.streams.clear()

    def connect(self):
        self.connects += 1
        if self.away:
            raise EngineError(self.away)
        return Connection(self)


class Connection:
    version = "1.45"

    def __init__(self, docker):
        self._docker = docker
        self._stream = SimpleQueue()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._stream.put(None)

    def id(self):
        return self._docker.id

    def another(self):
        return Connection(self._docker)

    def clock(self):
        self._docker.asked.append("clock")
        if self._docker.away:
            raise EngineError(self._docker.away)
        return self._docker.engine.now // 10**9 + 1

    def containers(self):
        self._docker.asked.append("containers")
        containers = self._docker.engine.containers.items()
        return [
            {"Id": one, "Labels": fake_engine.inspect(one, **state)["Config"]["Labels"]} for one, state in containers
        ]

    def networks(self):
        return self._docker.networks

    def inspect(self, kind, one):
        docker = self._docker
        docker.asked.append(one)
        state = docker.engine.containers.get(one)
        answer = docker.invalid.get(one) or (state and fake_engine.inspect(one, **state))
        if held := docker.held.pop(one, None):
            held.wait(10)
        if one in docker.refused:
            raise Refused(docker.refused[one])
        return answer

    def events(self, since, until=None):
        if until is not None:
            since = int(since.replace(".", ""))
            yield from [line for line in self._docker.past if msgspec.json.decode(line)["timeNano"] >= since]
            return
        self._docker.streams.append(self._stream)
        while line := self._stream.get():
            yield line
        raise EngineError("the stream has ended")
