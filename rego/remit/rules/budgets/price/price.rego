# METADATA
# title: The price is known
# description: A call whose price is unknown cannot be reserved, so it does not go out.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     price_unknown: "no price is known for {resource.ref} {resource.variant}"
package remit.rules.budgets.price

deny contains "price_unknown" if {
	input.action.name in {"api.call", "tool.call", "message.send"}
	not _priced
}

_priced if input.facts.estimate.known == true

_priced if input.resource.type == "agent"
