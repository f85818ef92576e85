"""Operations: parsed, validated and cached, persisted documents, and the dispatch to an engine.

It takes the text of a document and gives what can be run. It knows no noun and nothing of HTTP.
"""
