# METADATA
# title: Labels held stay within the receiver's clearance
# description: |
#   What leaves a session may carry anything that the session has read, so the receiver must be cleared for all of it.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     flow_label_exceeds_clearance: "the session holds {facts.labels}, {resource.ref} takes {resource.clearance}"
package remit.rules.flow.clearance

deny contains "flow_label_exceeds_clearance" if {
	input.action.name in {"api.call", "tool.call", "message.send", "data.write"}
	not _cleared
}

_cleared if {
	every label, _ in input.facts.labels {
		label in input.resource.clearance
	}
}
