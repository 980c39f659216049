"""How a child process is started: with which descriptors, environment, output and confinement."""

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from actors.node import package_of
from actors.settings import CONFIG, DIRECTOR, DOCKER, HEALTH
from actors.supervision.confinement import Confinement

__all__ = ["COMMAND", "UNCONFINED", "Launch", "environment_of", "prints"]

# with the supervisor's own path and nothing from the environment or the working directory, so that the modules of a
# child are those that the supervisor has loaded
_CODE = "import sys; sys.path[:] = {!r}; from actors.supervision.child import main; main()"
COMMAND: Final = (
    *(sys.executable, "-I", *(["-B"] if sys.dont_write_bytecode else [])),
    *("-c", _CODE.format([os.path.abspath(path) for path in sys.path if path])),  # noqa: PTH100
)

# names of variables, or beginnings of them
_ALL = ("LANG", "LC_", "TZ", "LD_LIBRARY_PATH", "MALLOC_")
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_ETCD = ("CLUSTERF_ETCD_PASSWORD", "GRPC_", "RES_OPTIONS", "LOCALDOMAIN", *_AUTHORITIES)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    CONFIG: _ETCD,
    DOCKER: (*_ETCD, "DOCKER_", "HOME", *_PROXIES),
    HEALTH: _AUTHORITIES,
    DIRECTOR: (),
}


class Launch(NamedTuple):
    """How one process is started.

    `held` are descriptors that it is to hold for as long as it lives. `environment` None: that of the supervisor.
    What does not print has no standard output. `log` is the descriptor of its standard error, which is closed once
    it has it; None: it is that of the supervisor.
    """

    held: tuple[int, ...] = ()
    environment: Mapping[str, str] | None = None
    prints: bool = True
    log: int | None = None
    confinement: Confinement = Confinement()


UNCONFINED: Final = Launch()


def environment_of(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the process of that name needs of the node's environment."""
    needed = (*_ALL, *_NEEDED[package_of(name)])
    return {variable: value for variable, value in environment.items() if _is_one_of(variable, needed)}


def prints(name: str) -> bool:
    """Tell whether the process of that name writes to standard output."""
    return package_of(name) == DIRECTOR


def _is_one_of(variable: str, names: Iterable[str]) -> bool:
    return any(variable.startswith(name) if name.endswith("_") else variable == name for name in names)
