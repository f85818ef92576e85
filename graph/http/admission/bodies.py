"""Bodies that do not come together with their heads: how long they may take, and how many are waited for.

A request whose body is still to come takes nothing but its place here. It is counted as being answered when the body is
there, so that clients which send slowly keep out nobody but each other.
"""

from starlette.types import Receive

from db.settings import Settings
from graph.http.admission.budgets import spending_address
from graph.http.admission.places import NoPlaceError, Places
from graph.http.admission.time_limits import TimeLimit, Timers
from graph.http.parsing.head import Head
from graph.http.parsing.requests import HttpRefused, check_length, too_large


class Bodies:
    """The bodies that a worker waits for."""

    def __init__(self, settings: Settings) -> None:
        self._within_s = settings.operation_deadline_ms / 1000
        self._bytes_max = settings.body_bytes_max
        self._timers = Timers(self._within_s)
        self._places: Places[_Arrival] = Places(settings.bodies_arriving_max)

    async def received(self, head: Head, receive: Receive, address: str) -> bytes:
        """Return the body of a request of `address` with this head when it has come.

        Raises:
            HttpRefused: 413: it is too large; 408: it took too long; 503: too many are waited for.
        """
        check_length(head, self._bytes_max)
        known = spending_address(address)
        arrival = _Arrival(self._timers, self._within_s)
        try:
            with arrival:
                displaced = self._places.take(known, arrival)
                if displaced is not None:
                    displaced.displace()
                return await _body(receive, self._bytes_max)
        except NoPlaceError as error:
            raise _too_many(f": {error}") from None
        except TimeoutError:
            if arrival.is_displaced:
                raise _too_many("") from None
            message = f"the body took longer than {self._within_s:g} s to arrive"
            raise HttpRefused(408, "REQUEST_TIMEOUT", message, {"connection": "close"}) from None
        finally:
            self._places.leave(known, arrival)


class _Arrival(TimeLimit):
    """The time of one body.

    Attributes:
        is_displaced: whether it ended because another one needed its place.
    """

    __slots__ = ("is_displaced",)

    def __init__(self, timers: Timers, after_s: float) -> None:
        super().__init__(timers, after_s)
        self.is_displaced = False

    def displace(self) -> None:
        """Wait no longer."""
        self.is_displaced = True
        self._end()


def _too_many(how_many: str) -> HttpRefused:
    message = f"too many requests wait for their bodies{how_many}; send the body at once, or try again shortly"
    return HttpRefused(503, "OVERLOADED", message, {"retry-after": "1"})


async def _body(receive: Receive, bytes_max: int) -> bytes:
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HttpRefused(400, "CLIENT_CLOSED_REQUEST", "the client went away")
        part: bytes = message.get("body", b"")
        if len(parts) + len(part) > bytes_max:
            raise too_large(bytes_max)
        if not message.get("more_body", False):
            return bytes(parts + part) if parts else part
        parts += part
