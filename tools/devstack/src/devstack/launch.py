"""Becomes another program that ends with its supervisor, as another user if need be.

Run as a script by the supervisor's spawning thread, with the standard library only:

    python launch.py PARENT-PID SIGNAL USER|- PROGRAM ARGUMENT...

On Linux the kernel sends SIGNAL when the supervisor is gone, however it went.
"""

import ctypes
import os
import pwd
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def main(arguments: list[str]) -> int:
    """Replace this process by the program; return only when that fails."""
    parent, signal, user, *argv = arguments
    if user != "-":
        _become(user)
    if sys.platform == "linux":
        # After the change of user, which would clear it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal), 0, 0, 0)
    if os.getppid() != int(parent):
        return 1  # the supervisor died before the kernel was asked to tell
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - to become the program is what this is for
    except OSError as exc:
        sys.stderr.write(f"{argv[0]}: {exc.strerror}\n")
        return 127


def _become(user: str) -> None:
    """Give up root for `user`, keeping only the right to reach files below private folders.

    PostgreSQL refuses to be root, but its data may stand below a folder only root can enter.
    """
    entry = pwd.getpwnam(user)
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    if libc:
        header = _Header(_CAPABILITY_VERSION_3, 0)
        data = (_Data * 2)()
        bit = 1 << _CAP_DAC_OVERRIDE
        data[0].effective = data[0].permitted = data[0].inheritable = bit
        # Where the right is not there to keep (a hardened container), the folders must be open.
        if libc.capset(ctypes.byref(header), ctypes.byref(data)) == 0:
            libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
