"""What a user's data folder may hold: plain files that can be read, and links to them; anything else is refused by name.

Nothing is opened before it is known to be a plain file: a FIFO would wait for ever, and a device never ends.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from seedbed import Refused
from seedbed.run.plain_text import harmless

KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}

ACCEPTED = "plain files that can be read, or links to them; remove or replace what is none"
MOST = 10  # names in a message


def check(path: str | os.PathLike[str]) -> None:
    """Raise Refused, with the reason, unless `path` is a plain file that can be read, or a link to one."""
    if why := obstacle(path):
        raise Refused(f"{harmless(os.fspath(path), None)} {why}. Accepted: {ACCEPTED}.")


def check_all(paths: Iterable[str | os.PathLike[str]], where: str) -> None:
    """Raise Refused with the names of those of `paths` that `check` refuses. where: what names them, for the message."""
    bad = [(path, why) for path in paths if (why := obstacle(path))]
    if bad:
        words = "; ".join(f"{harmless(os.fspath(path), None)} {why}" for path, why in bad[:MOST])
        raise Refused(f"{where}: {words}{f'; {len(bad)} such in all' if len(bad) > MOST else ''}. Accepted: {ACCEPTED}.")


def obstacle(path: str | os.PathLike[str]) -> str:
    """Why `path` can't be read as a plain file, as the end of a sentence; "" if it can."""
    try:
        os.fsencode(path).decode()
        found = os.stat(path)  # noqa: PTH116
    except UnicodeDecodeError:
        return "has a name that is not UTF-8"
    except ValueError:  # a NUL, or half of a surrogate pair
        return "is no name of a file"
    except FileNotFoundError:
        return "is a link to something that isn't there" if os.path.lexists(path) else "isn't there"
    except OSError as error:  # a link that leads back to itself, a folder that lets nobody in
        return f"can't be read: {error.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return f"is {KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}, not a plain file"
    return "" if os.access(path, os.R_OK) else "can't be read: Permission denied"


def below(folder: Path, where: str) -> list[Path]:
    """Return all that lies below a folder, sorted; links to folders are not followed. where: what names the folder.

    Raises Refused for a folder that can't be listed: what it holds would be missing without a word.
    """

    def refuse(error: OSError) -> None:
        raise Refused(f"{where}: the folder {harmless(error.filename, None)} can't be read: {error.strerror}. Accepted: one that can.")

    found = [Path(top, name) for top, folders, files in os.walk(folder, onerror=refuse) for name in (*folders, *files)]
    return sorted(found)
