"""The programs that a node is compared with: Debian's, unpacked and not installed, so that none runs as a service.

`python -m tests.bench.rivals` unpacks what is missing, on Debian, as root.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["command", "install", "version"]

PROGRAMS = ("haproxy", "keepalived")  # each from the package of its name
CACHE = Path(os.environ.get("CLUSTERF_BENCH_CACHE", "/var/tmp/clusterf-lab/rivals"))
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")


def install() -> None:
    """Unpack the programs that are missing. Raises SystemExit where that cannot be done."""
    missing = [name for name in PROGRAMS if _path(name) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SystemExit(f"the benchmark needs Debian's {' and '.join(missing)}, and only root can unpack them")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        folder = Path(name)
        (folder / "partial").mkdir()
        try:
            _download(missing, folder)
        except subprocess.CalledProcessError:
            subprocess.run(["apt-get", "-qq", "update"], check=True)
            _download(missing, folder)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, CACHE], check=True)


def command(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a program."""
    path = _path(name)
    assert path, f"{name} is missing: run `python -m tests.bench.rivals` as root"
    libraries = ":".join(str(CACHE / folder) for folder in LIBRARIES)
    return ["env", f"LD_LIBRARY_PATH={libraries}", path, *arguments]


def version(name: str) -> str:
    """Return the version line of a program."""
    said = subprocess.run(command(name, "-v"), check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return " ".join(said.stdout.split()[:3]).replace(" version", "")


def _path(name: str) -> str | None:
    unpacked = CACHE / "usr/sbin" / name
    return str(unpacked) if unpacked.exists() else shutil.which(name)


def _download(names: Iterable[str], folder: Path) -> None:
    """Download the packages, and their dependencies that this machine lacks."""
    options = ["-o", f"Dir::Cache::archives={folder}", "-o", "APT::Sandbox::User=root"]
    fetch = ["apt-get", "-qq", "install", "--download-only", "-y", "--no-install-recommends", *options, *names]
    subprocess.run(fetch, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, check=True)


if __name__ == "__main__":
    install()
