# METADATA
# title: The catalogue's entries that a request is about
# description: An entry has all of its fields, as the sidecar writes it; where one is missing, nothing is granted by it.
# schemas:
#   - input: schema.input
package remit.lib.catalogue

# METADATA
# scope: document
# description: The entry of the request's resource; undefined where the catalogue has none.
entry := data.remit.catalogue.services[input.resource.id] if input.resource.type in {"service", "tool"}

entry := data.remit.catalogue.datasets[input.resource.id] if input.resource.type == "dataset"

entry := data.remit.catalogue.agents[input.resource.id] if input.resource.type == "agent"

entry := data.remit.catalogue.budgets[input.resource.id] if input.resource.type == "budget"

# METADATA
# description: The entry of the agent that acts; undefined for people, and for agents that are not listed.
agent := data.remit.catalogue.agents[input.subject.id] if input.subject.type == "agent"

# METADATA
# description: The entry of the person who acts; undefined for agents, and for people who are not listed.
person := data.remit.catalogue.people[input.subject.id] if input.subject.type == "person"

# METADATA
# description: The roles that the agent acts with.
roles := object.get(_actor, "roles", input.subject.roles)

# METADATA
# description: The purposes that the agent has of its own.
purposes := object.get(_actor, "purposes", agent.purposes)

# METADATA
# description: The labels that the agent may read.
clearance := object.get(_actor, "clearance", agent.clearance)

# The actor is the agent's word. One that the catalogue declares has a part of what its agent has; any other, all of it.
_actor := object.get(agent, ["actors", input.subject.actor], {}) if is_string(input.subject.actor)

# METADATA
# description: The statement that a write to a dataset asks for; undefined where it is none of the dataset's.
statement := entry.statements[input.resource.operation] if {
	input.action.name == "data.write"
	input.resource.type == "dataset"
}

# METADATA
# description: |
#   Whether the roles and purposes that the resource names, where it names any, admit the agent. Of a dataset's
#   statement the dataset's must, and its own.
admitted if {
	agent
	every part in _parts {
		_role(part)
		_purpose(part)
	}
}

_parts := [entry, statement] if statement

else := [entry]

_role(part) if part.roles == []

_role(part) if {
	some role in part.roles
	role in roles
}

_purpose(part) if part.purposes == []

_purpose(part) if input.context.purpose in part.purposes

# METADATA
# description: |
#   Whether it is what an MCP client and server say to each other besides calling tools and reading: that belongs to
#   the server, whichever operations and variants are listed. A tool of such a name is none of it.
plumbing if {
	input.action.name == "api.call"
	entry.kind == "mcp"
	input.resource.operation in {
		"initialize", "ping", "server/discover", "tools/list", "prompts/list", "resources/list",
		"resources/templates/list", "logging/setLevel", "subscriptions/listen", "notifications/initialized",
		"notifications/cancelled", "notifications/progress", "notifications/roots/list_changed",
		"session/listen", "session/end",
	}
}
