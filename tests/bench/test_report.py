import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import drawing, readme, report
from bench.load import Round
from bench.report import Results
from bench.servers import PEERS

_CASES = ("post_author_each", "users_posts_equal")


def _round(rate: float) -> Round:
    return Round(
        requests=int(rate),
        rate=rate,
        p50_us=1000,
        p99_us=2500,
        server_us=120,
        database_us=40,
        memory_mib=99.6,
        bytes_each=300,
        failed=0,
    )


def _results() -> Results:
    results = Results([("date", "2026-11-22")], [PEERS["folio"], PEERS["strawberry"], PEERS["limit"]])
    for folio, limit in ((100, 200), (300, 400), (200, 200)):
        results.add("post_author_each", 8, "folio", _round(folio))
        results.add("post_author_each", 8, "limit", _round(limit))
    results.statements = {("post_author_each", "folio"): 2.0, ("post_author_each", "limit"): 1.0}
    return results


def test_each_ratio_is_of_two_rounds_of_the_same_turn() -> None:
    assert _results().ratios("post_author_each", 8, "limit") == [0.5, 0.75, 1.0]


def test_a_table_has_medians_and_the_least_and_the_most() -> None:
    assert report.rows_of(_results(), "post_author_each", 8) == [
        ("Folio", "200", "2.50", "120", "", "100-300", "1.00", "40", "2.0", "100"),
        ("Strawberry", "takes no part", "", "", "", "", "", "", "", ""),
        ("hand-written limit", "200", "2.50", "120", "0.75 x (0.50-1.00)", "200-400", "1.00", "40", "1.0", "100"),
    ]


def test_the_table_of_ratios_has_a_line_for_each_measurement_and_a_column_for_each_peer() -> None:
    results = _results()
    results.add("transfer_2", 1, "folio", _round(300))
    results.add("transfer_2", 1, "limit", _round(400))
    assert report.ratio_rows(results) == (
        ["Folio's rate over that of", "Strawberry", "hand-written limit"],
        [("post_author_each x8", "", "0.75 x (0.50-1.00)"), ("transfer_2 x1", "", "0.75 x (0.75-0.75)")],
    )


def test_the_markdown_has_every_table() -> None:
    lines = report.markdown(_results()).splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# Folio compared with its peers",
        "## Each request is another one",
        "## Ratios",
        "## a post with its author, each time another post, 8 connections",
    ]


def test_the_most_important_figures_stand_in_one_cell_and_different_requests_come_first() -> None:
    results = _results()
    results.add("users_posts_equal", 8, "folio", _round(1234))
    lines = report.markdown(results).splitlines()
    folio, equal = (next(one for one in lines if one.startswith(f"| `{case}`")) for case in _CASES)
    assert folio == "| `post_author_each` x8 | 200/s, 2.5 ms, 120 us |  | 200/s, 2.5 ms, 120 us |"
    assert equal == "| `users_posts_equal` x8 | 1,234/s, 2.5 ms, 120 us |  |  |"
    assert lines.index(folio) < lines.index("## Equal requests") < lines.index(equal)


def test_the_table_of_the_readme_is_replaced_between_its_markers(tmp_path: Path) -> None:
    results = _results()
    results.add("users_posts_equal", 8, "limit", _round(1234))
    results.add("feed_each", 64, "limit", _round(500))
    page = tmp_path / "README.md"
    page.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        readme.write_table(results, page)
    lines = page.read_text(encoding="utf-8").splitlines()
    assert (lines[:2], lines[-2:]) == (["before", readme.BEGIN], [readme.END, "after"])
    assert [one for one in lines if one.startswith("|")] == [
        "|  | Folio | hand-written limit |",
        "| --- | ---: | ---: |",
        "| `feed_each` x64 |  | 500/s, 2.5 ms, 120 us |",
        "| `users_posts_equal` x8 |  | 1,234/s, 2.5 ms, 120 us |",
    ]


def test_a_readme_without_the_markers_is_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{readme.BEGIN}\nold\n", encoding="utf-8")
    with pytest.raises(ValueError, match="does not contain the markers"):
        readme.write_table(_results(), page)
    assert page.read_text(encoding="utf-8") == f"before\n{readme.BEGIN}\nold\n"


def test_output_that_is_not_a_terminal_has_every_cell_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    report.to_terminal(_results(), report.terminal())
    assert "0.75 x (0.50-1.00)" in capsys.readouterr().out


def test_the_plot_has_a_bar_for_each_peer_that_took_part() -> None:
    root = ET.fromstring(drawing.svg(_results()))  # noqa: S314 - our own output
    bars = root.findall("{http://www.w3.org/2000/svg}rect")[1:]
    assert [bar.get("width") for bar in bars] == ["430", "430"]
    texts = ["".join(text.itertext()) for text in root.findall("{http://www.w3.org/2000/svg}text")]
    assert texts == [
        f"{report.FIGURES}; Folio's rate as a multiple",
        report.section_title("post_author_each", 8),
        "Folio",
        "200/s, 2.5 ms, 120 us",
        "hand-written limit",
        "200/s, 2.5 ms, 120 us (Folio 0.75 x)",
    ]
