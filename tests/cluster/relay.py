"""Carries connections from one address to another, each HOST:PORT or the path of a Unix socket: run as a program.

A Unix socket leads from one network namespace into another.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def relay(listen: str, dial: str) -> None:
    """Until it is ended."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await _dial(dial)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))

    server = await (
        asyncio.start_unix_server(carry, listen)
        if listen.startswith("/")
        else asyncio.start_server(carry, *_split(listen))
    )
    print("ready", flush=True)
    await server.serve_forever()


async def _dial(address: str) -> Ends:
    if address.startswith("/"):
        return await asyncio.open_unix_connection(address)
    return await asyncio.open_connection(*_split(address))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    asyncio.run(relay(sys.argv[1], sys.argv[2]))
