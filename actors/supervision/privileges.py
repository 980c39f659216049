"""Who the processes of a node are, and what each of them may do, on this machine.

A node that root starts gives each process a user without privileges, and what only root can do for
it is done before: its directories are made, and where they, or its code, lie below directories that only root may
enter, it lives in a mount namespace where they can be entered. Where that is impossible, as
a capability is missing, processes stay root's, with reduced capabilities.
"""

import logging
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import click

import actors
import clusterf
from actors.node import package_of
from actors.settings import CONFIG, DIRECTOR, DOCKER, HEALTH, PROBE, PROBE_INCOMPLETE, Settings
from actors.supervision.confinement import Confinement
from actors.supervision.launch import Launch, environment_of, prints
from actors.supervision.node_directories import foreign_in
from clusterf.host.capabilities import (
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    CAP_FOWNER,
    CHANGING_USERS,
    drop_all_but,
    permitted,
)
from clusterf.host.mount_view import MountView
from clusterf.host.reach import first_closed, may_read, may_read_all
from clusterf.host.users import User, Users, find_users, group_of, is_mapped
from clusterf.lib.files.trusted import trust
from clusterf.lib.text import printable

__all__ = ["Identities", "Privileges", "choose_identities", "holds_for"]

log = logging.getLogger(__name__)

_ROOT = User(0, 0)
_GIVING = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER}
_PATIENCE = 10  # seconds for a file of another user to be read


class Identities(NamedTuple):
    """The users of a node's processes, and where these find its directories; None: all are who started it.

    `owners` are who is to have the directories, None: they are left as they are. `trusted` are users whose files may
    be there from an earlier start.
    """

    users: Users | None = None
    view: MountView | None = None
    owners: Users | None = None
    trusted: frozenset[int] = frozenset()

    def refresh(self) -> None:
        """Have the processes find directories that have been replaced."""
        if self.view is not None:
            try:
                self.view.refresh()
            except OSError as error:
                log.debug("privileges: directories cannot be shown: %s", error)

    def user_of(self, name: str) -> User | None:
        """Return the user of the process of that name; None: it stays who it is."""
        if self.users is None:
            return None
        return self.users.probe if package_of(name) == HEALTH else self.users.node


def choose_identities(
    user: str | None, probe_user: str | None, state: Path, runtime: Path, stack: ExitStack, *, noop: bool
) -> Identities:
    """Return the identities for a node with these directories; `user` and `probe_user` are as given with the flags.

    With `noop`, that node leaves the directories of another one alone. Why they are not as they should be is
    logged. Raises click.UsageError if they were given and cannot be used.
    """
    given = "--user" if user else "--probe-user" if probe_user else None
    if os.geteuid() != 0:
        if given:
            raise click.UsageError(f"{given}: only root can start processes of other users")
        return Identities()
    try:
        users = find_users(user, probe_user)
    except ValueError as error:
        raise click.UsageError(f"{given or '--user'}: {error}") from None
    # in any case: what is theirs may be from an earlier start
    trusted = {users.node.uid, users.probe.uid} | users.former_node | users.former_probe
    trust(trusted)
    directories = [*code_directories(), state, runtime]
    obstacle = _obstacle(users)
    if obstacle is None and noop and _has_others(state, users):
        obstacle = f"{state} is that of a node whose processes do"
    foreign = "" if noop else foreign_in(state)
    if obstacle is None and foreign:
        obstacle = f"{state} has {printable(foreign)} in it, which is not the node's"
    view = None
    if obstacle is None:
        try:
            view = _view(users, directories)
        except OSError as error:
            closed = next(_closed(users, directories))
            obstacle = f"only root may enter {closed}, and it cannot be shown to them: {error.strerror}"
    if obstacle is not None:
        if given:
            raise click.UsageError(f"{given}: {obstacle}")
        log.warning("privileges: all processes run as root, with reduced capabilities: %s", obstacle)
        takes_back = not noop and not foreign and permitted() >= _GIVING
        owners = Users(_ROOT, _ROOT, frozenset(trusted), frozenset(trusted)) if takes_back else None
        return Identities(owners=owners, trusted=frozenset(trusted))
    if view is not None:
        stack.callback(view.close)
    return Identities(users, view, users, frozenset(trusted))


class Privileges:
    """What each process of a node gets.

    `locks` are held by those that write, too: if the supervisor is killed, the next node waits until the last writer
    is gone.
    """

    def __init__(self, settings: Settings, identities: Identities, locks: Iterable[int]) -> None:
        self._settings = settings
        self._identities = identities
        self._locks = tuple(locks)

    def launch(self, name: str) -> Launch:
        """Return how the process of that name is to be started now."""
        kind = package_of(name)
        return Launch(
            held=self._locks if kind in {DIRECTOR, DOCKER} else (),
            environment=environment_of(name, os.environ),
            prints=prints(name),
            confinement=self._confinement(name, kind),
        )

    def _confinement(self, name: str, kind: str) -> Confinement:
        view, user = self._identities.view, self._identities.user_of(name)
        more: set[int] = set()
        if kind == DOCKER and user is not None:
            user, needed = _with_engine(user, self._settings.docker_endpoint)
            more |= needed
        if user is None:
            more |= {CAP_DAC_READ_SEARCH} if kind in {CONFIG, DOCKER} else set()
        elif not all(_readable(self._settings, kind, user)):
            more.add(CAP_DAC_READ_SEARCH)
        return Confinement(
            user=user,
            trusted=self._identities.trusted,
            more=frozenset(more),
            # (who may enter every directory needs none, and what he needs may be hidden there)
            view=None if view is None or more else view.namespace,
            writable=tuple(map(str, self._writable(name, kind))),
        )

    def _writable(self, name: str, kind: str) -> Iterator[Path]:
        """Yield the directories that a process writes in, and the one above the state, which may be made anew."""
        assert self._settings.state_dir is not None
        state = Path(self._settings.state_dir)
        runtime = self._settings.incomplete_directory(name).parent
        if kind == DIRECTOR and self._settings.ipvs_sysctl:
            yield Path("/proc/sys/net/ipv4/vs")
        if kind == HEALTH and self._identities.users is not None:
            # (not those above, where one may be made anew: others have directories there in which all may write)
            yield from (state / PROBE, runtime / PROBE_INCOMPLETE)
        else:
            yield from (state.parent, runtime)


def holds_for(user: User | None, tell: Callable[[], bool]) -> bool:
    """Return what `tell` does in a process of that user which may read all; None: in this process. Raises OSError.

    False if it takes too long.
    """
    if user is None:
        return tell()
    if (child := os.fork()) == 0:
        status = 1
        try:
            signal.alarm(_PATIENCE)
            drop_all_but([CAP_DAC_READ_SEARCH], user)
            status = 0 if tell() else 1
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def code_directories() -> list[Path]:
    """Return the directories from which this process, and thus its children, load code, and nothing else.

    Of a directory where packages are not installed, such as a clone, only our packages: there may be other files in it,
    for which nobody meant a directory to be open that only root may enter.
    """
    prefixes = (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
    entries = map(Path, filter(None, sys.path))
    found = [
        *map(Path, prefixes),
        Path(sys.executable).parent,
        *(e for e in entries if any(map(e.is_relative_to, prefixes)) or any(e.glob("*.dist-info"))),
        *(Path(package.__path__[0]) for package in (actors, clusterf)),
    ]
    return list(dict.fromkeys(path.absolute() for path in found))


def _obstacle(users: Users) -> str | None:
    """Return why processes cannot be those users' here; None if they can."""
    held = permitted()
    missing = [name for name, number in CHANGING_USERS.items() if number not in held]
    if missing:
        return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    if not (is_mapped(users.node) and is_mapped(users.probe)):
        return f"user {users.node.uid} or {users.probe.uid} does not exist in this user namespace"
    for module in (actors, click):
        code = Path(module.__path__[0])
        if not all(_has_for_all(code)):
            return f"only root may read {code}"
    return None


def _has_others(state: Path, users: Users) -> bool:
    """Tell whether a state directory is in use, but not by these users."""
    try:
        return _owner(state) != users.node.uid and any(state.iterdir())
    except OSError:
        return False


def _owner(path: Path) -> int:
    return path.stat().st_uid


def _has_for_all(directory: Path) -> Iterator[bool]:
    yield bool(directory.stat().st_mode & stat.S_IXOTH)
    yield bool((directory / "__init__.py").stat().st_mode & stat.S_IROTH)


def _closed(users: Users, directories: Iterable[Path]) -> Iterator[Path]:
    """Yield the directories that one of the users may not enter, on the way to those that they need."""
    for directory in directories:
        for user in (users.node, users.probe):
            if (closed := first_closed(directory, user)) is not None:
                yield closed


def _view(users: Users, directories: Sequence[Path]) -> MountView | None:
    """Return the mount namespace in which the users find the directories; None if they do anyway. Raises OSError."""
    closed = set(_closed(users, directories))
    return MountView(closed, directories) if closed else None


def _readable(settings: Settings, kind: str, user: User) -> Iterator[bool]:
    """Yield of each thing that a process reads and that is not ours whether the user may read it."""
    if kind not in {CONFIG, DOCKER}:
        return
    for source in settings.sources:
        if source.etcd is not None:
            credentials = source.etcd.credentials
            for file in (credentials.ca, credentials.cert, credentials.key, credentials.password_file):
                if file is not None:
                    yield may_read(Path(file).absolute(), user)
        elif source.tree is not None and kind == CONFIG:
            yield may_read_all(Path(source.tree), user)
    if kind == DOCKER and (certificates := os.environ.get("DOCKER_CERT_PATH")):
        yield may_read_all(Path(certificates).absolute(), user)


def _with_engine(user: User, endpoint: str | None) -> tuple[User, set[int]]:
    """Return the user with the group of the engine's socket, and what else it takes to connect to that."""
    url = urlsplit(endpoint or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    if url.scheme not in {"unix", "http+unix"}:
        return user, set()
    socket = Path(url.netloc + url.path)
    more = {CAP_DAC_READ_SEARCH} if first_closed(socket, user) is not None else set()
    try:
        found = socket.stat()
    except OSError:
        # the engine makes it later: for this group, or for root's
        return user._replace(groups=(group_of("docker") or 0,)), more
    if not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return user, {CAP_DAC_OVERRIDE}
    return user._replace(groups=(found.st_gid,)), more
