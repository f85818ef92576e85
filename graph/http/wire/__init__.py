"""Extensions of uvicorn below ASGI: the HTTP protocol and its time limits, head templates, limits on connections."""
