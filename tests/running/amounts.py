"""How many examples a test makes up: all of them in a long run, a share in a short one."""

SHARE = 5
AT_LEAST = 10
everything = False  # as `tests.running.lengths` finds the command line


def examples(count: int) -> int:
    """Return how many of `count` examples this run makes up."""
    return count if everything else min(count, max(AT_LEAST, count // SHARE))
