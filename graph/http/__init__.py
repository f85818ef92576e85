"""GraphQL over HTTP: the one door for operations, as a pure ASGI application.

`requests` turns bytes into operations to run, or refuses them; `answers` chooses the media type and writes the bytes;
`gate` bounds how much runs at once, how long, and for whom; `endpoint` puts them together.
"""

from graph.http.endpoint import GraphQLEndpoint

__all__ = ["GraphQLEndpoint"]
