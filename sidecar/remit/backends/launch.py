"""Becomes another program, tied to the life of the sidecar. Run as a script with nothing but the standard library:

    python -I -S launch.py SIDECAR_PID [NAME=VALUE…] -- PROGRAM [ARGUMENT…]

On Linux the kernel kills the process when the sidecar dies, however it dies. Done in a process of its own because
code between fork and exec is not safe in one that has threads. The program gets the variables that are named here and
nothing of the sidecar's environment, and what it creates is its user's alone.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PRIVATE = 0o077


def main() -> None:
    """Tie, check that the sidecar is still there, and become the program."""
    sidecar, given = int(sys.argv[1]), sys.argv[2:]
    end = given.index("--")
    environment, command = dict(each.split("=", 1) for each in given[:end]), given[end + 1 :]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != sidecar:
        sys.exit("the sidecar is gone")
    os.umask(_PRIVATE)
    os.execve(command[0], command, environment)  # noqa: S606 - becoming the program is the purpose


if __name__ == "__main__":
    main()
