"""Keep secrets out of everything that is written, sent or printed.

A secret is known by where it comes from: a value that the config takes from the environment (`${oc.env:NAME}`),
a variable whose name says so (`MLFLOW_TRACKING_PASSWORD`), and the account and password of any address. What is known
is known to this process alone; every text of an error goes through `redacted` before it goes anywhere else.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

SHORTEST = 4  # characters; to replace a shorter value would make messages unreadable, and it is no secret
SHORTEST_GUESSED = 6  # of a variable that is known by its name alone: `TOKEN=true` is none
# The short words count at the end of a name alone (PWD is a folder, SSH_AUTH_SOCK a socket), and what ends in PATH names a file.
# MLFLOW_TRACKING_AUTH is the name of a plugin.
SECRET_NAMES = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_KEY|CREDENTIAL"
    r"|(PASSPHRASE|PRIVATE_?KEY)(?!.*_(PATH|FILE|DIR)$)"
    r"|(^|_)(PASS|PIN|AUTH)$(?<!^MLFLOW_TRACKING_AUTH)|_PWD$",
    re.IGNORECASE,
)
REFERENCE = "SEEDBED_CREDENTIALS_"

# `scheme://account:password@`, to the last @ before the path (urllib.parse takes that one, too), and `?password=…`.
# A `${…}` is a reference, and no secret.
IN_ADDRESS = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*://)(?P<secret>(?!…@)(?:(?!\$\{)[^/\s'\"])+)@(?=[^@/\s'\"]*)")
IN_QUERY = re.compile(
    r"(?P<name>[?&](?:password|passwd|pwd|secret|token|api_?key|access_key|sig|signature)=)"
    r"(?P<secret>(?!…)(?:(?!\$\{)[^&\s'\"])+)",
    re.IGNORECASE,
)

_known: dict[str, str] = {}


def know(secret: str, shown: str = "…") -> None:
    """Have `shown` stand wherever `secret` would, in each form that a message may quote it in.

    What names an existing file or folder is a place and no secret: messages must be able to name it.
    """
    if len(secret) < SHORTEST or (os.path.isabs(secret) and os.path.exists(secret)):  # noqa: PTH110, PTH117 (any text)
        return
    forms = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe=""), unquote(secret)}
    _known.update((form, shown) for form in forms if len(form) >= SHORTEST)


def know_environment(environ: Mapping[str, str] | None = None) -> None:
    """Know the values of all variables whose names say that they are secrets."""
    for name, value in (os.environ if environ is None else environ).items():
        know_variable(name, value)


def know_variable(name: str, value: str) -> None:
    """Know a variable's value, if its name says that it is a secret."""
    if SECRET_NAMES.search(name) and len(value) >= SHORTEST_GUESSED:
        know(value, f"${{{name}}}")


def redacted(text: str) -> str:
    """Return `text` without what is known to be secret and without the credentials of addresses."""
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, _known[secret])
    return IN_QUERY.sub(r"\g<name>…", IN_ADDRESS.sub(r"\g<scheme>…@", text))


def has_credentials(text: str) -> bool:
    """Whether a text has the credentials of an address."""
    return bool(IN_ADDRESS.search(text) or IN_QUERY.search(text))


def by_reference(words: list[str]) -> list[str]:
    """Return a command's words with the credentials of addresses in variables of this process.

    What Hydra keeps of the words, and what the process list shows once this process has been replaced, has then the
    variables' names alone.
    """

    def referred(match: re.Match[str]) -> str:
        name = f"{REFERENCE}{1 + sum(name.startswith(REFERENCE) for name in os.environ)}"
        os.environ[name] = match["secret"]
        end = "@" if "scheme" in match.groupdict() else ""
        return f"{match.group(1)}${{oc.env:{name},hidden}}{end}"

    return [IN_QUERY.sub(referred, IN_ADDRESS.sub(referred, word)) for word in words]


def without_credentials(word: str) -> str:
    """Return a command's word without the credentials of addresses, written out or as `by_reference` leaves them."""
    word = re.sub(rf"\$\{{oc\.env:{REFERENCE}\d+,hidden\}}", "hidden", word)
    address, mark, query = IN_ADDRESS.sub(r"\g<scheme>", word).partition("?")
    kept = [part for part in query.split("&") if not IN_QUERY.match(f"?{part}")]
    return f"{address}{mark}{'&'.join(kept)}" if kept else address
