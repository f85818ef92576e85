"""Disks that fill up and break: an ext4 file system in a file, over part of a cluster's data directory.

Only root can mount. The tests are skipped where root may not mount, as in an unprivileged container.
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

# EXT4_IOC_SHUTDOWN of linux/fs/ext4/ext4.h, in the mode that keeps synchronised data and nothing else.
_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSH = 2
_FILLER = "filler"
_BLOCK_BYTES = 1024


@dataclass(frozen=True)
class Disk:
    """A separate file system, mounted at `place`."""

    image: Path
    place: Path

    def fill(self) -> None:
        """Leave no free space: a process that extends or creates a file gets ENOSPC."""
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
        """Remove the file that fills the disk."""
        (self.place / _FILLER).unlink(missing_ok=True)

    def break_down(self) -> None:
        """Make every read and write fail with EIO, as on a lost disk; synchronised data is kept."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSH))
        finally:
            os.close(descriptor)

    def turn_read_only(self) -> None:
        """Make every write fail with EROFS, as the kernel does with a file system in which it finds an error."""
        device = _run("findmnt", "--noheadings", "--output", "SOURCE", str(self.place)).strip()
        Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error").write_text("a test", encoding="ascii")

    def replace(self) -> None:
        """Mount the file system again, as after a change of the controller. No process may have a file of it open."""
        _run("umount", str(self.place))
        _mount(self.image, self.place)


@contextmanager
def disk_for(place: Path, image: Path, mib: int) -> Iterator[Disk]:
    """Move the directory `place` with its contents to a separate disk until the block ends; it is empty afterwards.

    Args:
        place: A directory that no process uses.
        image: The file that holds the file system.
        mib: The size of the file system in MiB.
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
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own commands
