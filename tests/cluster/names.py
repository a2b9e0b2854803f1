"""A cluster's name server, as far as a test needs one: run as a program, it answers A and AAAA from a file of names.

Wire format: RFC 1035, sections 4.1 and 4.2.1. The file is JSON, name → address, and is read anew for each question.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

_TYPES = {4: 1, 6: 28}
_CLASS, _SECONDS, _POINTER = 1, 1, 0xC00C
_ANSWER, _NO_SUCH_NAME = 0x8480, 3


def answer(question: bytes, names: Mapping[str, str]) -> bytes:
    """To one question for one name. A name that is in the file has no other types; one that is not does not exist."""
    number, flags = struct.unpack_from("!HH", question)
    labels, at = [], 12
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    (asked,) = struct.unpack_from("!H", question, at + 1)
    asked_for = question[12 : at + 5]
    found = names.get(".".join(labels))
    records = b""
    if found is not None:
        address = ipaddress.ip_address(found)
        if asked == _TYPES[address.version]:
            packed = address.packed
            records = struct.pack("!HHHIH", _POINTER, asked, _CLASS, _SECONDS, len(packed)) + packed
    code = _ANSWER | flags & 0x0100 | (0 if found is not None else _NO_SUCH_NAME)
    return struct.pack("!HHHHHH", number, code, 1, 1 if records else 0, 0, 0) + asked_for + records


def serve(address: str, file: Path) -> None:
    """Until it is ended."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        print("ready", flush=True)
        while True:
            question, who = server.recvfrom(512)
            server.sendto(answer(question, json.loads(file.read_text())), who)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
