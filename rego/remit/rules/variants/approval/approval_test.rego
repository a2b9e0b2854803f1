package remit.rules.variants.approval_test

import data.remit.rules.variants.approval
import data.remit.testing

held(variant, catalogue) := holds if {
	request := testing.call({"resource": {"variant": variant}})
	holds := approval.hold with input as request with data.remit.catalogue as catalogue
}

with_override(terms) := object.union(testing.catalogue, {"services": {"models": {"overrides": [{
	"when": {"agent": ["support"]},
	"variants": terms,
}]}}})

required(approval) := {{"code": "approval_required", "approval": approval}}

large := testing.catalogue.services.models.variants.large.approval

test_a_variant_with_an_approval_waits_for_it if {
	held("large", testing.catalogue) == required(large)
}

test_one_without_does_not if {
	held("small", testing.catalogue) == set()
	held("unlisted", testing.catalogue) == set()
}

test_an_override_replaces_the_approval_of_whom_it_selects if {
	held("large", with_override({"large": {"approval": {"roles": ["lead"]}}})) == required({"roles": ["lead"]})
	held("small", with_override({"small": {"approval": {"roles": ["lead"]}}})) == required({"roles": ["lead"]})
}

test_an_override_of_something_else_leaves_it if {
	held("large", with_override({"large": {"max": {"image": 1}}})) == required(large)
	held("large", with_override({"small": {"approval": {"roles": ["lead"]}}})) == required(large)
}
