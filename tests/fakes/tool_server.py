"""A real MCP server with the official SDK: `python tool_server.py PORT`. It has a tool too many."""

from __future__ import annotations

import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("clock")


@server.tool()
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


@server.tool()
def erase(what: str) -> str:
    """Erase something."""
    return f"{what} is gone"


if __name__ == "__main__":
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
