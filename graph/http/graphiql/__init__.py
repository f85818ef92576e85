"""Pages for browsers: the GraphiQL playground with its files, and the front page."""
