"""A configuration tree with a FileWatcher, and the messages that this sends."""

from actors.config.file_watcher import FileWatcher
from actors.link.messages import ProblemsKey
from clusterf.config.model import BackendKey
from tests.waiting import wait_until

__all__ = ["KEY", "PATH", "Watched", "with_weight"]

KEY = BackendKey(b"web", b"1")
PATH = "services/web/backends/1"


def with_weight(weight):
    return f'{{"weight": {weight}}}'


class Watched:
    """A tree, its watcher, and the recorder of what is published."""

    def __init__(self, root, state_file, ref):
        self.root = root
        self.url = f"file://{root}"
        self.state_file = state_file
        self.ref = ref
        self.recorder = ref._actor_weakref()
        self.watcher = None

    def start(self, interval=1000.0, *, once=False):
        self.watcher = FileWatcher.start(0, self.url, self.root, self.state_file, interval, self.ref, once=once)
        return self

    def restart(self, interval=1000.0):
        self.watcher.stop()
        self.recorder.state, self.recorder.messages, self.recorder.syncs = {}, [], 0
        self.start(interval).synced()

    def synced(self):
        wait_until(lambda: self.recorder.syncs)
        return self

    def write(self, text, path=PATH, root=None):
        file = (root or self.root) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def weight(self, key=KEY):
        message = self.recorder.state.get(key)
        return message and message.value.weight

    def problems(self, path=PATH):
        message = self.recorder.state.get(ProblemsKey(self.url, path.encode()))
        return " ".join(map(str, message.value)) if message else ""

    def published_weights(self):
        """All weights of the one backend that were published, without repetitions; None: deleted."""
        weights = [m.value and m.value.weight for m in self.recorder.messages if m.key == KEY]
        return [weight for number, weight in enumerate(weights) if [weight] != weights[number - 1 : number]]
