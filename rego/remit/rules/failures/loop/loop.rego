# METADATA
# title: Loops end
# description: |
#   An agent that asks for the very same again and again within a workflow is stopped at the limit of
#   `data.remit.failure.loop`, where the answer there is deny. Other answers are the sidecar's to give.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     loop_detected: "{subject.id} has asked for the very same {facts.history.repeats} times within ten minutes"
package remit.rules.failures.loop

# Outside of workflows nobody can tell one task from the next.
deny contains "loop_detected" if {
	input.action.name in {"data.read", "data.write", "api.call", "tool.call", "message.send", "decision.make"}
	not input.context.workflow == ""
	not _few
	data.remit.failure.loop.answer == "deny"
}

_few if data.remit.failure.loop.limit == 0

_few if {
	is_number(input.facts.history.repeats)
	input.facts.history.repeats < data.remit.failure.loop.limit
}
