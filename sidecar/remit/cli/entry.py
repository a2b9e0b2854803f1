"""Where the command `remit` begins: an agent's installation has the command too, but not all that it needs."""

from __future__ import annotations

import sys
from importlib import import_module

WRONG = 2


def main() -> None:
    """Run the command line, or say in one line what is not installed."""
    try:
        command = import_module("remit.cli.main")
    except ModuleNotFoundError as missing:
        if str(missing.name).startswith("remit."):
            raise
        said = f"remit: {missing.name} is not installed; the command line needs: pip install 'remit[server]'\n"
        sys.stderr.write(said)
        sys.exit(WRONG)
    command.main()
