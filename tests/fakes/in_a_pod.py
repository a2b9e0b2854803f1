"""Runs as a container's process, in a mount namespace of its own: opens keys and credentials in mounted volumes.

    unshare --mount --propagation private python in_a_pod.py CASE

Prints one line of JSON: what came of it. Volumes are file systems in memory, written as the kubelet writes them, by
root; then this becomes a user that owns nothing of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import thread  # here: another user may not be let read where Python lies
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes.mounted_volume import MountedVolume
from remit.app.files import Files
from remit.backends.keys_file import KeysUnfit, open_keys
from remit.backends.vault_file import FileVault
from remit.core.catalogue import Credential
from remit.ports import VaultFailed

USER = 7450
assert thread
PEM = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
KEYS = {"context.key": PEM, "hmac.key": bytes(32), "views.key": bytes(64)}
CREDENTIAL = {"key": b"sk-of-a-provider"}


@dataclass(frozen=True)
class Case:
    """How the volumes are mounted, and what is said of it."""

    mode: int = 0o444
    group: int = 0
    own: bool = True
    read_only: bool = True
    kubernetes: bool = True
    keys: Mapping[str, bytes] = field(default_factory=lambda: KEYS)
    widened: bool = False


CASES = {
    "as it is by default": Case(),
    "readable by the pod's group": Case(mode=0o440, group=USER),
    "readable by root alone": Case(mode=0o400),
    "writable by the pod's group": Case(mode=0o460, group=USER),
    "a file system that can be written": Case(read_only=False),
    "a directory of the image": Case(own=False),
    "not in Kubernetes": Case(kubernetes=False),
    "without one of the keys": Case(keys={name: KEYS[name] for name in ("context.key", "hmac.key")}),
    "a state whose group was widened": Case(widened=True),
}


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def volume(path: Path, files: Mapping[str, bytes], case: Case) -> None:
    path.mkdir(parents=True)
    if case.own:
        mount("-t", "tmpfs", "volume", str(path))
    MountedVolume(path).write(files, case.mode)
    for each in path.rglob("*"):
        os.chown(each, 0, case.group, follow_symlinks=False)
    path.chmod(0o755)
    if case.own and case.read_only:
        mount("-o", "remount,ro", str(path))


def run(case: Case, place: Path = Path("/mnt")) -> Mapping[str, object]:
    """What came of it."""
    mount("-t", "tmpfs", "-o", "mode=0755", "place", str(place))
    volume(place / "keys", case.keys, case)
    volume(place / "credential", CREDENTIAL, case)
    state = place / "state"
    state.mkdir()
    mount("-t", "tmpfs", "-o", f"mode=0777,uid={0 if case.kubernetes else USER}", "state", str(state))
    os.environ.pop("KUBERNETES_SERVICE_HOST", None)
    if case.kubernetes:
        os.environ["KUBERNETES_SERVICE_HOST"] = "10.96.0.1"
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)
    said: dict[str, object] = {}
    try:
        Files(state).make()
        open_keys(state, place / "keys")
        if case.widened:
            (state / "keys" / "journal.key").chmod(0o660)
            open_keys(state, place / "keys")
        said["own"] = f"{(state / 'keys' / 'journal.key').stat().st_mode & 0o777:o}"
    except (KeysUnfit, OSError) as error:
        said["keys"] = str(error)
    vault = FileVault({}, place)
    try:
        asyncio.run(vault.secret(Credential(file="credential/key")))
    except VaultFailed as error:
        said["credential"] = str(error)
    said["problems"] = vault.problems()
    return said


if __name__ == "__main__":
    print(json.dumps(run(CASES[sys.argv[1]])))
