"""An agent that uses an MCP server with the official client.

Arguments: its URL, a tool, and the tool's arguments as JSON. Its credential is the environment's MCP_TOKEN.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client


async def use(url, tool, arguments):
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {os.environ['MCP_TOKEN']}"}, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        listed = await client.list_tools()
        print(json.dumps({"tools": [each.name for each in listed.tools]}))
        try:
            result = await client.call_tool(tool, arguments)
            print(json.dumps({"error": result.is_error, "text": [each.text for each in result.content]}))
        except MCPError as error:
            print(json.dumps({"error": True, "text": [error.error.message]}))


if __name__ == "__main__":
    asyncio.run(use(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
