"""Directories that look like mount points to code that looks at device numbers."""

import os
import shutil
from types import SimpleNamespace

__all__ = ["FakeMounts"]


class FakeMounts:
    """Makes directories look like mount points, by the device number, all of a file system with one id."""

    def __init__(self, monkeypatch):
        self.devices = {}
        self.file_system = 1
        self._stat = os.stat
        monkeypatch.setattr(os, "stat", self.stat)
        monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_fsid=self.file_system))

    def stat(self, path, *arguments, **options):
        status = self._stat(path, *arguments, **options)
        real = os.path.realpath(os.fsencode(path)) if not isinstance(path, int) else b""
        for mount, device in self.devices.items():
            if (real + b"/").startswith(os.fsencode(mount) + b"/"):
                make, (values, others) = status.__reduce__()
                return make((*values[:2], device, *values[3:]), others)
        return status

    def unmount(self, directory):
        """Show the empty directory beneath."""
        del self.devices[directory]
        directory.rename(directory.with_name(".mounted"))
        directory.mkdir()

    def mount(self, directory, device):
        self.devices[directory] = device
        if directory.with_name(".mounted").exists():
            shutil.rmtree(directory)
            directory.with_name(".mounted").rename(directory)
