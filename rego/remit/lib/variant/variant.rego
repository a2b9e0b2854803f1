# METADATA
# title: What the catalogue says about a service's variant
# schemas:
#   - input: schema.input
package remit.lib.variant

import data.remit.lib.catalogue
import data.remit.lib.selector

# METADATA
# description: |
#   The settings of the request's variant: the service's own, where the overrides that select the request replace the
#   properties that they name, later ones last. Undefined when the variant is not listed.
settings := _own if _overrides == []

settings := {name: value | some saying in _sayings; some name, _ in saying; value := _last(name)} if {
	_overrides != []
	count(_sayings) > 0
}

_own := catalogue.entry.variants[input.resource.variant]

_overrides := object.get(catalogue.entry, "overrides", [])

_sayings := array.concat(
	[_own | _own],
	[saying |
		some override in _overrides
		selector.matches(override.when, request)
		saying := override.variants[input.resource.variant]
	],
) if {
	request := selector.request
}

_last(name) := values[count(values) - 1] if {
	values := [value | value := _sayings[_][name]]
}
