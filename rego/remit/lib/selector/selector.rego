# METADATA
# title: The selector `when`
# schemas:
#   - input: schema.input
package remit.lib.selector

# METADATA
# description: |
#   What a selector can ask about the request; "" is what the request does not have. Undefined when one is not known,
#   so that nobody takes a selector for not matching that might.
request := {
	"agent": input.subject.id,
	"team": input.subject.team,
	"service": _service,
	"operation": input.resource.operation,
	"variant": input.resource.variant,
	"region": _region,
	"purpose": input.context.purpose,
}

_service := input.resource.id if input.resource.type in {"service", "tool"}

_service := "" if not input.resource.type in {"service", "tool"}

# The chain's first link is the service itself, at the endpoint that the request goes to.
_region := region if {
	region := input.facts.chain[0].region
	is_string(region)
}

_region := "" if input.facts.chain == []

# METADATA
# description: |
#   Whether for every key of `when` one of its values is what `call` has there; `*` in a value stands for any
#   characters. `{}` selects everything.
matches(when, call) if {
	every key, values in when {
		_one_of(values, call[key])
	}
}

_one_of(values, text) if text in values

# Of what a glob takes for special, the catalogue admits nothing but the star.
_one_of(values, text) if {
	some pattern in values
	contains(pattern, "*")
	glob.match(pattern, null, text)
}
