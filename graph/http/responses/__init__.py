"""Responses: media types, statuses, headers, compression and how they are sent."""
