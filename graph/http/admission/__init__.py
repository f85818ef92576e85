"""Admission control: how much runs at once, for how long, and what each client may spend a minute."""
