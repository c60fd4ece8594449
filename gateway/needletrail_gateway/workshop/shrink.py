"""Make firmware sources smaller before they are compiled: a pen's heap holds all of it.

A .mpy file on a pen costs heap for its code and again for every name in it. So the whole firmware is
looked at as one program, and in this order

1. what only type checkers read goes;
2. a name that stands for one number, text or flag becomes that value, in other modules too;
3. functions, methods and tables that nothing names any more go, until nothing more does;
4. what errors of our own making say goes: nobody reads it on a pen, and the kind of error stays;
5. modules that stay in the heap anyway are joined (link), and every name of ours becomes one that
   MicroPython has in ROM (names).

Everything goes by name, never by guesses about types: something stays if its name occurs anywhere
else. The rules that the firmware keeps so that this is sound: it reaches nothing of its own by a
computed name, and never binds a constant's name a second time.
"""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from needletrail_gateway.workshop.files import File, Statement
from needletrail_gateway.workshop.inline import inline
from needletrail_gateway.workshop.link import link
from needletrail_gateway.workshop.names import of_python, often_first, shorten
from needletrail_gateway.workshop.scopes import FUNCTIONS as _FUNCTIONS
from needletrail_gateway.workshop.scopes import parameters as _parameters
from needletrail_gateway.workshop.scopes import separate, walk
from needletrail_gateway.workshop.traces import Words, mark, words

FLAG = "TYPE_CHECKING"
_TEXT_MAX = 40  # a longer text is kept once, under its name
MUTED = {"ValueError": 0, "TypeError": 0, "ProtocolError": 1}  # how many arguments stay

Constant = int | str


@dataclass(frozen=True)
class Small:
    """One file of the firmware. `parts`: (module, source), in their order; a module may come again."""

    path: str
    parts: tuple[tuple[str, str], ...]
    words: Words

    @property
    def source(self) -> str:
        """All of it."""
        return "".join(text for _, text in self.parts)


def shrink(
    sources: Mapping[str, str],
    roots: tuple[str, ...] = ("main",),
    own: tuple[str, ...] = (),
    given: Mapping[str, bool] | None = None,
) -> list[Small]:
    """Sources by path ("package/module.py"): fewer and smaller files of the same meaning.

    `roots` are names that something outside asks for, `own` modules that it asks for. `given`: how
    conditions end, by their text, as far as the build knows it. SyntaxError if a source is none,
    or does what this can not see through; the former with the path as its filename.
    """
    trees = {path: ast.parse(text, path) for path, text in sources.items()}
    modules = {_module_of(path): tree for path, tree in trees.items()}
    paths = {_module_of(path): path for path in sources}
    for path, tree in trees.items():
        mark(tree, path)
        _Plain().visit(tree)
    _inline(modules)
    decided = _Decided(given or {})
    for tree in trees.values():
        decided.visit(tree)
    exports = {name: _exports(tree) for name, tree in modules.items()}
    while _sweep(modules, set(roots), exports):
        pass
    for tree in trees.values():
        _Mute().visit(tree)
    keywords = {
        node.arg
        for tree in trees.values()
        for node in walk(tree)
        if isinstance(node, ast.keyword) and node.arg
    }
    number = 0
    for tree in trees.values():
        number = separate(tree, keywords, number)
    files = link(modules, set(roots), own, exports)
    inline(files, set(roots), of_python())
    shorten(files, set(roots))
    return [_small(file, paths.get(file.name, f"{file.name}.py")) for file in files]


def _small(file: File, path: str) -> Small:
    parts = tuple(_parts(file))
    return Small(path, parts, words(file, "".join(text for _, text in parts)))


def _parts(file: File) -> Iterator[tuple[str, str]]:
    owner = file.statements[0].module
    if (first := often_first(file)) is not None:
        file.statements.insert(0, Statement(owner, first))
    for module, statements in groupby(file.statements, lambda one: one.module):
        tree = ast.Module([one.node for one in statements], [])
        yield module, _written(tree) + "\n"


def _written(tree: ast.Module) -> str:
    """The source, without parentheses around a tuple that is only taken apart again.

    `a, b = b, a` is four instructions; `a, b = (b, a)` makes a tuple: it allocates, and no hard
    interrupt may.
    """
    lines = ast.unparse(ast.fix_missing_locations(tree)).split("\n")
    return "\n".join(map(_bare, lines))


def _bare(line: str) -> str:
    before, is_found, after = line.partition(" = (")
    if not is_found or not after.endswith(")"):
        return line
    bare = f"{before} = {after[:-1]}"
    try:
        is_same = ast.dump(ast.parse(bare.strip())) == ast.dump(ast.parse(line.strip()))
    except SyntaxError:
        return line
    return bare if is_same else line


def _module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


# ---- 1. what only type checkers read ----


class _Plain(ast.NodeTransformer):
    """No annotations, no docstrings, nothing under `if TYPE_CHECKING`; one target an assignment."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:
        self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == FLAG:
            return node.orelse or None
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | list[ast.stmt] | None:
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Name) and target.id == FLAG:
            return None
        if (
            isinstance(target, ast.Tuple)
            and isinstance(value, ast.Tuple)
            and len(node.targets) == 1
            and all(isinstance(one, ast.Constant) for one in value.elts)
        ):
            pairs = zip(target.elts, value.elts, strict=True)
            return [ast.copy_location(ast.Assign([name], one), node) for name, one in pairs]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        for argument in _parameters(node):
            argument.annotation = None
        return self._body(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._body(node)

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._body(node)

    def _body(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module
    ) -> ast.AST:
        self.generic_visit(node)
        node.body = [one for one in node.body if not _is_text(one)]
        if not node.body and not isinstance(node, ast.Module):
            node.body = [ast.Pass()]
        return node


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


# ---- 2. constants ----


def _inline(modules: Mapping[str, ast.Module]) -> None:
    """Put the values of constants where their names stand."""
    bound = {name: _bindings(tree) for name, tree in modules.items()}
    aliases = {name: _module_aliases(tree, modules) for name, tree in modules.items()}
    constants: dict[str, dict[str, Constant]] = {name: {} for name in modules}
    is_more = True
    while is_more:
        is_more = False
        for name, tree in modules.items():
            here = _visible(tree, constants, constants[name])
            for node in tree.body:
                target = _target(node)
                if target is None or target in constants[name] or bound[name][target] != 1:
                    continue
                value = _value(node.value, here, aliases[name], constants)  # type: ignore[attr-defined]
                if value is not None:
                    constants[name][target] = here[target] = value
                    is_more = True
    for name, tree in modules.items():
        here = _visible(tree, constants, constants[name])
        here = {one: value for one, value in here.items() if bound[name][one] == 1}
        _Values(here, aliases[name], constants).visit(tree)


def _bindings(tree: ast.Module) -> Counter[str]:
    """How often each name is bound in a module, in any scope."""
    found: Counter[str] = Counter()
    for node in walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found[node.id] += 1
        elif isinstance(node, ast.arg):
            found[node.arg] += 1
        elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            found[node.name] += 1
        elif isinstance(node, ast.alias):
            found[(node.asname or node.name).split(".")[0]] += 1
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found[node.name] += 1
    return found


def _module_aliases(tree: ast.Module, modules: Mapping[str, ast.Module]) -> dict[str, str]:
    """Name in this module: which of the modules it stands for."""
    found = {}
    for node in walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                if module in modules:
                    found[alias.asname or alias.name] = module
    return found


def _visible(
    tree: ast.Module, constants: Mapping[str, dict[str, Constant]], own: dict[str, Constant]
) -> dict[str, Constant]:
    """The constants that a module can say by their names."""
    found = dict(own)
    for node in walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module in constants:
            for alias in node.names:
                if alias.name in constants[node.module]:
                    found[alias.asname or alias.name] = constants[node.module][alias.name]
    return found


def _target(node: ast.stmt) -> str | None:
    if (
        isinstance(node, ast.Assign)
        and len(node.targets) == 1
        and isinstance(node.targets[0], ast.Name)
    ):
        return node.targets[0].id
    return None


def _value(
    node: ast.expr,
    here: Mapping[str, Constant],
    aliases: Mapping[str, str],
    constants: Mapping[str, Mapping[str, Constant]],
) -> Constant | None:
    """The number or text that an expression always has, or None."""
    copy = _Values(here, aliases, constants).visit(ast.parse(ast.unparse(node), mode="eval"))
    names = [one for one in walk(copy) if not isinstance(one, _ARITHMETIC)]
    if names:
        return None
    try:
        value = eval(compile(ast.fix_missing_locations(copy), "", "eval"), {"__builtins__": {}})
    except (ArithmeticError, TypeError, ValueError):
        return None
    if isinstance(value, str):
        return value if len(value) <= _TEXT_MAX else None
    return value if isinstance(value, int) else None


_ARITHMETIC = (
    ast.Expression,
    ast.Constant,
    ast.BinOp,
    ast.UnaryOp,
    ast.operator,
    ast.unaryop,
)


class _Values(ast.NodeTransformer):
    """Names of constants, and attributes of modules that are constants, become values."""

    def __init__(
        self,
        here: Mapping[str, Constant],
        aliases: Mapping[str, str],
        constants: Mapping[str, Mapping[str, Constant]],
    ) -> None:
        self._here = here
        self._aliases = aliases
        self._constants = constants

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.id in self._here:
            return ast.copy_location(ast.Constant(self._here[node.id]), node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and isinstance(node.ctx, ast.Load):
            values = self._constants.get(self._aliases.get(node.value.id, ""), {})
            if node.attr in values:
                return ast.copy_location(ast.Constant(values[node.attr]), node)
        return node


# ---- 3. what is decided already ----

# What the firmware asks about the interpreter, and what every MicroPython that it runs on answers.
INTERPRETER = "sys.implementation.name"
HAS = {
    ("gc", "mem_alloc"): True,
    ("sys", "print_exception"): True,
    ("time", "ticks_ms"): True,
    ("time", "ticks_us"): True,
    ("os", "fsync"): False,
}


class _Decided(ast.NodeTransformer):
    """A condition whose outcome is known at the build: what it excludes goes."""

    def __init__(self, given: Mapping[str, bool]) -> None:
        self._given = given

    def _outcome(self, test: ast.expr) -> bool | None:
        text = ast.unparse(test) if self._given else ""
        if text in self._given:
            return self._given[text]
        return _outcome(test)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:
        node.test = self.visit(node.test)
        outcome = self._outcome(node.test)
        if outcome is None:
            return self.generic_visit(node)
        left = self._block(node.body if outcome else node.orelse)
        return left or ast.copy_location(ast.Pass(), node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        outcome = self._outcome(node.test)
        if outcome is None:
            return node
        return node.body if outcome else node.orelse

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = self._block(node.body)
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.body = self._block(node.body)
        return node

    def _block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """What is left of statements, up to one behind which nothing comes."""
        left: list[ast.stmt] = []
        for one in statements:
            made = self.visit(one)
            left += made if isinstance(made, list) else [made]
            if left and isinstance(left[-1], (ast.Return, ast.Raise)):
                break
        return left


def _outcome(test: ast.expr) -> bool | None:
    """How a condition always ends, or None."""
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _outcome(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.Compare) and ast.unparse(test.left) == INTERPRETER:
        is_equal: bool = ast.literal_eval(test.comparators[0]) == "micropython"
        return is_equal if isinstance(test.ops[0], ast.Eq) else not is_equal
    if isinstance(test, ast.Call) and ast.unparse(test.func) == "hasattr":
        of, name = test.args
        if isinstance(of, ast.Name) and isinstance(name, ast.Constant):
            return HAS.get((of.id, str(name.value)))
    return None


# ---- 4. what nothing names ----


def _exports(tree: ast.Module) -> set[str]:
    """What a module says in its `__all__`."""
    return {
        part.value
        for node in tree.body
        if _target(node) == "__all__"
        for part in walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }


def _sweep(modules: Mapping[str, ast.Module], roots: set[str], exports: Mapping[str, set[str]]) -> bool:
    """Remove what nothing names. True if something went."""
    asked = {
        (node.module, alias.name)
        for tree in modules.values()
        for node in walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    attributes = {
        node.attr for tree in modules.values() for node in walk(tree) if isinstance(node, ast.Attribute)
    }
    remover = _Remover(roots)
    for name, tree in modules.items():
        remover.enter({one.id for one in walk(tree) if isinstance(one, ast.Name)} | attributes)
        remover.kept = {one for module, one in asked if module == name} | exports[name]
        remover.visit(tree)
    remover.is_imports_only = False
    remover.names = roots.union(*exports.values()) | {
        one for tree in modules.values() for one in _mentions(tree)
    }
    for tree in modules.values():
        remover.visit(tree)
    return remover.has_removed


def _mentions(tree: ast.Module) -> Iterator[str]:
    """Every name that a module asks for, and every text that could be one."""
    for node in walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


class _Remover(ast.NodeTransformer):
    """First the imports that their module does not use; then definitions that nobody names."""

    def __init__(self, roots: set[str]) -> None:
        self.names = roots
        self.kept: set[str] = set()
        self.is_imports_only = True
        self.has_removed = False

    def enter(self, names: set[str]) -> None:
        """The names of the module that comes next."""
        self.names = names

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return self._import(node)

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        return self._import(node)

    def _import(self, node: ast.ImportFrom | ast.Import) -> ast.AST | None:
        if self.is_imports_only:
            wanted = self.names | self.kept
            left = [one for one in node.names if (one.asname or one.name).split(".")[0] in wanted]
            self.has_removed = self.has_removed or len(left) < len(node.names)
            node.names = left
        return node if node.names else None

    def visit_Try(self, node: ast.Try) -> ast.AST:
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        return self._definition(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST | None:
        return self._definition(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST | None:
        return self._definition(node)

    def _definition(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ) -> ast.AST | None:
        is_special = node.name.startswith("__")
        if not self.is_imports_only and node.name not in self.names and not is_special:
            self.has_removed = True
            return None
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        target = _target(node)
        if self.is_imports_only or target is None or target in self.names:
            return node
        if any(isinstance(one, (ast.Call, ast.Await, ast.Yield)) for one in walk(node.value)):
            return node
        self.has_removed = True
        return None


# ---- 5. what errors say ----


class _Mute(ast.NodeTransformer):
    """`raise ValueError("why")` says nothing; `ProtocolError(reason, "why")` keeps its reason."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in MUTED:
            kept = MUTED[node.func.id]
            if len(node.args) > kept and all(_is_idle(one) for one in node.args[kept:]):
                texts = [ast.Constant("") for _ in node.args[kept:]]
                node.args[kept:] = texts if kept else []
        return node


def _is_idle(node: ast.expr) -> bool:
    """True if an expression only makes a text."""
    return isinstance(node, (ast.Constant, ast.BinOp)) or (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "format"
    )
