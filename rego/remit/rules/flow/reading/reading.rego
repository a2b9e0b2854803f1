# METADATA
# title: Agents read what they are cleared for
# description: |
#   An agent must be cleared for every label of what it reads, and of what a dataset's statement returns to it; an actor
#   that it declares can narrow that.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     flow_label_exceeds_clearance: "{subject.id} is not cleared for every label of {resource.ref}: {resource.labels}"
package remit.rules.flow.reading

import data.remit.lib.catalogue

deny contains "flow_label_exceeds_clearance" if {
	_reads
	not _cleared
}

_reads if input.action.name == "data.read"

_reads if catalogue.statement

_cleared if {
	every label in input.resource.labels {
		label in catalogue.clearance
	}
}
