"""What was observed, from whoever can know: the third parties' own books, the journal, the metrics."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from grpc import aio

from remit.core.canonical import digest
from remit.demo.page import NANOS
from remit.v1 import audit_pb2, audit_pb2_grpc, oversight_pb2, oversight_pb2_grpc, resources_pb2

PRIVATE = ("iban", "tax_number")
_SAMPLE = re.compile(r"(?P<name>[a-z_]+)\{(?P<labels>[^}]*)\} (?P<value>\S+)")
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')
_LARGE = [("grpc.max_receive_message_length", 64 << 20), ("grpc.enable_http_proxy", 0)]


@dataclass(frozen=True, slots=True)
class Noted:
    """One record of the journal. `body` is parsed."""

    sequence: int
    time: int
    kind: str
    id: str
    subject: str
    parent: str
    ref: str
    body: Mapping[str, Any]

    @property
    def effect(self) -> str:
        """ALLOW or DENY of a decision, else ""."""
        return str(self.body.get("effect", ""))

    @property
    def codes(self) -> tuple[str, ...]:
        """A decision's reasons."""
        return tuple(each["code"] for each in self.body.get("reasons", ()))

    @property
    def target(self) -> str:
        """What a decision was about: type:id/variant."""
        resource = self.body.get("resource", {})
        name = "/".join(part for part in (resource.get("id"), resource.get("variant")) if part)
        return f"{resource.get('type', '')}:{name}"

    @property
    def sent(self) -> str:
        """The digest of the request that Remit sent for a decision, "" where it sent none."""
        return str(self.body.get("sent", {}).get("digest", ""))

    def argument(self, name: str) -> Any:
        """An argument that policy had recorded in clear."""
        return self.body.get("context", {}).get("arguments", {}).get(name)


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget's row, in nanos."""

    id: str
    scope: str
    limit: int
    spent: int
    held: int


class Auditor:
    """A person with the role auditor, who asks the running sidecar."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def trace(self, workflow: str) -> list[Noted]:
        """A workflow's records."""
        request = audit_pb2.TraceRequest(workflow=workflow)
        async with aio.insecure_channel(self._address, options=_LARGE) as channel:
            stub = audit_pb2_grpc.AuditStub(channel)  # type: ignore[no-untyped-call]
            response: audit_pb2.TraceResponse = await stub.Trace(request, metadata=self._metadata, timeout=10)
        return [_noted(each) for each in response.records]

    async def traces(self, workflows: Iterable[str]) -> list[Noted]:
        """The records of several workflows."""
        return [record for workflow in workflows for record in await self.trace(workflow)]

    async def who(self, table: str, key: str) -> set[str]:
        """The decisions whose answers told, or may have told, of a subject."""
        request = audit_pb2.WhoRequest(table=table, key=key)
        async with aio.insecure_channel(self._address, options=_LARGE) as channel:
            stub = audit_pb2_grpc.AuditStub(channel)  # type: ignore[no-untyped-call]
            response: audit_pb2.WhoResponse = await stub.Who(request, metadata=self._metadata, timeout=10)
        return {each.decision.id for each in response.sightings}

    async def budgets(self) -> list[Budget]:
        """All budgets in their present windows."""
        request = oversight_pb2.ListBudgetsRequest()
        async with aio.insecure_channel(self._address, options=_LARGE) as channel:
            stub = oversight_pb2_grpc.OversightStub(channel)  # type: ignore[no-untyped-call]
            response: oversight_pb2.ListBudgetsResponse = await stub.ListBudgets(
                request, metadata=self._metadata, timeout=10
            )
        return [
            Budget(each.id, each.scope, *(_nanos(money) for money in (each.limit, each.spent, each.held)))
            for each in response.budgets
        ]


def _noted(record: resources_pb2.JournalRecord) -> Noted:
    return Noted(
        sequence=record.sequence,
        time=record.time.ToNanoseconds(),
        kind=record.kind,
        id=record.id,
        subject=record.subject,
        parent=record.parent,
        ref=record.ref,
        body=json.loads(record.body or b"{}"),
    )


def _nanos(money: resources_pb2.Money) -> int:
    return money.units * NANOS + money.nanos


def decisions(records: Iterable[Noted], *, effect: str = "", target: str = "", code: str = "") -> list[Noted]:
    """The decisions among the records that have this effect, target and reason, where they are given."""
    return [
        each
        for each in records
        if each.kind == "decision"
        and effect in ("", each.effect)
        and target in ("", each.target)
        and (not code or code in each.codes)
    ]


def told(records: Iterable[Noted]) -> list[int]:
    """Of each answer to a query how many rows it had: recorded with the decision, or where it is long, by itself."""
    bodies = [each.body if each.kind == "answer" else each.body.get("sent", {}).get("answer", {}) for each in records]
    return [int(body["rows"]) for body in bodies if "rows" in body]


def arrived(entry: Mapping[str, Any]) -> str:
    """The digest of a request in a third party's book, made as Remit's journal makes that of what it sends."""
    return digest([entry["method"], entry["path"], entry["sha256"]])


def metered(metrics: str) -> Counter[str]:
    """remit_cost_total by "service/variant", in nanos."""
    found: Counter[str] = Counter()
    for sample in _SAMPLE.finditer(metrics):
        if sample["name"] == "remit_cost_total":
            labels = dict(_LABEL.findall(sample["labels"]))
            exact = (Decimal(sample["value"]) * NANOS).to_integral_value()
            found["/".join(part for part in (labels["service"], labels["variant"]) if part)] += int(exact)
    return found


def billed(models: Sequence[Mapping[str, Any]], mail: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """What the third parties charged by "service/variant", in nanos, by their own books."""
    found: Counter[str] = Counter()
    for entry in models:
        found[f"models/{entry['variant']}"] += entry["nanos"]
    for entry in mail:
        found["mail"] += entry["nanos"]
    return found


def leaks(inbox: Iterable[Mapping[str, str]], customers: Iterable[Mapping[str, str]]) -> list[tuple[str, str]]:
    """(recipient, private value) for every account and tax number of a customer that lies in a message."""
    secrets = [row[column] for row in customers for column in PRIVATE]
    return [(message["to"], secret) for message in inbox for secret in secrets if secret in message["text"]]


def addresses(texts: Iterable[str], customers: Iterable[Mapping[str, str]]) -> list[str]:
    """The customers' e-mail addresses that stand in any of the texts."""
    whole = "\n".join(texts)
    return [row["email"] for row in customers if row["email"] in whole]


def calls(books: Iterable[Mapping[str, Any]], variant: str) -> int:
    """How many calls of a variant a book shows."""
    return sum(entry["variant"] == variant for entry in books)
