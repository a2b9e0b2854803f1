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
		"labels", "arguments", "estimate", "budgets",
		"grants", "claims", "halts", "chain",
	}
	object.keys(input.facts.estimate) == {"amount", "known", "units"}
	every budget in input.facts.budgets {
		object.keys(budget) == {"id", "window", "limit", "spent", "held", "elapsed"}
	}
	every link in input.facts.chain {
		object.keys(link) == {"service", "owner", "region", "external"}
	}
}
