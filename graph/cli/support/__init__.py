"""Shared parts of the commands: settings and database, output, errors, worker processes and demo data.

They import no command. They offer what several commands need, so that each command is one short module.
"""
