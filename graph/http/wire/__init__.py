"""Extensions of uvicorn below ASGI: the HTTP protocol and its time limits, head templates, limits on connections.

It knows bytes and sockets, and nothing of GraphQL. It offers the protocol class that the server runs.
"""
