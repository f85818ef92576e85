"""The response of a run: generated writers for the fast way, and completion with error paths where something failed."""
