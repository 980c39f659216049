"""A small tree of configuration, and what becomes of it in IPVS."""

__all__ = ["ADD", "line", "make_tree", "node_flags", "put"]

FRONTEND = '{"ipv4": "10.107.107.107", "tcp": 1337}'
ADD = "-A -t 10.107.107.107:1337 -s wlc"


def line(number, weight=10):
    """Return the line of backend `number` in a table."""
    return f"-a -t 10.107.107.107:1337 -r 10.3.107.{number}:1337 -m -w {weight}"


def make_tree(root):
    """Write the service `web` with backend 1 below `root`; return that."""
    (root / "services/web/backends").mkdir(parents=True)
    (root / "services/web/frontend").write_text(FRONTEND)
    put(root, 1)
    return root


def put(root, number, weight=10):
    """Add or replace a backend, in one step."""
    new = root / f"services/web/backends/.{number}"
    new.write_text(f'{{"ipv4": "10.3.107.{number}", "tcp": 1337, "weight": {weight}}}')
    new.rename(root / f"services/web/backends/{number}")


def node_flags(place, *more):
    """Return the flags of a director with its directories below `place`."""
    return ["--role", "ipvs", "--state-dir", place / "state", "--runtime-dir", place / "run", *more]
