package remit.rules.access.known_test

import data.remit.rules.access.known
import data.remit.testing

denied(request) := codes if {
	codes := known.deny with input as request with data.remit.catalogue as testing.catalogue
}

test_what_the_catalogue_lists_is_known if {
	every request in [
		testing.call({}), testing.tool({}), testing.read({}), testing.write({}), testing.message({}),
		testing.decide({}), testing.open({}), testing.halt({}), testing.adjust({}), testing.claim({}),
		testing.resolve({}), testing.expire({}),
	] {
		denied(request) == set()
	}
}

test_an_action_of_another_name_is_unknown if {
	denied(testing.call({"action": {"name": "api.cal"}})) == {"unknown_action"}
	denied(testing.call({"action": {"name": ""}})) == {"unknown_action"}
}

test_a_resource_that_is_not_listed_is_unknown if {
	every request in [
		testing.call({}), testing.tool({}), testing.read({}), testing.write({}), testing.message({}), testing.adjust({}),
	] {
		denied(object.union(request, {"resource": {"id": "elsewhere"}})) == {"unknown_resource"}
	}
}

test_a_resource_of_another_type_is_unknown if {
	denied(testing.call({"resource": {"type": "server"}})) == {"unknown_resource"}
}

test_a_service_that_lists_operations_has_no_other if {
	denied(testing.call({"resource": {"operation": "images"}})) == set()
	denied(testing.call({"resource": {"operation": "files"}})) == {"unknown_resource"}
	denied(testing.send({"resource": {"operation": "anything"}})) == set()
}

test_a_claim_is_on_all_of_a_service_or_on_an_operation_that_it_has if {
	models := {"resource": {"type": "service", "id": "models", "ref": "models"}}
	denied(testing.claim(models)) == set()
	denied(testing.claim(object.union(models, {"resource": {"operation": "chat"}}))) == set()
	denied(testing.claim(object.union(models, {"resource": {"operation": "files"}}))) == {"unknown_resource"}
	denied(testing.claim(object.union(models, {"resource": {"id": "elsewhere"}}))) == {"unknown_resource"}
	denied(testing.call({"resource": {"operation": ""}})) == {"unknown_resource"}
}

test_a_dataset_that_names_statements_takes_no_other_write if {
	customers := {"statements": {"rename": {}}}
	named := object.union(testing.catalogue, {"datasets": {"customers": customers}})
	every operation, codes in {"rename": set(), "renme": {"unknown_resource"}, "": {"unknown_resource"}} {
		asked := {"resource": {"operation": operation}}
		known.deny == codes with input as testing.write(asked) with data.remit.catalogue as named
		known.deny == set() with input as testing.read(asked) with data.remit.catalogue as named
	}
}

test_an_mcp_server_has_its_plumbing_besides_the_tools_that_it_lists if {
	clock := {"kind": "mcp", "operations": ["get_time"]}
	server := object.union(testing.catalogue, {"services": {"clock": clock}})
	asked := {"resource": {"type": "service", "id": "clock", "operation": "tools/list", "variant": ""}}
	known.deny == set() with input as testing.call(asked) with data.remit.catalogue as server

	reading := object.union(asked, {"resource": {"operation": "resources/read"}})
	known.deny == {"unknown_resource"} with input as testing.call(reading) with data.remit.catalogue as server

	named := object.union(asked, {"action": {"name": "tool.call"}})
	known.deny == {"unknown_resource"} with input as testing.call(named) with data.remit.catalogue as server

	plain := object.union(server, {"services": {"clock": {"kind": "http"}}})
	known.deny == {"unknown_resource"} with input as testing.call(asked) with data.remit.catalogue as plain
}
