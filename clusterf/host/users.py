"""The users that the processes of a node run as, if it was started as root.

Those that the package has made, else ids that nobody has. They are the same at each start,
so that a node finds its files again.
"""

import grp
import pwd
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["NODE_USER", "PROBE_USER", "User", "Users", "find_users", "group_of", "has_user", "is_mapped"]

NODE_USER: Final = "clusterf"
PROBE_USER: Final = "clusterf-probe"
# used by nobody (systemd.io/UIDS-GIDS)
_FREE: Final = range(60706, 61184)


class User(NamedTuple):
    """A user, its group, and further groups, by their numbers."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


class Users(NamedTuple):
    """The user of the health processes, and that of the others; and ids that they may have had at earlier starts."""

    node: User
    probe: User
    former_node: frozenset[int] = frozenset()
    former_probe: frozenset[int] = frozenset()


def find_users(node: str | None, probe: str | None) -> Users:
    """Return the users of those names; without a name that of the package, or one without a name.

    Raises ValueError if a name is unknown, root's, or the same as the other one.
    """
    # by turns, so that neither ever gets the other one's files, whoever of them has a name
    free_node, free_probe = _free(0), _free(1)
    users = Users(
        _find(node, NODE_USER, free_node),
        _find(probe, PROBE_USER, free_probe),
        frozenset(free_node).union(_uids_of(NODE_USER)),
        frozenset(free_probe).union(_uids_of(PROBE_USER)),
    )
    if users.node.uid == users.probe.uid:
        raise ValueError("the user of the health processes must be another one")
    return users


def group_of(name: str) -> int | None:
    """Return the number of the group of that name; None if there is none."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def has_user(name: str) -> bool:
    """Tell whether there is a user of that name."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def is_mapped(user: User, *, process: Path = Path("/proc/self")) -> bool:
    """Tell whether the user exists in the user namespace of this process."""
    return all(
        any(start <= number < start + count for start, count in _ranges(process / file))
        for number, file in ((user.uid, "uid_map"), *((gid, "gid_map") for gid in (user.gid, *user.groups)))
    )


def _find(name: str | None, default: str, free: Sequence[int]) -> User:
    try:
        entry = pwd.getpwnam(name or default)
    except KeyError:
        if name is not None:
            raise ValueError(f"no user {name}") from None
        return User(free[0], free[0])
    if entry.pw_uid == 0:
        raise ValueError(f"{entry.pw_name} is root: a user without privileges is needed")
    return User(entry.pw_uid, entry.pw_gid)


def _free(turn: int) -> list[int]:
    taken = {entry.pw_uid for entry in pwd.getpwall()} | {entry.gr_gid for entry in grp.getgrall()}
    return [number for number in _FREE[turn::2] if number not in taken]


def _uids_of(name: str) -> frozenset[int]:
    try:
        return frozenset({pwd.getpwnam(name).pw_uid} - {0})
    except KeyError:
        return frozenset()


def _ranges(file: Path) -> Iterable[tuple[int, int]]:
    """Yield the first number and the count of each range of ids (user_namespaces(7)); everything if it is not shown."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        lines = ["0 0 4294967295"]
    return [(int(start), int(count)) for start, _, count in map(str.split, lines)]
