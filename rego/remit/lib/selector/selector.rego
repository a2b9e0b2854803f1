# METADATA
# title: The selector `when`
# schemas:
#   - input: schema.input
package remit.lib.selector

# METADATA
# description: What a selector can ask about the request.
request := {
	"agent": input.subject.id,
	"team": input.subject.team,
	"service": input.resource.id,
	"operation": input.resource.operation,
	"variant": input.resource.variant,
	"region": _region,
	"purpose": input.context.purpose,
}

# The chain's first link is the service itself, at the endpoint that the request goes to.
_region := "" if input.facts.chain == []

_region := input.facts.chain[0].region

# METADATA
# description: Whether every key of `when` names the value that `call` has for it, alone or in a list; `{}` selects all.
matches(when, call) if {
	every key, wanted in when {
		_names(wanted, call[key])
	}
}

# `*` stands for anything, in a name alone or in one of a list.
_names(wanted, value) if glob.match(wanted, null, value)

_names(wanted, value) if {
	some each in wanted
	glob.match(each, null, value)
}
