# METADATA
# title: Actions and resources are known
# description: |
#   An action must be one of Remit's. What the catalogue lists (services, tools, datasets, agents and budgets) must be
#   listed, with its operation where a service lists these.
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

_known if input.resource.type in {"workflow", "scope", "decision"}

_known if {
	input.resource.type in {"dataset", "agent", "budget"}
	catalogue.entry
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
