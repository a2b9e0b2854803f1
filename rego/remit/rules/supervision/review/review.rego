# METADATA
# title: Supervisors review
# description: |
#   An action that its agent's `review` lists waits until a supervisor of the agent, or an approver, has looked at
#   exactly this one.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     review_required: "{action.name} by {subject.id} is reviewed before it is done"
package remit.rules.supervision.review

import data.remit.lib.catalogue

hold contains {"code": "review_required", "approval": approval} if {
	input.action.name in catalogue.agent.review
	approval := {"supervisor": true, "roles": ["approver"], "bind": "exact"}
}
