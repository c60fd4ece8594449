"""What linking makes of modules: files, each of them statements in order, and where each is from."""

import ast
from dataclasses import dataclass, field


@dataclass
class Statement:
    """One statement of a file, and the module that it comes from."""

    module: str
    node: ast.stmt
    binds: frozenset[str] = frozenset()
    is_free: bool = False  # it may go to another file: it only defines
    home: str = ""  # the file that alone needs its module, or the joined one


@dataclass
class File:
    """What becomes one .mpy: its statements in order, before them what it imports from elsewhere."""

    name: str
    statements: list[Statement] = field(default_factory=list)
    handed_on: set[str] = field(default_factory=set)  # from other modules, under the module's own name
