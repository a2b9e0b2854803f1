"""Becomes OPA, tied to the life of the sidecar. Run as a script with nothing but the standard library:

    python -I -S opa_launch.py SIDECAR_PID OPA [ARGUMENT…]

On Linux the kernel kills the process when the sidecar dies, however it dies. Done in a process of its own because
code between fork and exec is not safe in one that has threads. OPA gets nothing of the sidecar's environment.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
ENVIRONMENT = {"GOGC": "400"}
"""All that OPA gets. It makes much garbage of each question and keeps little: collecting less often saves a quarter
of its processor time, for 15 to 25 MB. Rules cannot read it (opa.runtime is not among the capabilities)."""


def main() -> None:
    """Tie, check that the sidecar is still there, and become OPA."""
    sidecar, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != sidecar:
        sys.exit("the sidecar is gone")
    os.execve(command[0], command, ENVIRONMENT)  # noqa: S606 - becoming OPA is the purpose


if __name__ == "__main__":
    main()
