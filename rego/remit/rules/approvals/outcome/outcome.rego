# METADATA
# title: What becomes of an approval
# description: |
#   The sidecar does as the obligation `resolve_approval` says; of several the strictest counts, and without any it goes
#   on waiting. What is said when is in `lib/verdicts`, as a table in its test.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
package remit.rules.approvals.outcome

import data.remit.lib.verdicts

oblige contains {"id": "resolve_approval", "properties": {"outcome": outcome}} if {
	input.action.name == "approval.resolve"
	input.resource.operation in {"approve", "deny", "hold", "timeout"}
	approval := object.get(input.resource, "properties", {})
	outcome := verdicts.outcome(input.resource.operation, input.subject.id, approval)
}
