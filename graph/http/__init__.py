"""GraphQL over HTTP: the one door for operations, as a pure ASGI application, and a shorter way to it.

`head` reads the headers once; `requests` turns bytes into operations to run, or refuses them; `answers` chooses the
media type and writes the bytes; `admission` bounds how much runs at once, how long (`time_limits`), and for whom
(`budgets`); `endpoint` puts them together. `writing` bounds how large an answer gets, and `encoder` compresses and
sends it. Beneath, `protocol` bounds what uvicorn reads, `open_connections` how many clients there are, `unread` what
waits to be read by them, and `direct` gives a POST that has come whole to the endpoint without ASGI. What it costs as
an ASGI application is measured by `bench/door.py`.
"""

from graph.http.endpoint import GraphQLEndpoint

__all__ = ["GraphQLEndpoint"]
