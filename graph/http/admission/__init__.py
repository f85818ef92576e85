"""Admission control: limits on concurrent requests, on their time, and on the cost of each client per minute."""
