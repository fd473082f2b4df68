"""Read YAML that may come from anywhere: bounded before it is parsed, plain values, and errors with file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from seedbed import Refused
from seedbed.run import plain_files
from seedbed.run.plain_text import harmless

# What a config file may hold. Aliases count with what they stand for: nine lines can stand for a billion values.
LARGEST = 1_000_000  # bytes
DEEPEST = 40  # levels
MOST = 50_000  # values
LONGEST_NUMBER = 40  # characters: `1:1:1:…` of a megabyte takes a minute, and 5,000 digits of `0xf…` can't be printed

# What PyYAML's constructors raise for a value that is not what its tag (`!!int`) says, or too large.
NOT_OF_ITS_KIND = (LookupError, AttributeError, TypeError)
UNREADABLE = (ValueError, OverflowError, RecursionError, *NOT_OF_ITS_KIND)

# libyaml's, where there is one: PyYAML's own takes a tenth of a second for each config.
SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Loader(SAFE):  # type: ignore[misc]
    """YAML's plain values. `2026-11-30` is text, as for OmegaConf, which writes and reads the config files."""


Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
    for letter, known in SAFE.yaml_implicit_resolvers.items()
}

# What the values of these kinds look like where no tag says what they are.
NUMBERS = {tag: [pattern for known in SAFE.yaml_implicit_resolvers.values() for one, pattern in known if one == tag]
           for tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")}  # fmt: skip


def load(path: Path, of_record: bool = False) -> Any:
    """Return what the file holds: mappings, lists and plain values.

    Args:
        path: a plain file.
        of_record: whether it is a record's, which is no link and holds no `*name`: seedbed writes neither.
    Raises:
        Refused: it can't be read, isn't YAML, or holds more than a config does; names the file and the line.
    """
    text = read(path, of_record)
    check(text, path, aliases=not of_record)
    return explained(lambda: yaml.load(text, Loader=Loader), text, path)


def read(path: Path, of_record: bool = False) -> str:
    """Return the text of a file; raises Refused for what is no plain file, too large, or no UTF-8."""
    try:
        if of_record:
            return (plain_files.read(path, LARGEST) or b"").decode("utf-8")
        with plain_files.opened(path, links=True) as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise Refused(f"{_shown(path)} has more bytes than a config: {LARGEST:,} at most.")
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise Refused(f"{_shown(path)}, line {line}: this is no UTF-8.") from None
    except OSError as error:
        raise Refused(f"{_shown(path)} can't be read: {error.strerror}.") from None


def check(text: str, path: Path, aliases: bool = True) -> None:
    """Raise Refused if the text holds more than a config does. Nothing is made of it, and nothing recurses."""
    explained(lambda: _check(text, path, aliases), text, path)


def _check(text: str, path: Path, aliases: bool) -> None:
    total = 0
    sizes: dict[str, int] = {}  # of what an anchor names
    open_ones: list[tuple[str | None, int]] = []  # collections that have begun: anchor, values before
    for event in yaml.parse(text, Loader=Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            if not aliases or event.anchor not in sizes:  # the latter: inside of what it names, or nowhere
                why = "stands for what it is part of, or for nothing" if aliases else "is an alias, and a record has none"
                raise Refused(f"{_shown(path)}, line {line}: *{harmless(event.anchor)} {why}.")
            total += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            open_ones.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if len(event.value) > LONGEST_NUMBER and _is_number(event):
                raise Refused(f"{_shown(path)}, line {line}: a number of {len(event.value):,} characters; {LONGEST_NUMBER} at most. "
                              "If it is text, put it in quotes.")  # fmt: skip
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_ones.pop()
            if anchor:
                sizes[anchor] = total - before
        if total > MOST or len(open_ones) > DEEPEST:
            limit = f"{MOST:,} values" if total > MOST else f"{DEEPEST} levels"
            raise Refused(f"{_shown(path)}, line {line}: more than {limit}, aliases counted with what they stand for.")


def _is_number(event: Any) -> bool:
    """Whether a scalar would be made a number of."""
    if event.tag is not None or not event.implicit[0]:
        return event.tag in NUMBERS
    return any(pattern.match(event.value) for patterns in NUMBERS.values() for pattern in patterns)


def explained(parse: Callable[[], Any], text: str, path: Path) -> Any:
    """Call `parse`, which reads `text` from `path`; what YAML has against it becomes a Refused with file and line."""
    try:
        return parse()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        said = ": ".join(part for part in (error.context, error.problem) if part)
        raise Refused(f"{_shown(path)}, line {line}: this is not YAML that a config may hold: {harmless(said)}.") from None
    except (yaml.YAMLError, *UNREADABLE) as error:
        if isinstance(error, NOT_OF_ITS_KIND) and type(error).__module__ != "builtins":
            raise  # OmegaConf's own, of a file that is YAML
        if isinstance(error, yaml.reader.ReaderError):
            line = text.encode()[: error.position].count(b"\n") + 1
            said = f"the character #x{error.character:04x} may not stand in it"
        else:
            line, said = _line_of_bad_value(text), _said(error)
        raise Refused(f"{_shown(path)}, line {line}: this can't be read: {harmless(said)}.") from None


def _said(error: Exception) -> str:
    """What Python has against a value. `!!int ""` and `!!bool maybe` end in errors of PyYAML's own code, which say nothing."""
    return "it is not of the kind that its tag says" if isinstance(error, NOT_OF_ITS_KIND) else " ".join(str(error).split())


def _line_of_bad_value(text: str) -> int:
    """The line of the first value that looks like a number or a day and is none; 1 if there is no such."""
    loader = Loader(text)
    try:
        nodes, seen = [loader.get_single_node()], set()
        while nodes:
            node = nodes.pop(0)
            if node is None or id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                nodes += [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                nodes += node.value
            else:
                try:
                    loader.construct_object(node)
                except UNREADABLE:
                    return int(node.start_mark.line) + 1
    except yaml.YAMLError:
        pass
    return 1


def _shown(path: Path) -> str:
    return harmless(path, None)
