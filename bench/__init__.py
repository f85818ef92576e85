"""Folio's benchmark: see bench/README.md."""
