"""A container image of a few files, as `docker save` would write it; no daemon is asked."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping
from pathlib import Path

PROBE, PAUSE = "remit.test/probe:1", "remit.test/pause:1"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_image(archive: Path, name: str, files: Mapping[str, Path], *entrypoint: str) -> Path:
    """An image of one layer: path in the image → file, each executable."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for path, file in files.items():
            entry = tar.gettarinfo(file, path.lstrip("/"))
            entry.mode, entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime = 0o755, 0, 0, "", "", 0
            with file.open("rb") as read:
                tar.addfile(entry, read)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    described = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    config = json.dumps(described).encode()
    layer_name, config_name = f"{digest}/layer.tar", f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]).encode()
    with tarfile.open(archive, "w") as tar:
        for path, content in ((config_name, config), (layer_name, layer.getvalue()), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive
