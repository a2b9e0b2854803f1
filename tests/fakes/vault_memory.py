"""A Vault whose credentials are set by the test."""

from __future__ import annotations

from collections.abc import Sequence

from remit.core.catalogue import Credential
from remit.core.egress.echo import SHORTEST
from remit.ports import Secret, VaultFailed


class MemoryVault:
    """Holds values by file or variable name; remembers what it handed out as the port says."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._handed: dict[str, list[bytes]] = {}

    def put(self, name: str, value: bytes | None) -> None:
        """The value from now on; None takes it away."""
        if value is None:
            self._values.pop(name, None)
        else:
            self._values[name] = value

    async def secret(self, credential: Credential) -> Secret:
        """As the port says."""
        name = credential.file or credential.environment
        if name not in self._values:
            raise VaultFailed(f"memory {name}", found="nothing", expected="a credential")
        value = self._values[name]
        if len(value) < SHORTEST or not all(0x20 <= byte <= 0x7E for byte in value):
            raise VaultFailed(f"memory {name}", found=f"{len(value)} bytes", expected="8 printable characters or more")
        handed = self._handed.setdefault(name, [])
        if handed[:1] != [value]:
            self._handed[name] = [value, *handed[:1]]
        return Secret(value, f"memory {name}")

    def known(self) -> Sequence[bytes]:
        """As the port says."""
        return sorted({value for values in self._handed.values() for value in values})

    def problems(self) -> Sequence[str]:
        """Nothing is wrong with memory."""
        return ()
