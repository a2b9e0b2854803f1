"""The house: who may import whom, and what the core may not touch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from slowest import SLOWEST

PACKAGE = Path(__file__).parents[1] / "sidecar" / "remit"
IMPURE = frozenset(
    [
        "asyncio",
        "socket",
        "ssl",
        "sqlite3",
        "apsw",
        "subprocess",
        "time",
        "random",
        "secrets",
        "uuid",
        "os",
        "logging",
        "threading",
        "grpc",
        "httpx",
        "requests",
        "aiohttp",
        "google",
        "prometheus_client",
        "ruamel",
        "pydantic",
        "click",
        "rich",
        "uvloop",
        "joserfc",
    ]
)
PURE_PARTS = frozenset({"uuid.UUID"})  # a type; what makes new ones is not pure
# Who may import whom of ours, by room. A room that is not named may import nothing of ours.
MAY_IMPORT = {
    "core": {"core"},
    "ports": {"core"},
    "pep": {"core", "ports", "pep"},
    "metrics": {"core", "ports", "metrics"},
    "config": {"core", "config"},
    "backends": {"core", "ports", "backends"},
    "listeners": {"core", "ports", "pep", "listeners", "v1", "_envoy"},
    "sdk": {"sdk", "v1"},
    "v1": {"v1"},
    "_envoy": {"_envoy"},
    "_root": {"sdk"},
    "demo": {"core", "sdk", "cli", "v1", "_root", "demo"},
    "app": {"core", "ports", "pep", "metrics", "config", "backends", "listeners", "app"},
    "cli": {"core", "ports", "config", "backends", "app", "cli", "sdk", "v1", "_root", "demo"},
}


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return "_root" if parts == ("__init__.py",) else parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The full names that a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            base = node.module or ""
            names |= {f"{base}.{each.name}" for each in node.names}
    return names


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "_pb2" not in path.name)


def wrong_imports(path: Path) -> set[str]:
    """Imports of ours that the path's room may not have."""
    wrong = set()
    for name in imported(path):
        first, _, rest = name.partition(".")
        if first != "remit":
            continue
        other = rest.partition(".")[0]
        target = other if other and ((PACKAGE / other).is_dir() or (PACKAGE / f"{other}.py").is_file()) else "_root"
        if target not in MAY_IMPORT.get(room(path), set()):
            wrong.add(name)
    return wrong


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_module_imports_only_what_its_room_may(path: Path) -> None:
    """Directions of import hold for every module."""
    assert wrong_imports(path) == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").rglob("*.py")), ids=lambda path: path.name)
def test_the_core_touches_nothing(path: Path) -> None:
    """No I/O, clock, randomness or wire type under core/."""
    assert {name.partition(".")[0] for name in imported(path) - PURE_PARTS} & IMPURE == set()


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_hides_in_a_function(path: Path) -> None:
    """Imports stand at the top, where a cycle shows."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = [
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]

    assert hidden == []


def test_the_checks_find_a_planted_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener that imports a backend, and a core that reads the clock, are found."""
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    for name in ("listeners", "backends", "core"):
        (tmp_path / name).mkdir()
    bad = tmp_path / "listeners" / "x.py"
    bad.write_text("from remit.backends.y import Z\n", encoding="utf-8")

    assert wrong_imports(bad) == {"remit.backends.y.Z"}


def test_an_agent_imports_no_server() -> None:
    """`import remit` brings in nothing that only the sidecar needs."""
    server = "apsw aiohttp pydantic ruamel cryptography prometheus_client uvloop orjson click rich joserfc opa_client"
    code = f"import remit, sys; print([m for m in {server.split()!r} if m in sys.modules])"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_the_slowest_tests_are_where_their_list_says() -> None:
    """A file that is renamed keeps its place."""
    assert [each for each in SLOWEST if not (Path(__file__).parent / each).is_file()] == []
