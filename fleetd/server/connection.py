"""uvicorn's HTTP/1.1 with bounds on what a silent or slow peer may hold.

uvicorn waits without end for a peer that does not finish the head of its request, and for one that
does not read its answer. Each would hold memory and a place among the connections here; both are
cut off. How long the body of a request may take is its handler's business.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 20.0
"""How long a peer may take for the head of a request, and for bytes that nobody waits for."""
STALL_S = 20.0
"""How long a peer may take nothing of an answer that waits for it."""


class Connection(H11Protocol):
    """One connection, with bounds on what a silent or slow peer may hold."""

    head_s = HEAD_S
    stall_s = STALL_S

    _asked = False
    _head: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Take bytes; the head of a request has to be whole in time."""
        super().data_received(data)
        self._expect()

    def on_response_complete(self) -> None:
        """Go on to the next request; the rest of this one has to end in time."""
        super().on_response_complete()
        self._expect()

    def pause_writing(self) -> None:
        """Give the peer a while to take what waits for it."""
        super().pause_writing()
        self._stalled(0)

    def resume_writing(self) -> None:
        """The peer has taken it."""
        super().resume_writing()
        self._stall = _end(self._stall)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the peer."""
        self._head = _end(self._head)
        self._stall = _end(self._stall)
        super().connection_lost(exc)

    def _expect(self) -> None:
        """Hold the peer to `head_s` while it owes bytes that no handler of ours waits for."""
        theirs, ours = self.conn.their_state, self.conn.our_state
        self._asked = self._asked or theirs is not h11.IDLE
        partial = theirs is h11.IDLE and (not self._asked or bool(self.conn.trailing_data[0]))
        unread = theirs is h11.SEND_BODY and ours is h11.DONE
        if not (partial or unread):
            self._head = _end(self._head)
        elif self._head is None:
            self._head = self.loop.call_later(self.head_s, self.transport.abort)

    def _stalled(self, before: int) -> None:
        """Cut a peer that has taken nothing since the last look."""
        waiting = self.transport.get_write_buffer_size()
        if before and waiting >= before:
            self.transport.abort()
        else:
            self._stall = self.loop.call_later(self.stall_s, self._stalled, waiting)


def _end(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Stop a timer; there is none then."""
    if timer is not None:
        timer.cancel()
    return None
