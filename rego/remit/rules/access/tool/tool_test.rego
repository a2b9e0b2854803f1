package remit.rules.access.tool_test

import data.remit.rules.access.tool
import data.remit.testing

said(request, catalogue) := verdict if {
	verdict := {"allow": tool.allow, "deny": tool.deny} with input as request with data.remit.catalogue as catalogue
}

allowed := {"allow": {"allowed"}, "deny": set()}

refused := {"allow": set(), "deny": {"role_not_granted"}}

silent := {"allow": set(), "deny": set()}

test_an_agent_calls_tools if {
	said(testing.tool({}), testing.catalogue) == allowed
	said(testing.tool({"resource": {"type": "service"}}), testing.catalogue) == allowed
}

test_an_agent_without_the_role_does_not if {
	catalogue := object.union(testing.catalogue, {"services": {"search": {"roles": ["researcher"]}}})
	said(testing.tool({}), catalogue) == refused
	said(testing.tool({"subject": {"roles": ["researcher"]}}), catalogue) == allowed
}

test_nothing_is_said_about_anything_else if {
	said(testing.call({}), testing.catalogue) == silent
	said(testing.call({"subject": {"roles": []}}), testing.catalogue) == silent
	said(testing.tool({"resource": {"id": "elsewhere"}}), testing.catalogue) == silent
}
