# METADATA
# title: Labels held stay within the receiver's clearance
# description: What leaves a session may carry anything that the session has read, so the receiver must be cleared for all.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     flow_label_exceeds_clearance: "{resource.ref} is cleared for {resource.clearance}, but the session holds {facts.labels}"
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
