"""Names of metrics and parameters as MLflow takes them: one name for each, and the way back in a tag of the run.

MLflow takes letters, digits and `/_-. :`, 250 at most. Any other name gets `_` for what isn't taken and a hash of the whole
name at its end: `hits@1` becomes `hits_1-` and 12 hexadecimal digits, and `hits_1` stays what it is. The tag
`seedbed.name.MLFLOWS` holds the name that is meant.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable

LONGEST = 250
KEPT = 220  # characters of a name that is written otherwise, so that the tag's name has room for it
DIGITS = 12  # of the hash
TAG = "seedbed.name."
LONGEST_TAG = 5000  # characters; a database may take no more
TAKEN = re.compile(r"[/\w.\- :]+")
OURS = re.compile(rf".*-[0-9a-f]{{{DIGITS}}}", re.DOTALL)  # a name that looks like one of these is written otherwise, too


def allowed(name: str) -> str:
    """Return MLflow's name for a metric or parameter: no two have the same."""
    if TAKEN.fullmatch(name) and len(name) <= LONGEST and _is_unique_path(name) and not OURS.fullmatch(name):
        return name
    plain = re.sub(r"[^/\w.\- :]", "_", name)[:KEPT]
    if not _is_unique_path(f"{plain}-"):
        plain = plain.replace("/", "_").replace("..", "__")
    return f"{plain}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:DIGITS]}"


def tags(names: Iterable[str]) -> dict[str, str]:
    """Return the tags that say what is meant by the names that are written otherwise."""
    return {TAG + allowed(name): name[:LONGEST_TAG].encode(errors="replace").decode() for name in names if allowed(name) != name}


def _is_unique_path(name: str) -> bool:
    # MLflow's own rule: a store may keep a metric in a file of this name
    plain = posixpath.normpath(name)
    return plain == name and plain != "." and not plain.startswith(("..", "/"))
