# METADATA
# title: Actions and resources are known
# description: |
#   An action must be one of Remit's. What the catalogue lists (services, tools, datasets, agents and budgets) must be
#   listed, with its operation where a service lists these, and a write with its name where a dataset names statements.
#   A claim may be on all of a service.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     unknown_action: "{action.name} is not an action"
#     unknown_resource: "the catalogue lists no {resource.type} {resource.ref}"
package remit.rules.access.known

import data.remit.lib.catalogue

deny contains "unknown_action" if {
	not input.action.name in {
		"data.read", "data.write", "api.call", "tool.call", "message.send", "decision.make",
		"claim.take", "workflow.open", "approval.resolve", "budget.adjust", "control.halt",
	}
}

deny contains "unknown_resource" if not _known

_known if input.resource.type in {"workflow", "scope", "decision", "approval", "object"}

_known if {
	input.resource.type in {"agent", "budget"}
	catalogue.entry
}

_known if {
	input.resource.type == "dataset"
	input.action.name != "data.write"
	catalogue.entry
}

# A dataset that names no statements takes any write.
_known if {
	input.resource.type == "dataset"
	catalogue.entry.statements == {}
}

_known if {
	input.resource.type == "dataset"
	catalogue.statement
}

# A service that lists no operations takes any.
_known if {
	input.resource.type in {"service", "tool"}
	catalogue.entry.operations == []
}

_known if {
	input.resource.type in {"service", "tool"}
	input.resource.operation in catalogue.entry.operations
}

_known if {
	input.resource.type in {"service", "tool"}
	catalogue.plumbing
}

_known if {
	input.action.name == "claim.take"
	input.resource.type in {"service", "tool"}
	input.resource.operation == ""
	catalogue.entry
}
