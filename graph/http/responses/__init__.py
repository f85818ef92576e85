"""Responses: media types, statuses, headers, compression and sending."""
