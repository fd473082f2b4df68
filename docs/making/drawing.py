"""Boxes on floors with arrows between them, as an SVG: the same boxes and arrows give the same bytes.

The layout is Sugiyama's (IEEE Transactions on Systems, Man, and Cybernetics 11, 1981): an arrow that passes a floor has a place there,
the order on each floor is chosen for few crossings and short ways, and then everything moves to where its neighbours are.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from html import escape
from itertools import combinations, pairwise

WIDTH, GAP, PASSING, BETWEEN, MARGIN = 146, 20, 14, 52, 16
LINE = 15
STYLE = """
svg { font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color-scheme: light dark; }
.paper { fill: #ffffff; }
.box { stroke-width: 1.3; }
.package { fill: #cfe8e3; stroke: #2f7d71; }
.module { fill: #f0f7f6; stroke: #2f7d71; }
.apart { fill: #fafafa; stroke: #8a8a8a; stroke-dasharray: 4 3; }
.name { font: 600 15px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #12332e; }
.text { font-size: 12px; fill: #333333; }
.more { font-size: 11.5px; font-style: italic; fill: #2f6f9f; }
.arrow { fill: none; stroke: #55606a; stroke-width: 1.3; }
.head { fill: #55606a; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #1d2027; }
  .package { fill: #23534b; stroke: #5fb3a5; }
  .module { fill: #1f322f; stroke: #5fb3a5; }
  .apart { fill: #262a33; stroke: #8d939e; }
  .name { fill: #e3f5f1; }
  .text { fill: #d3d7dd; }
  .more { fill: #8ec3ee; }
  .arrow { stroke: #a9b2bc; }
  .head { fill: #a9b2bc; }
}
"""


@dataclass
class Box:
    name: str
    text: str
    more: str = ""
    kind: str = "module"  # or "package", or "apart"

    def lines(self, width: int) -> list[tuple[str, str]]:
        letters = int((width - 10) / 6.9)  # as wide as DejaVu Sans at 12 pixels, which is wider than most
        return [(kind, line) for kind, text in (("text", self.text), ("more", self.more)) for line in textwrap.wrap(text, letters)]


# A box is (its name, "", its floor); the place that the arrow from a to b has on a floor that it passes is (a, b, floor).
Node = tuple[str, str, int]
Rows = list[list[Node]]
Ways = list[list[Node]]


def svg(floors: list[list[str]], boxes: dict[str, Box], arrows: dict[str, set[str]]) -> str:
    rows, ways = _places(floors, arrows)
    rows = _ordered(rows, ways)
    x = _settled(rows, ways)
    left = min(at - _size(node) / 2 for node, at in x.items())
    x = {node: round(at - left + MARGIN) for node, at in x.items()}
    width = max(round(at + _size(node) / 2) for node, at in x.items()) + MARGIN
    ends = {node: (x[node] - WIDTH // 2, x[node] + WIDTH // 2) for row in rows for node in row if not node[1]}
    for row in rows:  # the foundation: what nearly all stand on, with nothing beside it
        if len(row) == 1 and sum(way[-1] == row[0] for way in ways) > 4:
            ends[row[0]] = (MARGIN, width - MARGIN)
    heights = [max(32 + LINE * len(boxes[node[0]].lines(ends[node][1] - ends[node][0])) for node in row if not node[1]) for row in rows]
    tops = [MARGIN + sum(heights[:number]) + BETWEEN * number for number in range(len(rows))]
    out = [_arrow(way, ways, x, ends, tops, heights) for way in ways]
    for row, top, height in zip(rows, tops, heights, strict=True):
        out += [_box(boxes[node[0]], ends[node], top, height) for node in row if not node[1]]
    size = f"{width} {tops[-1] + heights[-1] + MARGIN}"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{width}" role="img">',
        f"<title>Who imports whom in {escape(', '.join(boxes[node[0]].name for row in rows for node in row if not node[1]))}</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path class="head" d="M0 0.8 L8 4 L0 7.2 z"/></marker></defs>',
        '<rect class="paper" width="100%" height="100%" rx="8"/>',
        *out,
        "</svg>\n",
    ])  # fmt: skip


def _places(floors: list[list[str]], arrows: dict[str, set[str]]) -> tuple[Rows, Ways]:
    level = {name: number for number, floor in enumerate(floors) for name in floor}
    rows: Rows = [[(name, "", number) for name in floor] for number, floor in enumerate(floors)]
    ways: Ways = []
    for name, others in arrows.items():
        for other in sorted(others):
            between: list[Node] = [(name, other, number) for number in range(level[name] + 1, level[other])]
            for node in between:
                rows[node[2]].append(node)
            ways.append([(name, "", level[name]), *between, (other, "", level[other])])
    return rows, ways


def _size(node: Node) -> int:
    return PASSING if node[1] else WIDTH


def _packed(rows: Rows) -> dict[Node, float]:
    """Each row centred, as tight as may be."""
    x = {}
    for row in rows:
        at = -(sum(map(_size, row)) + GAP * (len(row) - 1)) / 2
        for node in row:
            x[node] = at + _size(node) / 2
            at += _size(node) + GAP
    return x


def _cost(rows: Rows, ways: Ways) -> float:
    """Crossings and long ways, and boxes that stand between two of one floor that are joined."""
    x = _packed(rows)
    steps = [step for way in ways for step in pairwise(way)]
    cost = sum(abs(x[a] - x[b]) for a, b in steps) / 100
    for number, row in enumerate(rows):
        down = [(x[a], x[b]) for a, b in steps if a[2] == number < b[2]]
        cost += sum(3.0 for (a, b), (c, d) in combinations(down, 2) if (a - c) * (b - d) < 0)
        for a, b in steps:
            if a[2] == b[2] == number:
                low, high = sorted((row.index(a), row.index(b)))
                cost += sum(2.0 if node[1] else 30.0 for node in row[low + 1 : high])
    return cost


def _ordered(rows: Rows, ways: Ways) -> Rows:
    """Each node tried in every place of its row, until no move helps."""
    best, better = _cost(rows, ways), True
    while better:
        better = False
        for number in range(len(rows)):
            for node in list(rows[number]):
                for place in range(len(rows[number])):
                    rest = [other for other in rows[number] if other != node]
                    tried = [*rows[:number], [*rest[:place], node, *rest[place:]], *rows[number + 1 :]]
                    cost = _cost(tried, ways)
                    if cost < best - 1e-9:
                        rows, best, better = tried, cost, True
    return rows


def _settled(rows: Rows, ways: Ways) -> dict[Node, float]:
    """Every node moved towards the middle of its neighbours, as far as those beside it let it."""
    x = _packed(rows)
    near: dict[Node, list[Node]] = {node: [] for node in x}
    for a, b in (step for way in ways for step in pairwise(way)):
        if a[2] != b[2]:
            near[a].append(b)
            near[b].append(a)
    for _ in range(40):
        for row in rows:
            wanted = [sum(x[other] for other in near[node]) / len(near[node]) if near[node] else x[node] for node in row]
            apart = [0.0]
            for a, b in pairwise(row):
                apart.append(apart[-1] + (_size(a) + _size(b)) / 2 + GAP)
            free = [at - shift for at, shift in zip(wanted, apart, strict=True)]
            for node, at, shift in zip(row, _rising(free), apart, strict=True):
                x[node] = at + shift
    return x


def _rising(values: list[float]) -> list[float]:
    """The nearest values that don't fall from one to the next (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, n), (b, m) = pools[-2:]
            pools[-2:] = [((a * n + b * m) / (n + m), n + m)]
    return [value for value, count in pools for _ in range(count)]


def _port(node: Node, way: list[Node], side: int, ways: Ways, x: dict[Node, int], ends: dict[Node, tuple[int, int]]) -> float:
    """Where on a box's edge the arrow begins (side 0) or ends (side -1): in the order in which the others lie."""
    beside = 1 if side == 0 else -2
    low, high = ends[node]
    if high - low > WIDTH:
        return min(max(x[way[beside]], low + GAP), high - GAP)
    same = sorted((x[other[beside]], other) for other in ways if other[side] == node and other[beside][2] != node[2])
    number = [other for _, other in same].index(way)
    return x[node] + (number - (len(same) - 1) / 2) * min(24, WIDTH / (len(same) + 1))


def _arrow(way: list[Node], ways: Ways, x: dict[Node, int], ends: dict[Node, tuple[int, int]], tops: list[int], heights: list[int]) -> str:
    first, last = way[0], way[-1]
    if first[2] == last[2]:
        y = tops[first[2]] + heights[first[2]] / 2
        a, b = (ends[first][1], ends[last][0]) if x[first] < x[last] else (ends[first][0], ends[last][1])
        return f'<path class="arrow" marker-end="url(#head)" d="M{a} {y:g} H{b}"/>'
    at, y = _port(first, way, 0, ways, x, ends), tops[first[2]] + heights[first[2]]
    path = f"M{at:g} {y}"
    for node in way[1:]:
        to = x[node] if node is not last else _port(last, way, -1, ways, x, ends)
        top = tops[node[2]]
        path += f" C{at:g} {y + BETWEEN / 2:g} {to:g} {top - BETWEEN / 2:g} {to:g} {top}"
        if node is not last:
            path += f" V{top + heights[node[2]]}"
        at, y = to, top + heights[node[2]]
    return f'<path class="arrow" marker-end="url(#head)" d="{path}"/>'


def _box(box: Box, ends: tuple[int, int], top: int, height: int) -> str:
    middle, y = (ends[0] + ends[1]) / 2, top + 21
    lines = [f'<text class="name" x="{middle:g}" y="{y}">{escape(box.name)}</text>']
    for kind, line in box.lines(ends[1] - ends[0]):
        y += LINE
        lines.append(f'<text class="{kind}" x="{middle:g}" y="{y}">{escape(line)}</text>')
    rect = f'<rect class="box {box.kind}" x="{ends[0]}" y="{top}" width="{ends[1] - ends[0]}" height="{height}" rx="5"/>'
    return f'<g text-anchor="middle">{rect}{"".join(lines)}</g>'
