"""The results as one SVG: for each peer a bar, its rate, 99th percentile and processor time, and Folio's multiple."""

import statistics
from html import escape

from bench.report import FIGURES, SHOWN, Results, section_title

WIDTH, LABEL, BAR, HEIGHT, GAP = 920, 170, 430, 18, 34
COLOURS = {"folio": "#c2410c", "ordinary": "#f59e0b", "limit": "#57534e", "json": "#57534e"}
OTHERS = "#94a3b8"


def svg(results: Results) -> str:
    """Return the drawing: one group of bars for each case in SHOWN and number of connections.

    If none of these cases was measured, all measured cases are drawn.
    """
    parts = [f'<text x="8" y="20">{escape(FIGURES)}; Folio\'s rate as a multiple</text>']
    y = 50
    sections = list(results.sections())
    for case, connections in [one for name in SHOWN for one in sections if one[0] == name] or sections:
        y = _group(results, case, connections, y, parts)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>'
    )
    return "\n".join([head, *parts, "</svg>\n"])


def _group(results: Results, case: str, connections: int, y: int, parts: list[str]) -> int:
    rates = {peer.name: results.rate(case, connections, peer.name) or 0.0 for peer in results.peers}
    most = max(rates.values()) or 1
    parts.append(f'<text x="8" y="{y}" font-weight="bold">{escape(section_title(case, connections))}</text>')
    y += 8
    for peer in results.peers:
        rate = rates[peer.name]
        if not rate:
            continue
        width = max(1, round(BAR * rate / most))
        ratios = results.ratios(case, connections, peer.name)
        p99_us, server_us = (results.median(case, connections, peer.name, one) for one in ("p99_us", "server_us"))
        note = f"{rate:,.0f}/s, {p99_us / 1000:.1f} ms, {server_us:,.0f} us"
        if peer.name != "folio" and ratios:
            note += f" (Folio {statistics.median(ratios):.2f} x)"
        colour = COLOURS.get(peer.name, OTHERS)
        parts.append(f'<text x="{LABEL - 6}" y="{y + 13}" text-anchor="end">{escape(peer.title)}</text>')
        parts.append(f'<rect x="{LABEL}" y="{y}" width="{width}" height="{HEIGHT - 3}" fill="{colour}"/>')
        parts.append(f'<text x="{LABEL + width + 6}" y="{y + 13}">{note}</text>')
        y += HEIGHT
    return y + GAP
