"""One run of a plan: its frames, the values of fields, and the loads of each level."""
