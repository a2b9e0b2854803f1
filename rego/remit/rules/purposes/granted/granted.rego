# METADATA
# title: The purpose is granted
# description: |
#   An agent acts for a purpose of its workflow, which the sidecar has checked against the workflow's signed ones, or,
#   outside any workflow, for one of its own. An agent that has purposes always names one.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     purpose_not_granted: "the purpose '{context.purpose}' is not one that {subject.id} may act for"
package remit.rules.purposes.granted

import data.remit.lib.catalogue

deny contains "purpose_not_granted" if {
	input.action.name in {"data.read", "data.write", "api.call", "tool.call", "message.send", "decision.make"}
	not _granted
}

_granted if input.context.purpose in catalogue.purposes

_granted if {
	input.context.workflow > ""
	input.context.purpose > ""
}

_granted if {
	catalogue.purposes == []
	input.context.purpose == ""
}
