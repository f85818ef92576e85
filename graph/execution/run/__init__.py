"""One run of a plan: its frames, the values of its fields, and the loader calls of each level."""
