# METADATA
# title: Builders for tests
# description: |
#   Complete inputs, each allowed as it stands with `data.remit.catalogue` as `catalogue` below. A test lays over one
#   what it is about: `testing.call({"resource": {"variant": "large"}})`. Objects are merged, anything else replaces.
package remit.testing

# METADATA
# description: The agent `support` calls the service `models`, which has a price.
call(changes) := _request(
	{
		"action": {"name": "api.call"},
		"resource": {
			"type": "service",
			"id": "models",
			"operation": "chat",
			"variant": "small",
			"ref": "models/chat",
			"owner": "platform",
			"external": true,
			"clearance": ["pii"],
		},
		"context": {"arguments": {"messages": 1}},
		"facts": {
			"estimate": {"amount": 0.03, "known": true, "units": {"input_token": 800, "output_token": 500}},
			"budgets": [
				{"id": "cx-month", "window": "", "limit": 2000, "spent": 31.5, "held": 0.2, "elapsed": 0.7},
				{"id": "each-agent", "window": "", "limit": 3, "spent": 2.97, "held": 0, "elapsed": 0.7},
			],
			"chain": [
				{"service": "models", "owner": "platform", "region": "eu", "external": true},
				{"service": "connector", "owner": "integrations", "region": "eu", "external": true},
			],
		},
	},
	changes,
)

# METADATA
# description: The agent `support` sends by the service `mail`, which has no variants.
send(changes) := call(object.union(
	{
		"action": {"name": "message.send"},
		"resource": {"id": "mail", "operation": "send", "variant": "", "ref": "mail/send", "clearance": []},
		"facts": {"chain": [{"service": "mail", "owner": "platform", "region": "", "external": true}]},
	},
	changes,
))

# METADATA
# description: The agent `support` calls a tool of the service `search`.
tool(changes) := call(object.union(
	{
		"action": {"name": "tool.call"},
		"resource": {"type": "tool", "id": "search", "operation": "find", "variant": "", "ref": "search/find"},
		"facts": {"chain": [{"service": "search", "owner": "platform", "region": "", "external": false}]},
	},
	changes,
))

# METADATA
# description: The agent `support` approves in `tickets`, where another might reject.
ticket(changes) := tool(object.union(
	{
		"resource": {"id": "tickets", "operation": "approve", "ref": "tickets/approve"},
		"context": {"workflow": "w-1", "arguments": {"id": "7"}},
		"facts": {"chain": [{"service": "tickets", "owner": "platform", "region": "", "external": false}]},
	},
	changes,
))

# METADATA
# description: The agent `support` reads the dataset `customers`, which is pii.
read(changes) := _request(
	{
		"action": {"name": "data.read"},
		"resource": {
			"type": "dataset",
			"id": "customers",
			"operation": "read",
			"ref": "customers/read",
			"owner": "cx",
			"labels": ["pii"],
			"clearance": ["pii"],
		},
	},
	changes,
)

# METADATA
# description: |
#   The agent `support` is shown rows of a dataset's table. A test gives the row that it asks about:
#   `crm.include with input as testing.view("crm", "customers", {"customers": {"region": "eu"}})`.
view(dataset, table, changes) := _request(
	{
		"action": {"name": "data.read"},
		"resource": {
			"type": "dataset",
			"id": dataset,
			"operation": table,
			"ref": sprintf("%s/%s", [dataset, table]),
			"owner": "cx",
		},
		"context": {"reason": ""},
	},
	changes,
)

# METADATA
# description: The agent `support` writes to the dataset `customers`, which takes pii.
write(changes) := read(object.union(
	{
		"action": {"name": "data.write"},
		"resource": {"operation": "write", "ref": "customers/write"},
	},
	changes,
))

# METADATA
# description: The agent `novice` writes to the dataset `customers`; its supervisor approved of that before.
reviewed(changes) := write(object.union(
	{
		"subject": {"id": "novice", "roles": ["support"], "identity": {"subject": "novice"}},
		"facts": {"grants": [{
			"id": "g-1",
			"policy": "supervision.review",
			"code": "review_required",
			"bind": "exact",
			"uses_left": 1,
			"expires": 1796086800,
		}]},
	},
	changes,
))

# METADATA
# description: The agent `support` writes to the agent `analysis`, which is not cleared for anything.
message(changes) := _request(
	{
		"action": {"name": "message.send"},
		"resource": {"type": "agent", "id": "analysis", "ref": "analysis", "owner": "platform"},
	},
	changes,
)

# METADATA
# description: The agent `support` decides about a refund.
decide(changes) := _request(
	{
		"action": {"name": "decision.make"},
		"resource": {"type": "decision", "id": "refund", "ref": "refund"},
	},
	changes,
)

# METADATA
# description: The agent `support` opens a workflow for one of its purposes.
open(changes) := _request(
	{
		"action": {"name": "workflow.open"},
		"resource": {
			"type": "workflow",
			"id": "w-1",
			"ref": "w-1",
			"properties": {"purposes": ["support"], "agents": ["support", "analysis"]},
		},
	},
	changes,
)

# METADATA
# description: The operator `ana` halts the agent `support`.
halt(changes) := _request(
	object.union(_person, {
		"action": {"name": "control.halt"},
		"resource": {"type": "scope", "id": "support", "operation": "halt", "variant": "agent", "ref": "support/halt"},
	}),
	changes,
)

# METADATA
# description: The operator `ana` adjusts the budget `cx-month`.
adjust(changes) := _request(
	object.union(_person, {
		"action": {"name": "budget.adjust"},
		"resource": {"type": "budget", "id": "cx-month", "ref": "cx-month"},
	}),
	changes,
)

# METADATA
# description: The agent `support` claims an object of the agents' own.
claim(changes) := _request(
	{
		"action": {"name": "claim.take"},
		"resource": {"type": "object", "id": "case-7", "ref": "case-7"},
	},
	changes,
)

# METADATA
# description: |
#   `bo` approves what `support` asked for: one person with the role finance is needed. A test of others lays over it
#   who speaks, `operation` (approve, deny, hold or revoke) and, of `properties`, what they find.
resolve(changes) := _request(
	{
		"subject": {
			"type": "person",
			"id": "bo",
			"team": "",
			"roles": ["finance"],
			"identity": {"method": "token", "subject": "bo"},
		},
		"action": {"name": "approval.resolve"},
		"resource": {
			"type": "approval",
			"id": "a-1",
			"operation": "approve",
			"ref": "a-1/approve",
			"owner": "cx",
			"properties": {
				"subject": "support",
				"team": "cx",
				"action": "api.call",
				"target": {"type": "service", "id": "models", "operation": "chat", "variant": "large"},
				"policy": "variants.approval",
				"code": "approval_required",
				"bind": "variant",
				"uses": 50,
				"cost": 20,
				"roles": ["finance"],
				"quorum": 1,
				"chain": [],
				"level": 0,
				"addressee": "",
				"state": "pending",
				"verdicts": [{"kind": "person", "by": "bo", "verdict": "approve", "level": 0}],
			},
		},
	},
	changes,
)

# METADATA
# description: The sidecar says that nobody answered in time.
expire(changes) := resolve(object.union(
	{
		"subject": {"type": "system", "id": "remit", "roles": [], "identity": {"method": "local", "subject": "remit"}},
		"resource": {"operation": "timeout", "ref": "a-1/timeout", "properties": {"verdicts": []}},
		"context": {"purpose": "", "reason": ""},
	},
	changes,
))

# METADATA
# description: A catalogue that allows all of the above, as the sidecar writes one.
catalogue := {
	"agents": {
		"support": {
			"team": "cx",
			"roles": ["support", "clerk"],
			"purposes": ["support", "refunds"],
			"clearance": ["pii", "untrusted"],
			"actors": {"summarise": {"roles": ["clerk"], "purposes": ["support"], "clearance": []}},
			"supervisor": "lead",
			"review": [],
			"priority": 1,
		},
		"analysis": _colleague,
		"lead": object.union(_colleague, {"clearance": ["pii"], "priority": 2}),
		"novice": object.union(_colleague, {
			"team": "cx",
			"roles": ["support"],
			"purposes": ["support"],
			"supervisor": "lead",
			"review": ["data.write"],
		}),
	},
	"people": {
		"ana": {"roles": ["operator"], "clearance": []},
		"bo": {"roles": ["finance"], "clearance": []},
		"cy": {"roles": ["approver"], "clearance": []},
	},
	"services": {
		"models": {
			"owner": "platform",
			"clearance": ["pii"],
			"roles": ["support"],
			"purposes": ["support"],
			"operations": ["chat", "images"],
			"variants": {
				"small": {"max": {}, "cheaper": ""},
				"large": {"approval": _approval, "max": {}, "cheaper": "small"},
				"image": {"max": {"image": 4}, "cheaper": ""},
			},
			"overrides": [
				{"when": {"region": ["us"]}, "variants": {"small": {"max": {"output_token": 100}}}},
				{"when": {"agent": ["s*"], "purpose": ["refunds"]}, "variants": {"image": {"max": {"image": 2}}}},
			],
			"compensations": {},
		},
		"mail": _plain,
		"search": _plain,
		"tickets": _contested([["approve", "reject"]], "first-wins"),
		"rooms": _contested([["open", "close"]], "priority"),
		"refunds": _contested([["pay", "refuse"]], "escalate"),
	},
	"datasets": {"customers": {
		"owner": "cx",
		"labels": ["pii"],
		"clearance": ["pii"],
		"roles": ["support"],
		"purposes": [],
		"statements": {},
	}},
	"budgets": {"cx-month": {"limit": 2000}, "each-agent": {"limit": 3}},
}

_colleague := {
	"team": "platform",
	"roles": [],
	"purposes": [],
	"clearance": [],
	"actors": {},
	"supervisor": "",
	"review": [],
	"priority": 0,
}

_plain := {
	"owner": "platform",
	"clearance": [],
	"roles": [],
	"purposes": [],
	"operations": [],
	"variants": {},
	"overrides": [],
	"compensations": {},
}

_contested(between, policy) := object.union(_plain, {"conflicts": {
	"object": "/id",
	"between": between,
	"policy": policy,
}})

_approval := {
	"roles": ["finance"],
	"bind": "variant",
	"uses": 50,
	"cost": 20,
	"ttl": 14400,
	"supervisor": false,
	"quorum": 1,
	"wait": 3600,
}

_person := {"subject": {
	"type": "person",
	"id": "ana",
	"team": "",
	"roles": ["operator"],
	"identity": {"method": "token", "subject": "ana"},
}}

_request(about, changes) := object.union_n([_base, about, changes])

_base := {
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
	"action": {"name": ""},
	"resource": {
		"type": "",
		"id": "",
		"operation": "",
		"variant": "",
		"ref": "",
		"owner": "",
		"external": false,
		"labels": [],
		"clearance": [],
		"properties": {},
	},
	"context": {
		"workflow": "",
		"purpose": "support",
		"reason": "answers a ticket",
		"parent": "",
		"time": 1796083200,
		"attempt": 1,
		"arguments": {},
		"inputs": [],
	},
	"facts": {
		"labels": {},
		"arguments": {},
		"estimate": {"amount": 0, "known": true, "units": {}},
		"budgets": [],
		"grants": [],
		"claims": [],
		"acts": [],
		"history": {"repeats": 0, "failures": 0, "denials": 0},
		"halts": [],
		"chain": [],
	},
}
