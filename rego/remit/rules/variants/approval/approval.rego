# METADATA
# title: Some variants need approval
# description: A variant with `approval` in the catalogue waits for it.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     approval_required: "{resource.id} {resource.variant} needs approval"
package remit.rules.variants.approval

import data.remit.lib.variant

hold contains {"code": "approval_required", "approval": approval} if {
	input.action.name in {"api.call", "tool.call", "message.send"}
	approval := variant.terms.approval
	approval != {}
}
