# METADATA
# title: Agents make decisions
# description: Any agent of the catalogue may decide, and so have its decision and what it rests on recorded.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     allowed: "{subject.id} may {action.name} {resource.ref}"
package remit.rules.access.decision

import data.remit.lib.catalogue

allow contains "allowed" if {
	input.action.name == "decision.make"
	input.resource.type == "decision"
	catalogue.agent
}
