"""`dpo` with a disk of 100 KiB at a folder, which nobody else sees: DISK ARGUMENT..."""

import atexit
import ctypes
import os
import sys
from pathlib import Path

NEW_USER, NEW_MOUNTS, PRIVATE = 0x10000000, 0x00020000, 1 << 14 | 1 << 18  # linux/sched.h; MS_REC and MS_PRIVATE


def mount(disk: str) -> None:
    """In a namespace of this process's own, in which it is root (as unshare(1) with --map-root-user does)."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    _done(libc.unshare(NEW_USER | NEW_MOUNTS))
    for name, content in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path(f"/proc/self/{name}").write_text(content)
    _done(libc.mount(b"none", b"/", None, PRIVATE, None))
    _done(libc.mount(b"tmpfs", disk.encode(), b"tmpfs", 0, b"size=100k"))


def _done(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main() -> None:
    """Its last line on stderr is what lies on the disk then."""
    from flows.cli.app import main as dpo

    disk = sys.argv.pop(1)
    mount(disk)
    atexit.register(lambda: sys.stderr.write(f"{sorted(os.listdir(disk))}\n"))  # noqa: PTH208
    dpo()


if __name__ == "__main__":
    main()
