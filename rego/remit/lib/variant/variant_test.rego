package remit.lib.variant_test

import data.remit.lib.variant
import data.remit.testing

with_overrides(overrides) := object.union(
	testing.catalogue,
	{"services": {"models": {"overrides": overrides}}},
)

everybody(terms) := {"when": {}, "variants": {"image": terms}}

terms_of(name, catalogue) := terms if {
	request := testing.call({"resource": {"variant": name}})
	terms := variant.terms with input as request with data.remit.catalogue as catalogue
}

test_a_variant_has_its_own_terms if {
	terms_of("image", with_overrides([])) == {"max": {"image": 4}, "cheaper": ""}
	terms_of("image", testing.catalogue) == {"max": {"image": 4}, "cheaper": ""}
}

test_an_override_replaces_what_it_names_and_leaves_the_rest if {
	catalogue := with_overrides([everybody({"max": {"call": 1}})])
	terms_of("image", catalogue) == {"max": {"call": 1}, "cheaper": ""}
}

test_an_override_can_add_a_property if {
	catalogue := with_overrides([everybody({"approval": {"roles": ["finance"]}})])
	terms_of("image", catalogue) == {"max": {"image": 4}, "cheaper": "", "approval": {"roles": ["finance"]}}
}

test_of_several_overrides_the_last_wins_property_by_property if {
	catalogue := with_overrides([
		everybody({"max": {"image": 3}, "cheaper": "small"}),
		{"when": {"agent": ["analysis"]}, "variants": {"image": {"max": {"image": 2}}}},
		everybody({"max": {"image": 1}}),
	])
	terms_of("image", catalogue) == {"max": {"image": 1}, "cheaper": "small"}
}

test_an_override_does_not_list_a_variant if {
	not terms_of("huge", with_overrides([{"when": {}, "variants": {"huge": {"max": {}}}}]))
}

test_a_request_that_cannot_be_selected_by_has_no_terms if {
	request := json.remove(testing.call({}), ["facts/chain/0/region"])
	not variant.terms with input as request with data.remit.catalogue as testing.catalogue
}
