package remit.rules.variants.listed_test

import data.remit.rules.variants.listed
import data.remit.testing

denied(request) := codes if {
	codes := listed.deny with input as request with data.remit.catalogue as testing.catalogue
}

unlisted := {"variant_not_listed"}

test_a_listed_variant_passes if {
	denied(testing.call({})) == set()
	denied(testing.call({"resource": {"variant": "image"}})) == set()
}

test_another_variant_does_not if {
	denied(testing.call({"resource": {"variant": "huge"}})) == unlisted
}

test_a_service_that_lists_variants_is_not_called_without if {
	denied(testing.call({"resource": {"variant": ""}})) == unlisted
}

test_a_service_that_lists_none_is if {
	denied(testing.send({})) == set()
	denied(testing.tool({})) == set()
	denied(testing.send({"resource": {"variant": "bulk"}})) == unlisted
	denied(testing.tool({"resource": {"variant": "bulk"}})) == unlisted
}

test_an_unknown_service_lists_nothing if {
	denied(testing.call({"resource": {"id": "elsewhere"}})) == unlisted
}

test_agents_and_datasets_have_no_variants if {
	denied(testing.message({})) == set()
	denied(testing.read({})) == set()
}

test_plumbing_of_an_mcp_server_has_no_variant if {
	clock := {"kind": "mcp", "variants": {"get_time": {"max": {}, "cheaper": ""}}, "overrides": []}
	server := object.union(testing.catalogue, {"services": {"clock": clock}})
	asked := {"resource": {"type": "service", "id": "clock", "operation": "tools/list", "variant": ""}}
	listed.deny == set() with input as testing.call(asked) with data.remit.catalogue as server

	called := {"action": {"name": "tool.call"}, "resource": {"operation": "delete_all"}}
	request := testing.call(object.union(asked, called))
	listed.deny == unlisted with input as request with data.remit.catalogue as server
}
