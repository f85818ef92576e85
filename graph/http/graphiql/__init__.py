"""Pages for browsers: the GraphiQL playground with its files, and the front page.

They run no operation: a page sends its operations to the endpoint as any client does. The room offers the pages and
their routes.
"""
