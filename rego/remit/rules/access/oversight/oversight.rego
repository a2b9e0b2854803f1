# METADATA
# title: Operators halt and adjust
# description: People with the role `operator` may halt and resume any scope and adjust any budget; nobody else may.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     allowed: "{subject.id} may {action.name} {resource.ref}"
#     role_not_granted: "{action.name} is for people with the role operator"
package remit.rules.access.oversight

import data.remit.lib.catalogue

allow contains "allowed" if {
	some action, type in {"control.halt": "scope", "budget.adjust": "budget"}
	input.action.name == action
	input.resource.type == type
	_operator
}

deny contains "role_not_granted" if {
	input.action.name in {"control.halt", "budget.adjust"}
	not _operator
}

_operator if {
	catalogue.person
	"operator" in input.subject.roles
}

# Whoever holds the sidecar's own operator token: it lies in the state directory, not in the catalogue.
_operator if {
	input.subject.type == "person"
	input.subject.identity.method == "local"
	"operator" in input.subject.roles
}
