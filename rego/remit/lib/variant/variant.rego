# METADATA
# title: What the catalogue says about a service's variant
# schemas:
#   - input: schema.input
package remit.lib.variant

import data.remit.lib.catalogue
import data.remit.lib.selector

# METADATA
# scope: document
# description: |
#   The terms of the request's variant: its own, where each override that selects the request replaces the properties
#   that it names, in order. Undefined when the variant is not listed.
terms := _listed if _overrides == []

terms := {name: value |
	some saying in _sayings
	some name, _ in saying
	value := _last(name)
} if {
	_overrides != []
	_sayings
}

_listed := catalogue.entry.variants[input.resource.variant]

_overrides := object.get(catalogue.entry, "overrides", [])

_sayings := array.concat([_listed], overriding) if {
	request := selector.request
	overriding := [saying |
		some override in _overrides
		saying := override.variants[input.resource.variant]
		selector.matches(override.when, request)
	]
}

_last(name) := values[count(values) - 1] if {
	values := [value |
		some saying in _sayings
		value := saying[name]
	]
}
