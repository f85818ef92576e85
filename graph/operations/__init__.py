"""Operations: parsed, validated and cached, persisted documents, and the dispatch to an engine.

It takes the text of a document and returns an operation that can be run. It depends neither on nouns nor on HTTP.
"""
