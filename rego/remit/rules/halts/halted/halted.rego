# METADATA
# title: A halt stops what it covers
# description: The sidecar lists the halts that cover the request; any one stops it, except that a halt can be lifted.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     halted: "a halt covers the request: {facts.halts}"
package remit.rules.halts.halted

deny contains "halted" if {
	input.action.name != "control.halt"
	not _free
}

_free if input.facts.halts == []
