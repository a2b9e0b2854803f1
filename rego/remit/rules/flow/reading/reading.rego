# METADATA
# title: Agents read what they are cleared for
# description: An agent must be cleared for every label of what it reads; an actor that it declares can narrow that.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     flow_label_exceeds_clearance: "{subject.id} is not cleared for every label of {resource.ref}: {resource.labels}"
package remit.rules.flow.reading

import data.remit.lib.catalogue

deny contains "flow_label_exceeds_clearance" if {
	input.action.name == "data.read"
	not _cleared
}

_cleared if {
	every label in input.resource.labels {
		label in catalogue.clearance
	}
}
