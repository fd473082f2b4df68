"""The house as a drawing and a table: from the import contracts in pyproject.toml, and from what the modules really import.

`python docs/making/architecture.py` (part of `make docs`) writes docs/architecture.svg, and the table into docs/architecture.md.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import grimp

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "src")]  # this tree is drawn, not what is installed
import drawing  # noqa: E402

ROOT = Path(__file__).parents[2]
DRAWING = ROOT / "docs" / "architecture.svg"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- contracts: begin (docs/making/architecture.py writes this) -->", "<!-- contracts: end -->"


@dataclass
class House:
    """`floors` from the top down, each a list of parts; who imports whom among the parts; and what else the contracts speak of."""

    floors: list[list[str]]
    around: list[str]  # parts that the layers don't name
    imports: dict[str, set[str]] = field(default_factory=dict)
    outside: dict[str, set[str]] = field(default_factory=dict)  # packages of others that some contract names, by the part that imports them
    contracts: list[dict[str, object]] = field(default_factory=list)

    @property
    def parts(self) -> list[str]:
        return [part for floor in self.floors for part in floor] + self.around


def read() -> House:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    floors = [[part.strip(" ()") for part in re.split("[:|]", layer)] for layer in layers]
    graph = grimp.build_graph(*settings["root_packages"], include_external_packages=True, cache_dir=None)
    machinery, *others = settings["root_packages"]
    named = {part for floor in floors for part in floor}
    around = sorted({*graph.find_children(machinery), *others} - named)
    others_named = {
        name
        for contract in settings["contracts"]
        for name in contract.get("forbidden_modules", [])
        if "." not in name and name not in others
    }
    house = House(floors, around, contracts=settings["contracts"])
    for part in house.parts:
        used = {
            imported for module in {part} | graph.find_descendants(part) for imported in graph.find_modules_directly_imported_by(module)
        }
        house.imports[part] = {other for other in house.parts for module in used if other != part and f"{module}.".startswith(f"{other}.")}
        house.outside[part] = {name for name in others_named - {machinery} if any(f"{module}.".startswith(f"{name}.") for module in used)}
    return house


def _source(part: str) -> Path:
    path = ROOT / "src" / Path(*part.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def purpose(part: str) -> str:
    """The beginning of the first line of its docstring, as far as it can stand alone."""
    text = ast.get_docstring(ast.parse(_source(part).read_text())) or ""
    return re.split(r"[.:;,](?:\s|$)| \(", text.replace("\n", " ").replace("`", ""))[0]


def shown(house: House) -> dict[str, set[str]]:
    """The imports without those that follow from others: what is left gives the same order."""

    def reached(part: str) -> set[str]:
        return house.imports[part].union(*map(reached, house.imports[part]))

    return {
        part: {other for other in used if not any(other in reached(between) for between in used)} for part, used in house.imports.items()
    }


def draw(house: House) -> str:
    """Floors as the contract has them; what it doesn't name stands below those that import it, or on top if nobody does."""
    arrows = shown(house)
    rows: list[list[str]] = [[], *map(list, house.floors), []]
    waiting = list(house.around)
    while waiting:
        level = {part: number for number, row in enumerate(rows) for part in row}
        over = {part: [other for other in arrows if part in arrows[other]] for part in waiting}
        part = next(part for part in waiting if all(other in level for other in over[part]))
        rows[max((level[other] + 1 for other in over[part]), default=0)].append(part)
        waiting.remove(part)
    machinery = house.floors[0][0].split(".")[0]
    boxes = {}
    for part in house.parts:
        kind = "apart" if part in house.around else "package" if _source(part).stem == "__init__" else "module"
        boxes[part] = drawing.Box(part.removeprefix(f"{machinery}."), purpose(part), " · ".join(sorted(house.outside[part])), kind)
    return drawing.svg([row for row in rows if row], boxes, arrows)


def table(house: House) -> str:
    lines = ["| floor | part | may import | imports | of the packages that contracts name |", "|---|---|---|---|---|"]
    for number, part in [
        *((number, part) for number, floor in enumerate(house.floors) for part in floor),
        *((-1, part) for part in house.around),
    ]:
        height = len(house.floors) - number
        may = "" if number < 0 else f"floors 1–{height}" if height > 1 else "floor 1"
        lines.append(f"| {'' if number < 0 else height} | `{part}` | {may} | {_code(house.imports[part])} | {_code(house.outside[part])} |")
    lines += ["", "The contracts, as import-linter holds them:", ""]
    for contract in house.contracts:
        if contract["type"] == "layers":
            lines.append(f"- *{contract['name']}*: the floors above. A part imports its own floor and those below it, never one above it.")
        else:
            far = "directly" if contract.get("allow_indirect_imports") else "not even through others"
            lines.append(
                f"- *{contract['name']}*: no {_code(contract['forbidden_modules'])} in {_code(contract['source_modules'])}, {far}."
            )
    return "\n".join(lines)


def _code(names: object) -> str:
    assert isinstance(names, (set, list))
    return ", ".join(f"`{name.removeprefix('seedbed.')}`" for name in (sorted(names) if isinstance(names, set) else names)) or "–"


def page(house: House, text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table(house)}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    house = read()
    DRAWING.write_text(draw(house))
    PAGE.write_text(page(house, PAGE.read_text()))
