# METADATA
# title: What keeps failing is not tried again
# description: |
#   An action that has failed within a workflow as often as `data.remit.failure.failed` admits is not tried again for a
#   while, where the answer there is deny or retry. Other answers are the sidecar's to give.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     retries_exhausted: "it has failed {facts.history.failures} times within ten minutes"
package remit.rules.failures.retries

# Outside of workflows nobody can tell one task from the next.
deny contains "retries_exhausted" if {
	input.action.name in {"data.read", "data.write", "api.call", "tool.call", "message.send", "decision.make"}
	not input.context.workflow == ""
	not _few
	data.remit.failure.failed.answer in {"deny", "retry"}
}

_few if data.remit.failure.failed.limit == 0

_few if {
	is_number(input.facts.history.failures)
	input.facts.history.failures < data.remit.failure.failed.limit
}
