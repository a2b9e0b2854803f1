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
	some saying in sayings
	some name, _ in saying
	value := _last(name, sayings)
} if {
	_overrides != []
	request := selector.request
	overriding := [saying |
		some override in _overrides
		selector.matches(override.when, request)
		saying := override.variants[input.resource.variant]
	]
	sayings := array.concat([_listed], overriding)
}

_listed := catalogue.entry.variants[input.resource.variant]

# Few services have overrides, and few overrides are about this variant: then there is nothing to select by.
_overrides := [override |
	some override in catalogue.entry.overrides
	override.variants[input.resource.variant]
]

_last(name, sayings) := values[count(values) - 1] if {
	values := [value |
		some saying in sayings
		value := saying[name]
	]
}
