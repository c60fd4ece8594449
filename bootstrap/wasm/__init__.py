"""Installs MicroPython's official WebAssembly build: 32-bit words, as a pen has, on any machine.

npm takes exactly what `package-lock.json` beside this file pins, by its hash, into `.tools/wasm`. npm's
own configuration on this machine decides where it comes from. Scripts of packages are not run.
"""

import json
import shutil
from pathlib import Path

from bootstrap.progress import Log, doing, done

FILES = ("package.json", "package-lock.json")
PACKAGE = "@micropython/micropython-webassembly-pyscript"
HERE = Path(__file__).parent


def install(tools: Path, npm: str, log: Log) -> list[Path]:
    """What must be there afterwards."""
    folder = tools / "wasm"
    wanted = [folder / "node_modules" / PACKAGE / f"micropython.{end}" for end in ("mjs", "wasm")]
    if not (all(path.is_file() for path in wanted) and is_as_pinned(folder)):
        doing("installing MicroPython for WebAssembly")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in FILES:
            shutil.copyfile(HERE / name, folder / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev"]
        log.run(command, what="Installing MicroPython for WebAssembly", cwd=folder)
    done(f"MicroPython {version()} for WebAssembly in .tools")
    return wanted


def version() -> str:
    """The version that is pinned."""
    found = json.loads((HERE / FILES[0]).read_text(encoding="utf-8"))
    return str(found["dependencies"][PACKAGE])


def is_as_pinned(folder: Path) -> bool:
    """True if the folder was made from the files that are here now."""
    return all(
        (folder / name).is_file() and (folder / name).read_bytes() == (HERE / name).read_bytes()
        for name in FILES
    )
