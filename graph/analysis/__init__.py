"""What is known of an operation before it runs: its price, limits, selected columns and deprecated fields.

It reads documents and the schema. It runs nothing and knows no request.
"""
