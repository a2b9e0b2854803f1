package remit.rules.variants.limit_test

import data.remit.rules.variants.limit
import data.remit.testing

denied(request) := codes if {
	codes := limit.deny with input as request with data.remit.catalogue as testing.catalogue
}

image(changes) := testing.call(object.union({"resource": {"variant": "image", "operation": "images"}}, changes))

stated(amount) := {"facts": {"estimate": {"units": {"image": amount}}}}

argued(amount) := {"context": {"arguments": {"image": amount}}}

exceeded := {"limit_exceeded"}

test_what_is_within_the_limit_passes if {
	denied(image(stated(4))) == set()
	denied(image(argued(4))) == set()
	denied(image(stated(0))) == set()
}

test_what_is_above_does_not if {
	denied(image(stated(5))) == exceeded
	denied(image(argued(5))) == exceeded
	denied(image(argued(4.5))) == exceeded
}

test_both_statements_count if {
	denied(image(object.union(stated(4), argued(5)))) == exceeded
	denied(image(object.union(stated(5), argued(4)))) == exceeded
}

test_what_is_limited_has_to_be_stated if {
	denied(image({})) == {"argument_missing"}
}

test_only_a_number_from_zero_states_it if {
	every amount in [-1, "3", null, true, [1], {"n": 1}] {
		denied(image(argued(amount))) == exceeded
	}
}

test_a_variant_without_limits_takes_any_amount if {
	denied(testing.call({"context": {"arguments": {"image": 99}}})) == set()
}

test_an_override_limits_whom_it_selects if {
	in_refunds := {"context": {"purpose": "refunds"}}
	denied(image(object.union(in_refunds, stated(2)))) == set()
	denied(image(object.union(in_refunds, stated(3)))) == exceeded
	denied(image(stated(3))) == set()
}

test_an_override_may_go_by_region if {
	chain := [{"service": "models", "owner": "platform", "region": "us", "external": true}]
	denied(testing.call({"facts": {"chain": chain}})) == exceeded
	denied(testing.call({"facts": {"chain": chain, "estimate": {"units": {"output_token": 100}}}})) == set()
}
