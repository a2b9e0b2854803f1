"""Generates sidecar/remit/_envoy: the messages of Envoy's ext_authz and ext_proc, and what they are made of.

    python proto/generate_envoy.py [FOLDER]      into FOLDER (default: sidecar), as FOLDER/remit/_envoy

Envoy's descriptors come from the wheel pinned in requirements/xds.txt, which is kept in Remit's cache. They are read
out of it and none of its code is run. Their content stays as it is, so that whoever also imports the wheel's modules
gets along with ours; the modules live in a package of Remit's, because the name `envoy` is not ours to take.
Exit code 3: the wheel could not be fetched.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from remit.backends.program import cache_directory

ROOT = Path(__file__).parents[1]
PINNED = ROOT / "requirements" / "xds.txt"
WANTED = ("envoy/service/auth/v3/external_auth.proto", "envoy/service/ext_proc/v3/external_processor.proto")
OURS = ("envoy", "udpa", "validate", "xds")
PACKAGE = "remit._envoy"
UNREACHABLE = 3
_IMPORT = re.compile(rf"^(from|import) ({'|'.join(OURS)})\b", re.MULTILINE)


def wheel() -> Path:
    """The pinned wheel, fetched where it is not in the cache. Raises CalledProcessError where it cannot be."""
    kept = cache_directory(os.environ) / "xds"
    hashes = set(re.findall(r"sha256:([0-9a-f]{64})", PINNED.read_text(encoding="utf-8")))
    found = _pinned(kept.glob("*.whl"), hashes)
    if found:
        return found
    kept.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=kept) as place:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        only = ["--require-hashes", "--only-binary", ":all:", "-r", str(PINNED), "--dest", place]
        subprocess.run([*pip, *only], check=True)  # noqa: S603 - a fixed command
        (fetched,) = Path(place).glob("*.whl")
        return fetched.replace(kept / fetched.name)


def _pinned(wheels: Iterable[Path], hashes: set[str]) -> Path | None:
    return next((each for each in wheels if hashlib.sha256(each.read_bytes()).hexdigest() in hashes), None)


def descriptors(archive: zipfile.ZipFile) -> FileDescriptorSet:
    """The wanted files and all that they import, each after what it imports."""
    files: dict[str, FileDescriptorProto] = {}

    def add(name: str) -> None:
        if name in files:
            return
        read = _read(archive, name) if name.partition("/")[0] in OURS else _installed(name)
        for each in read.dependency:
            add(each)
        files[name] = read

    for name in WANTED:
        add(name)
    return FileDescriptorSet(file=files.values())


def _read(archive: zipfile.ZipFile, name: str) -> FileDescriptorProto:
    """The descriptor that a module in the wheel would register: the only argument of its AddSerializedFile."""
    module = ast.parse(archive.read(name.replace(".proto", "_pb2.py")))
    (serialized,) = (
        ast.literal_eval(node.args[0])
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "AddSerializedFile"
    )
    return FileDescriptorProto.FromString(serialized)


def _installed(name: str) -> FileDescriptorProto:
    """What protobuf and googleapis-common-protos bring, which stay where they are."""
    copy = FileDescriptorProto()
    importlib.import_module(name.replace(".proto", "_pb2").replace("/", ".")).DESCRIPTOR.CopyToProto(copy)
    return copy


def generate(found: FileDescriptorSet, folder: Path) -> None:
    """Write the package, replacing what is there."""
    with tempfile.TemporaryDirectory() as place:
        drawn = Path(place) / "drawn"
        drawn.mkdir()
        described = Path(place) / "descriptors"
        described.write_bytes(found.SerializeToString())
        names = [each.name for each in found.file if each.name.partition("/")[0] in OURS]
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={described}"]
        outs = [f"--python_out={drawn}", f"--pyi_out={drawn}"]
        subprocess.run([*protoc, *outs, *names], check=True)  # noqa: S603 - fixed commands
        subprocess.run([*protoc, f"--grpc_python_out={drawn}", *WANTED], check=True)  # noqa: S603
        for path in sorted(drawn.rglob("*.py*")):
            path.write_text(_moved(path.read_text(encoding="utf-8")), encoding="utf-8")
        for directory in (drawn, *(each for each in drawn.rglob("*") if each.is_dir())):
            (directory / "__init__.py").touch()
        target = folder / "remit" / "_envoy"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(drawn, target)


def _moved(text: str) -> str:
    """A module's text with its imports pointing into our package."""
    return _IMPORT.sub(rf"\1 {PACKAGE}.\2", text)


def main(arguments: list[str]) -> int:
    """Generate; the exit code."""
    try:
        source = wheel()
    except subprocess.CalledProcessError:
        print("xds-protos could not be fetched", file=sys.stderr)
        return UNREACHABLE
    with zipfile.ZipFile(source) as archive:
        generate(descriptors(archive), Path(*arguments[:1]) if arguments else ROOT / "sidecar")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
