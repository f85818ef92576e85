"""Disks that fill up and break: an ext4 file system in a file, over part of a cluster's data directory.

Only root can mount. Where root may not, in a container without the right to, the tests are skipped.
"""

import errno
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

# See linux/fs/ext4/ext4.h: EXT4_IOC_SHUTDOWN, with what was synchronised kept and nothing else.
_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSH = 2
_FILLER = "filler"
_BLOCK_BYTES = 1024


@dataclass(frozen=True)
class Disk:
    """A file system of its own, mounted at `place`."""

    image: Path
    place: Path

    def fill(self) -> None:
        """Leave no room: whoever extends a file, or makes one, is told ENOSPC."""
        with (self.place / _FILLER).open("ab") as filler:
            length, step = 0, 1 << 26
            while step >= _BLOCK_BYTES:
                try:
                    os.posix_fallocate(filler.fileno(), length, step)
                    length += step
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2
            os.fsync(filler.fileno())

    def make_room(self) -> None:
        """Remove what has filled the disk."""
        (self.place / _FILLER).unlink(missing_ok=True)

    def break_down(self) -> None:
        """Let every read and write fail with EIO, as on a disk that is gone; what was synchronised is kept."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSH))
        finally:
            os.close(descriptor)

    def turn_read_only(self) -> None:
        """Let every write fail with EROFS: what the kernel does to a file system in which it finds an error."""
        device = _run("findmnt", "--noheadings", "--output", "SOURCE", str(self.place)).strip()
        Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error").write_text("a test", encoding="ascii")

    def replace(self) -> None:
        """Mount the file system anew, as after a change of the controller. Nobody may have a file of it open."""
        _run("umount", str(self.place))
        _mount(self.image, self.place)


@contextmanager
def disk_for(place: Path, image: Path, mib: int) -> Iterator[Disk]:
    """Give the directory `place` a disk of its own, with what is in it; the directory comes back empty.

    Args:
        place: A directory that no process uses.
        image: The file that holds the file system.
        mib: Its size in MiB.
    """
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("only root, with mkfs.ext4, can make a file system")
    owner, before = place.stat(), place.with_name(f"{place.name}.before")
    place.rename(before)
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(mib << 20)
    _run("mkfs.ext4", "-q", "-m", "0", str(image))
    try:
        _mount(image, place)
    except subprocess.CalledProcessError as error:
        place.rmdir()
        before.rename(place)
        pytest.skip(f"no file system can be mounted here: {error.stderr.strip()}")
    try:
        (place / "lost+found").rmdir()
        _run("cp", "-a", f"{before}/.", str(place))
        _run("sync", "--file-system", str(place))
        os.chown(place, owner.st_uid, owner.st_gid)
        place.chmod(owner.st_mode)
        yield Disk(image, place)
    finally:
        _run("umount", "--lazy", str(place))


def _mount(image: Path, place: Path) -> None:
    _run("mount", "-o", "loop,errors=remount-ro", str(image), str(place))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - the words above
