# METADATA
# title: Agents send messages to agents
# description: Any agent of the catalogue may write to any other; what may flow to it, its clearance says.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     allowed: "{subject.id} may {action.name} {resource.ref}"
package remit.rules.access.agent

import data.remit.lib.catalogue

allow contains "allowed" if {
	input.action.name == "message.send"
	input.resource.type == "agent"
	catalogue.entry
	catalogue.agent
}
