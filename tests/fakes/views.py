"""Views of users on the real library: the datasets that they are of, built and served by a real OPA."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from remit.backends.opa_binary import find
from remit.backends.opa_bundle import Bundle, Sources, build, library_path
from remit.backends.opa_server import OpaServer, ServerSettings
from remit.backends.pdp_opa import OpaPdp, PdpSettings

OPA = find(os.environ).path
TABLES: Mapping[str, Mapping[str, list[str]]] = {
    "customers": {
        name: ["pii"] if name in ("name", "email", "phone") else []
        for name in ("id", "name", "email", "phone", "region", "owner", "score", "note", "active", "card", "salary")
    },
    "orders": {"id": [], "customer": [], "total": ["finance"], "region": []},
}


def catalogue(*datasets: str) -> dict[str, Any]:
    """A catalogue for policy with the agent of data.remit.testing and these datasets, all with TABLES."""
    support = {"team": "cx", "roles": ["support", "clerk"], "purposes": ["support"], "clearance": ["pii"], "actors": {}}
    dataset = {
        "owner": "cx",
        "labels": [],
        "clearance": [],
        "roles": [],
        "purposes": [],
        "tables": {table: {"columns": dict(columns), "subject_key": ""} for table, columns in TABLES.items()},
    }
    return {"agents": {"support": support}, "datasets": dict.fromkeys(datasets, dataset), "services": {}}


def document(dataset: str = "crm", **changes: Mapping[str, Any]) -> dict[str, Any]:
    """The input of a read of a dataset by that agent; `changes` are laid over its parts."""
    made: dict[str, Any] = {
        "subject": {
            "type": "agent",
            "id": "support",
            "team": "cx",
            "roles": ["support", "clerk"],
            "actor": "",
            "mode": "enforce",
            "isolation": "process",
            "identity": {"method": "token", "subject": "support"},
        },
        "action": {"name": "data.read"},
        "resource": {
            "type": "dataset",
            "id": dataset,
            "operation": "",
            "variant": "",
            "ref": dataset,
            "owner": "cx",
            "external": False,
            "labels": [],
            "clearance": [],
            "properties": {},
        },
        "context": {
            "workflow": "",
            "purpose": "support",
            "reason": "",
            "parent": "",
            "time": 1_796_083_200,
            "attempt": 1,
            "arguments": {},
            "inputs": [],
        },
        "facts": {
            "labels": {},
            "arguments": {},
            "estimate": {"amount": 0, "known": True, "units": {}},
            "budgets": [],
            "grants": [],
            "claims": [],
            "acts": [],
            "history": {"repeats": 0, "failures": 0, "denials": 0},
            "halts": [],
            "chain": [],
        },
    }
    return {name: {**part, **changes.get(name, {})} for name, part in made.items()}


def sources(directory: Path, views: Mapping[str, str], **more: str) -> Sources:
    """The bundle's sources, for views by dataset; `more` are further files of the same directory by name."""
    policies = directory / "policies"
    policies.mkdir(parents=True, exist_ok=True)
    for dataset, text in views.items():
        (policies / f"{dataset}.rego").write_text(text)
    for name, text in more.items():
        (policies / f"{name}.rego").write_text(text)
    return Sources(library_path(), (policies,), {}, catalogue(*views))


def package(dataset: str, rules: str) -> str:
    """A view's file."""
    return f"package remit.views.{dataset}\n\n{rules}"


def built(directory: Path, views: Mapping[str, str], **more: str) -> Bundle:
    """The bundle of views by dataset."""
    return build(
        sources(directory, {name: package(name, rules) for name, rules in views.items()}, **more), OPA, directory
    )


@asynccontextmanager
async def served(directory: Path, bundle: Bundle) -> AsyncIterator[OpaPdp]:
    """The bundle served by an OPA."""
    server = OpaServer(
        OPA, directory / "opa", document(), settings=ServerSettings(linger=0.1), asking=PdpSettings(deadline=10)
    )
    await server.start(bundle)
    try:
        yield server.pdp
    finally:
        await server.stop()
