# METADATA
# title: A variant's limits hold
# description: |
#   What a variant limits with `max` must be stated, as a unit of the estimate or as an argument of that name, and
#   stay within the limit wherever it is stated.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     limit_exceeded: "{resource.id} {resource.variant} is limited to less for this caller"
#     argument_missing: "{resource.id} {resource.variant} has a limit, and the call does not state how much it asks for"
package remit.rules.variants.limit

import data.remit.lib.variant

deny contains "limit_exceeded" if {
	input.action.name in {"api.call", "tool.call", "message.send"}
	some unit, most in variant.terms.max
	some amount in _stated(unit)
	not _within(amount, most)
}

deny contains "argument_missing" if {
	input.action.name in {"api.call", "tool.call", "message.send"}
	some unit, _ in variant.terms.max
	not _is_stated(unit)
}

_is_stated(unit) if count(_stated(unit)) > 0

_stated(unit) := {amount |
	some stated in statements
	amount := stated[unit]
} if {
	statements := [input.facts.estimate.units, input.context.arguments]
}

# A negative number often means "no limit"; what is no number sorts before or after all that are.
_within(amount, most) if {
	amount >= 0
	amount <= most
}
