package remit.rules.access.hosted_test

import data.remit.rules.access.hosted
import data.remit.testing

denied(request) := codes if {
	codes := hosted.deny with input as request with data.remit.catalogue as listing(["chat", "web_search"])
}

listing(operations) := object.union(
	testing.catalogue,
	{"services": {"models": {"operations": operations}, "mail": {"operations": []}}},
)

turning_on(tools) := testing.call({"resource": {"properties": {"hosted": tools}}})

unlisted := {"hosted_tool_not_listed"}

test_a_call_that_turns_on_nothing_passes if {
	denied(testing.call({})) == set()
	denied(turning_on([])) == set()
	denied(testing.send({})) == set()
}

test_a_listed_tool_passes if {
	denied(turning_on(["web_search"])) == set()
}

test_one_unlisted_tool_among_listed_ones_is_denied if {
	denied(turning_on(["mcp", "web_search"])) == unlisted
}

test_a_service_that_lists_no_operations_lists_no_tools_either if {
	denied(testing.send({"resource": {"properties": {"hosted": ["web_search"]}}})) == unlisted
}

test_an_unknown_service_lists_nothing if {
	denied(object.union(turning_on(["web_search"]), {"resource": {"id": "elsewhere"}})) == unlisted
}

test_what_is_no_list_of_names_is_denied if {
	every wrong in [null, "web_search", 1, {"a": "mcp"}, [["web_search"]], [null]] {
		denied(turning_on(wrong)) == unlisted
	}
}

test_nothing_is_said_about_anything_else if {
	denied(testing.read({"resource": {"properties": {"hosted": ["mcp"]}}})) == set()
	denied(testing.tool({"resource": {"properties": {"hosted": ["mcp"]}}})) == set()
}
