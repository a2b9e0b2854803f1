# METADATA
# title: Agents open workflows
# description: |
#   An agent of the catalogue may open a workflow for purposes of its own; they are in `resource.properties.purposes`.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     allowed: "{subject.id} may {action.name}"
#     purpose_not_granted: "not every purpose of {resource.properties.purposes} is one of {subject.id}"
package remit.rules.access.workflow

import data.remit.lib.catalogue

allow contains "allowed" if {
	input.action.name == "workflow.open"
	input.resource.type == "workflow"
	_granted
}

deny contains "purpose_not_granted" if {
	input.action.name == "workflow.open"
	not _granted
}

_granted if {
	every purpose in input.resource.properties.purposes {
		purpose in catalogue.purposes
	}
}
