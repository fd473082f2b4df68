"""Install QEMU's user-mode emulation where that can be done: root on Debian or Ubuntu. `make emulation`.

QEMU 10: from backports on Debian 12, whose own is 7.2. Elsewhere it says what is missing, and ends with status 2.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from seedbed.proof import emulation

SOURCES = Path("/etc/apt/sources.list.d")
BACKPORTS = (
    "Types: deb\nURIs: {mirror}\nSuites: bookworm-backports\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
)


def install() -> str | None:
    """Install it if it isn't there; why that can't be done."""
    if (why := emulation.obstacle()) is None:
        return None
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"{why}; installing it needs root on Debian"
    release, backports = Path("/etc/os-release").read_text(), []
    if "VERSION_CODENAME=bookworm" in release:
        backports = ["-t", "bookworm-backports"]
        known = subprocess.run(["apt-cache", "policy"], capture_output=True, text=True).stdout
        sources = SOURCES / "debian.sources"
        mirror = re.search(r"^URIs: *(\S+)", sources.read_text(), re.MULTILINE) if sources.exists() else None
        if "bookworm-backports" not in known and mirror is None:
            return f"{why}; it is in bookworm-backports, and {sources} names no mirror to add that suite from"
        if "bookworm-backports" not in known and mirror is not None:
            (SOURCES / "seedbed-backports.sources").write_text(BACKPORTS.format(mirror=mirror[1]))
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *backports, "qemu-user"]):
        done = subprocess.run(["apt-get", *words], env=env, capture_output=True, text=True)
        if done.returncode:
            return f"{why}; apt-get {words[0]} failed: {done.stderr.strip().splitlines()[-1:]}"
    emulation.obstacle.cache_clear()
    return emulation.obstacle()


if __name__ == "__main__":
    if missing := install():
        print(f"No emulation here: {missing}", file=sys.stderr)
        sys.exit(2)
