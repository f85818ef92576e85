"""Admission control: limits on concurrent requests, on their time, and on the cost of each client per minute.

It knows prices and addresses, and neither documents nor responses. It offers `AdmissionControl` to the pipeline,
and refuses by raising `HttpRefused`.
"""
