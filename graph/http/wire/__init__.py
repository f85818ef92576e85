"""What extends uvicorn below ASGI: the protocol, the direct way in for whole POSTs, and limits of connections."""
