# METADATA
# title: The input is total
# description: Every field of `schemas/input.json` is there and no other.
package remit.lib.total

# METADATA
# description: Whether nothing is missing from the input, nor too much. Types are the sidecar's to check.
holds if {
	object.keys(input) == {"subject", "action", "resource", "context", "facts"}
	object.keys(input.subject) == {"type", "id", "team", "roles", "actor", "mode", "isolation", "identity"}
	object.keys(input.subject.identity) == {"method", "subject"}
	object.keys(input.action) == {"name"}
	object.keys(input.resource) == {
		"type", "id", "operation", "variant", "ref",
		"owner", "external", "labels", "clearance", "properties",
	}
	object.keys(input.context) == {
		"workflow", "purpose", "reason", "parent",
		"time", "attempt", "arguments", "inputs",
	}
	object.keys(input.facts) == {
		"labels", "arguments", "estimate", "budgets", "grants",
		"claims", "acts", "history", "halts", "chain",
	}
	object.keys(input.facts.estimate) == {"amount", "known", "units"}
	object.keys(input.facts.history) == {"repeats", "failures", "denials"}
	_listed_whole
	_others_whole
	not _approval_lacking
}

_listed_whole if {
	every budget in input.facts.budgets {
		object.keys(budget) == {"id", "window", "limit", "spent", "held", "elapsed"}
	}
	every link in input.facts.chain {
		object.keys(link) == {"service", "owner", "region", "external"}
	}
}

_others_whole if {
	input.facts.claims == []
	input.facts.acts == []
}

_others_whole if {
	every claim in input.facts.claims {
		object.keys(claim) == {"object", "holder", "workflow", "own", "expires"}
	}
	every act in input.facts.acts {
		object.keys(act) == {"agent", "operation", "decision", "time"}
	}
}

_approval_lacking if {
	input.action.name == "approval.resolve"
	not _approval_whole
}

# Whether somebody may resolve it, and what becomes of it, hangs on each of them.
_approval_whole if {
	object.subset(object.keys(input.resource.properties), {
		"subject", "team", "action", "target", "policy", "code", "bind", "uses",
		"cost", "roles", "quorum", "chain", "level", "addressee", "state", "verdicts",
	})
	every verdict in input.resource.properties.verdicts {
		object.subset(object.keys(verdict), {"kind", "by", "verdict", "level"})
	}
}
