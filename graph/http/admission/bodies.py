"""Bodies that arrive after their heads: limits on their time, and on their number.

A request whose body has not arrived takes only a place here. It counts as in flight when the body has arrived, so that
slow clients compete only with each other.
"""

from starlette.types import Receive

from db.settings import Settings
from graph.http.admission.places import NoPlaceError, Places
from graph.http.admission.time_limits import TimeLimit, Timers
from graph.http.parsing.head import Head
from graph.http.parsing.requests import HttpRefused, check_length, too_large


class Bodies:
    """The bodies that a worker is receiving."""

    def __init__(self, settings: Settings) -> None:
        self._within_s = settings.operation_deadline_ms / 1000
        self._bytes_max = settings.body_bytes_max
        self._timers = Timers(self._within_s)
        self._places: Places[_Arrival] = Places(settings.bodies_arriving_max)

    async def received(self, head: Head, receive: Receive, address: str) -> bytes:
        """Receive the body of a request from `address` (`spending_address`), and return it.

        Raises:
            HttpRefused: 413: it is too large; 408: it took too long; 503: too many bodies are being received.
        """
        check_length(head, self._bytes_max)
        arrival = _Arrival(self._timers, self._within_s)
        try:
            with arrival:
                displaced = self._places.take(address, arrival)
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
            self._places.leave(address, arrival)


class _Arrival(TimeLimit):
    """The time limit of one body.

    Attributes:
        is_displaced: whether it ended because another body took its place.
    """

    is_displaced = False

    def displace(self) -> None:
        """Stop waiting for this body."""
        self.is_displaced = True
        self._end()


def _too_many(how_many: str) -> HttpRefused:
    message = f"too many requests wait for their bodies{how_many}; send the body with the headers, or try again shortly"
    return HttpRefused(503, "OVERLOADED", message, {"retry-after": "1"})


async def _body(receive: Receive, bytes_max: int) -> bytes:
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HttpRefused(400, "CLIENT_CLOSED_REQUEST", "the client has disconnected")
        part: bytes = message.get("body", b"")
        if len(parts) + len(part) > bytes_max:
            raise too_large(bytes_max)
        if not message.get("more_body", False):
            return bytes(parts + part) if parts else part
        parts += part
