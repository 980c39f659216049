"""The images of test containers, built here from busybox and `serve`, without a registry."""

import io
import subprocess
import tarfile
from functools import cache
from pathlib import Path

__all__ = ["GRACEFUL", "HEALTH", "IMAGES", "MULTI", "WEB", "root_filesystem"]

WEB = "lab/web"  # HTTP on 8080
MULTI = "lab/multi"  # HTTP on 8080 and 9090; 5353/udp is exposed too
HEALTH = "lab/health"  # HTTP on 8080; healthy while /tmp/healthy exists, checked every 0.3 s
GRACEFUL = "lab/graceful"  # HTTP on 8080, until GRACE (2) seconds after SIGTERM or SIGUSR2

_HTTP = ('CMD ["serve", "8080"]', "EXPOSE 8080/tcp")
# by image, the lines of its Dockerfile
IMAGES = {
    WEB: _HTTP,
    MULTI: ('CMD ["serve", "8080", "9090"]', "EXPOSE 8080/tcp", "EXPOSE 9090/tcp", "EXPOSE 5353/udp"),
    HEALTH: (*_HTTP, "HEALTHCHECK --interval=300ms --timeout=2s --retries=2 CMD test -e /tmp/healthy"),
    GRACEFUL: (*_HTTP, "ENV GRACE=2"),
}
_FOLDERS = {"bin": 0o755, "dev": 0o755, "proc": 0o755, "sys": 0o755, "tmp": 0o1777, "www": 0o755, "www/cgi-bin": 0o755}
_SLOW = b'#!/bin/sh\nsleep "$QUERY_STRING"\nprintf "Content-Type: text/plain\\r\\n\\r\\n"\nhostname\n'


@cache
def root_filesystem(busybox: Path) -> bytes:
    """Return a tar of busybox, its commands and `serve`, the content of all images."""
    commands = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for folder, mode in _FOLDERS.items():
            _add(archive, folder, mode, type=tarfile.DIRTYPE)
        _add(archive, "bin/busybox", 0o755, busybox.read_bytes())
        for command in set(commands) - {"busybox"}:
            _add(archive, f"bin/{command}", 0o777, type=tarfile.SYMTYPE, linkname="busybox")
        _add(archive, "bin/serve", 0o755, Path(__file__).with_name("serve").read_bytes())
        _add(archive, "www/cgi-bin/slow", 0o755, _SLOW)
    return content.getvalue()


def _add(archive: tarfile.TarFile, name: str, mode: int, content: bytes = b"", **more: bytes | str) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = mode, len(content)
    for field, value in more.items():
        setattr(entry, field, value)
    archive.addfile(entry, io.BytesIO(content))
