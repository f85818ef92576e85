"""Live connections: WebSockets (graphql-transport-ws) and server-sent events, over which operations of any kind run.

Each operation goes through the pipeline, like a request over HTTP. This room knows the two protocols, the limits on
live connections and the end of their sessions, and nothing of what an operation reads. It offers `LiveEndpoint`, which
serves WebSockets and requests for streams of events.
"""
