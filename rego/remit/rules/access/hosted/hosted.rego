# METADATA
# title: Providers' own tools are listed
# description: |
#   A tool that the provider runs (a web search, a sandbox, a remote MCP server) is an effect of its own, which Remit
#   does not see happen: the service's `operations` must list each by name, also where they list nothing else.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     hosted_tool_not_listed: "{resource.id} does not list every tool of its own that the request turns on"
package remit.rules.access.hosted

import data.remit.lib.catalogue

deny contains "hosted_tool_not_listed" if {
	input.action.name in {"api.call", "message.send"}
	input.resource.type == "service"
	not _listed
}

_listed if {
	every tool in _hosted {
		tool in catalogue.entry.operations
	}
}

# An object without the field turns on nothing; without the object, nothing is shown.
_hosted := object.get(input.resource.properties, "hosted", [])
