"""Cutting a body into its events, whatever pieces it comes in: server-sent events and AWS's event stream."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

MAX_EVENT = 1 << 20

_BOM = b"\xef\xbb\xbf"
_PRELUDE = 12
_OVERHEAD = 16  # the prelude, and the sum at the end


class ServerSentEvents:
    """The data of each event. One that is longer than MAX_EVENT is `lost`, and so noted."""

    def __init__(self) -> None:
        self.lost = False
        self._line, self._length = bytearray(), 0
        self._data, self._size = bytearray(), 0
        self._after_return, self._first = False, True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The events that end in this piece."""
        if not chunk:
            return
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_return = chunk.endswith(b"\r")
        *ended, begun = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for piece in ended:
            self._append(piece)
            yield from self._end_line()
        self._append(begun)

    def end(self) -> Iterator[bytes]:
        """The event that nothing ended but the body's end."""
        yield from self._end_line()
        yield from self._end_event()

    def _append(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length <= MAX_EVENT:
            self._line += piece

    def _end_line(self) -> Iterator[bytes]:
        line, length = bytes(self._line), self._length
        self._line.clear()
        self._length = 0
        if self._first:
            line, self._first = line.removeprefix(_BOM), False
        if length > MAX_EVENT:
            self._size = MAX_EVENT + 1
        elif not line:
            yield from self._end_event()
        elif line == b"data" or line.startswith(b"data:"):
            value = line[5:].removeprefix(b" ")
            self._size += len(value) + 1
            if self._size <= MAX_EVENT:
                self._data += value + b"\n"

    def _end_event(self) -> Iterator[bytes]:
        data, size = bytes(self._data[:-1]), self._size
        self._data.clear()
        self._size = 0
        if size > MAX_EVENT:
            self.lost = True
        elif size:
            yield data


class EventStream:
    """The payload of each message. After one that is no message nothing can be found any more: it is all `lost`."""

    def __init__(self) -> None:
        self.lost = False
        self._kept, self._skip, self._broken = bytearray(), 0, False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The payloads of the messages that end in this piece."""
        passed = min(self._skip, len(chunk))
        self._skip -= passed
        self._kept += chunk[passed:]
        while not self._broken and len(self._kept) >= _PRELUDE:
            length, headers, total = (int.from_bytes(self._kept[at : at + 4]) for at in (0, 4, 8))
            if zlib.crc32(self._kept[:8]) != total or headers + _OVERHEAD > length:
                self._broken = True
            elif length > MAX_EVENT:
                self.lost = True
                passed = min(length, len(self._kept))
                self._skip = length - passed
                del self._kept[:passed]
            elif len(self._kept) < length:
                return
            else:
                message = bytes(self._kept[:length])
                del self._kept[:length]
                if zlib.crc32(message[:-4]) == int.from_bytes(message[-4:]):
                    yield message[_PRELUDE + headers : -4]
                else:
                    self.lost = True
        if self._broken:
            self.lost = True
            self._kept.clear()

    def end(self) -> Iterator[bytes]:
        """Nothing: a message that has not ended is none."""
        self.lost = self.lost or bool(self._kept) or self._skip > 0
        yield from ()
