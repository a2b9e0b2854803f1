# METADATA
# title: The variant is listed
# description: A service that lists variants is called as one of them; one that lists none is called without.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     variant_not_listed: "{resource.id} does not list the variant {resource.variant} for this caller"
package remit.rules.variants.listed

import data.remit.lib.catalogue
import data.remit.lib.variant

deny contains "variant_not_listed" if {
	input.action.name in {"api.call", "tool.call", "message.send"}
	not _listed
}

_listed if variant.terms

_listed if {
	input.resource.variant == ""
	catalogue.entry.variants == {}
}

_listed if {
	input.resource.variant == ""
	catalogue.plumbing
}

_listed if input.resource.type == "agent"
