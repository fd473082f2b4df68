"""`docker/pin` against a real registry on loopback: digests, the exact version of Python, and nothing half done."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE, ROOT
from end_to_end.gate import until
from image.conftest import FOLDER

pytestmark = pytest.mark.image


@pytest.fixture
def registry(tmp_path: Path, docker: Callable[..., Any]) -> Iterator[str]:
    program = FOLDER / "engine" / "usr" / "bin" / "docker-registry"
    if not program.exists():
        pytest.skip("an engine of this machine's own: docker-registry comes with the one that the tests unpack")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "registry.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\nhttp: {{addr: '{address}'}}\n"
    )
    served = subprocess.Popen([program, "serve", tmp_path / "registry.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def up() -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", int(address.partition(":")[2]))) == 0

    try:
        until(up, 30)
        yield address
    finally:
        served.kill()
        served.wait()


def test_digests_and_pythons_version_are_taken_from_the_registry(registry: str, docker: Callable[..., Any], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    digests = []
    for name, variable in (
        ("python:3.11-slim-bookworm", "PYTHON_VERSION=3.11.99"),
        ("postgres:17-bookworm", "PG_VERSION=17.99-1.pgdg12+1"),
    ):
        assert docker("import", "--change", f"ENV {variable}", tmp_path / "empty.tar", f"{registry}/{name}").returncode == 0
        pushed = docker("push", f"{registry}/{name}")
        assert pushed.returncode == 0, pushed.stderr
        digests += re.findall(r"sha256:[0-9a-f]{64}", pushed.stdout)[-1:]

    for name in ("Dockerfile", "docker/compose.yaml", "docker/pin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name, image in (("Dockerfile", "python:"), ("docker/compose.yaml", "postgres:")):
        path = tmp_path / name
        path.write_text(re.sub(rf"(?<![a-z/]){image}(?=\d)", f"{registry}/{image}", path.read_text()))

    done = docker(program=tmp_path / "docker" / "pin")
    assert (done.returncode, done.stderr) == (0, "")
    dockerfile = (tmp_path / "Dockerfile").read_text()
    assert f"ARG BASE_IMAGE={registry}/python:3.11.99-slim-bookworm@{digests[0]}\n" in dockerfile
    assert "\nARG PYTHON_VERSION=3.11.99\n" in dockerfile
    assert f"image: {registry}/postgres:17.99-bookworm@{digests[1]}\n" in (tmp_path / "docker" / "compose.yaml").read_text()
    assert docker(program=tmp_path / "docker" / "pin").stdout == "", "nothing is new the second time"


def test_without_a_registry_everything_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    for name in ("Dockerfile", "docker/compose.yaml", "docker/pin"):
        shutil.copy(ROOT / name, tmp_path / name)
    done = subprocess.run([tmp_path / "docker" / "pin"], env={**OUTSIDE, "ENGINE": "no-such-engine"}, capture_output=True, text=True)
    assert done.returncode == 0
    assert "keep their digests: no registry could be asked" in done.stderr
    assert (tmp_path / "Dockerfile").read_bytes() == (ROOT / "Dockerfile").read_bytes()
