"""The table of the project's README: the most important cases and peers, written between two markers."""

from pathlib import Path

from bench.report import SHOWN, Results, markdown_table, summary_rows

BEGIN, END = "<!-- make bench writes this table -->", "<!-- end of the table -->"
PEERS_SHOWN = ("folio", "mercurius", "postgraphile", "strawchemy", "json", "limit")


def write_table(results: Results, readme: Path) -> None:
    """Replace the text between the markers in `readme` by the table.

    Raises:
        ValueError: the file does not contain the markers.
    """
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{readme} does not contain the markers {BEGIN} and {END}")
    table = markdown_table(*summary_rows(results, SHOWN, PEERS_SHOWN))
    readme.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}", encoding="utf-8")
