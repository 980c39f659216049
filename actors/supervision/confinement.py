"""What a child process is kept from, once its code is loaded: by user, capabilities, Landlock and seccomp."""

import fcntl
import os
import termios
from contextlib import suppress
from pathlib import Path

import msgspec

from actors.base.process import Process
from clusterf.host import landlock, seccomp
from clusterf.host.capabilities import drop_all_but
from clusterf.host.mount_view import enter
from clusterf.host.users import User
from clusterf.lib.files.trusted import trust

__all__ = ["Confinement"]


class Confinement(msgspec.Struct, frozen=True):
    """What one process is to be, besides what is the same on every machine.

    `user` None: the process stays who it is. `trusted`: users whose files are the node's, too.
    `more`: capabilities that it needs here. `view`: the descriptor of a mount namespace to live in.
    It writes only below `writable`.
    """

    user: User | None = None
    trusted: frozenset[int] = frozenset()
    more: frozenset[int] = frozenset()
    view: int | None = None
    writable: tuple[str, ...] = ()

    def apply(self, process: Process) -> None:
        """Confine this process, for good; to be called before threads are started. Raises OSError."""
        if self.view is not None:
            enter(self.view)
            os.close(self.view)
        os.umask(0o077)
        _leave_terminal()
        trust(self.trusted)
        landlock.allow_writes_only_below(map(Path, self.writable))
        drop_all_but(process.capabilities | self.more, self.user)
        seccomp.restrict(process.sockets, lowers=process.lowers)


def _leave_terminal() -> None:
    """Give up the controlling terminal, if there is one, on which somebody may type a password (tty_ioctl(2))."""
    with suppress(OSError):
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, termios.TIOCNOTTY)
        finally:
            os.close(fd)
