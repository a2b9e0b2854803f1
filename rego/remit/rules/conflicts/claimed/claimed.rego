# METADATA
# title: Claims keep others out
# description: |
#   The sidecar lists the claims that are held on what is acted on; one that is not the agent's own, in this workflow,
#   stops it. The store compares again when it commits.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     claim_held: "somebody else holds a claim on {resource.ref}"
package remit.rules.conflicts.claimed

deny contains "claim_held" if {
	input.action.name in {"data.write", "tool.call", "message.send", "decision.make", "claim.take"}
	not _free
}

_free if {
	every claim in input.facts.claims {
		claim.own == true
	}
}
