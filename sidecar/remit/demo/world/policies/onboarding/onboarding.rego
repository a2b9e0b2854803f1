# METADATA
# title: Onboarding of customers
# description: |
#   An approval rests on a score. And what an agent says it does a thing for stands in the journal in clear, with the
#   customer's number and what was decided; everything else is kept as a keyed hash.
# schemas:
#   - input: schema.input
# custom:
#   owner: cx
#   codes:
#     score_missing: "{subject.id} may approve only who was scored"
package remit.custom.onboarding

deny contains "score_missing" if {
	input.action.name == "decision.make"
	input.context.arguments.outcome == "approve"
	not _scored
}

_scored if {
	is_number(input.context.arguments.risk)
	input.context.arguments.risk >= 0
	input.context.arguments.risk <= 100
}

record contains "/reason"

record contains path if {
	input.action.name == "decision.make"
	some path in {
		"/arguments/customer", "/arguments/outcome", "/arguments/risk",
		"/arguments/available", "/arguments/summary",
	}
}
