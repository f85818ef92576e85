"""What browsers get: the GraphiQL playground with its files, and the front page."""
