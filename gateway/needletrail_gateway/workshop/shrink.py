"""Make firmware sources smaller before they are compiled: a pen's heap holds all of it.

A .mpy file on a pen costs heap for its code and again for every name in it. So the whole firmware is
looked at as one program, and in this order

1. what only type checkers read goes;
2. a name that stands for one number, text or flag becomes that value, in other modules too;
3. functions, methods and tables that nothing names any more go, until nothing more does;
4. what errors of our own making say goes: nobody reads it on a pen, and the kind of error stays;
5. private names and the names of parameters become short. What only one class or one module uses is
   called the same in all of them, for a name costs more than a use of it.

Everything goes by name, never by guesses about types: something stays if its name occurs anywhere
else. The rules that the firmware keeps so that this is sound: it reaches nothing of its own by a
computed name, never binds a constant's name a second time, and gives private names only to its own.
"""

import ast
import keyword
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import count, product
from string import ascii_lowercase

FLAG = "TYPE_CHECKING"
_TEXT_MAX = 40  # a longer text is kept once, under its name
MUTED = {"ValueError": 0, "TypeError": 0, "ProtocolError": 1}  # how many arguments stay
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

Constant = int | str


def shrink(sources: Mapping[str, str], roots: tuple[str, ...] = ("main",)) -> dict[str, str]:
    """Sources by path ("package/module.py"), smaller and of the same meaning.

    `roots` are names that something outside asks for. SyntaxError, with the path as its filename,
    if a source is none.
    """
    trees = {path: ast.parse(text, path) for path, text in sources.items()}
    modules = {_module_of(path): tree for path, tree in trees.items()}
    for tree in trees.values():
        _Plain().visit(tree)
    _inline(modules)
    while _sweep(modules, set(roots)):
        pass
    for tree in trees.values():
        _Mute().visit(tree)
    _shorten_private(list(trees.values()))
    _shorten_parameters(list(trees.values()))
    return {path: ast.unparse(ast.fix_missing_locations(tree)) + "\n" for path, tree in trees.items()}


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


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> list[ast.arg]:
    """All of a function's parameters."""
    given = node.args
    rest = [one for one in (given.vararg, given.kwarg) if one is not None]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *rest]


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
    for node in ast.walk(tree):
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
    for node in ast.walk(tree):
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
    for node in ast.walk(tree):
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
    names = [one for one in ast.walk(copy) if not isinstance(one, _ARITHMETIC)]
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


# ---- 3. what nothing names ----


def _sweep(modules: Mapping[str, ast.Module], roots: set[str]) -> bool:
    """Remove what nothing names. True if something went."""
    asked = {
        (node.module, alias.name)
        for tree in modules.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    remover = _Remover(roots)
    for name, tree in modules.items():
        remover.enter({one.id for one in ast.walk(tree) if isinstance(one, ast.Name)})
        remover.kept = {one for module, one in asked if module == name}
        remover.visit(tree)
    remover.is_imports_only = False
    remover.names = roots | {one for tree in modules.values() for one in _mentions(tree)}
    for tree in modules.values():
        remover.visit(tree)
    return remover.has_removed


def _mentions(tree: ast.Module) -> Iterator[str]:
    """Every name that a module asks for, and every text that could be one."""
    for node in ast.walk(tree):
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
        if any(isinstance(one, (ast.Call, ast.Await, ast.Yield)) for one in ast.walk(node.value)):
            return node
        self.has_removed = True
        return None


# ---- 4. what errors say ----


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


# ---- 5. names ----


def _shorten_private(trees: list[ast.Module]) -> None:
    """_names of ours become _a, _b, …; those of one place begin again at _a in the next."""
    taken = {one for tree in trees for one in _identifiers(tree)}
    fixed = {one for tree in trees for one in _texts(tree)} | {
        part
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        for part in alias.name.split(".")
    }
    roots = _root_classes(trees)
    places: dict[str, set[int]] = {}
    uses: Counter[str] = Counter()
    for tree in trees:
        for place, name in _private_uses(tree, roots):
            uses[name] += 1
            places.setdefault(name, set()).add(place)
    names: dict[str, str] = {}
    used_at: dict[int, set[str]] = {}
    for name, _ in uses.most_common():
        if name in fixed:
            continue
        here = places[name]
        fresh = (f"_{one}" for one in _letters() if f"_{one}" not in taken)
        names[name] = next(one for one in fresh if not any(one in used_at.get(at, ()) for at in here))
        for at in here:
            used_at.setdefault(at, set()).add(names[name])
    for tree in trees:
        _Rename(names).visit(tree)


def _root_classes(trees: list[ast.Module]) -> dict[str, int]:
    """For each class the place that it shares with all its relatives of ours."""
    classes = {
        node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    }
    roots = {}
    for name, node in classes.items():
        root = node
        while bases := [
            one.id for one in root.bases if isinstance(one, ast.Name) and one.id in classes
        ]:
            root = classes[bases[0]]
        roots[name] = id(root)
    return roots


def _private_uses(tree: ast.Module, roots: Mapping[str, int]) -> Iterator[tuple[int, str]]:
    """(place, private name): what stands within a class belongs to that class, all else to all."""
    owners = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for inner in ast.walk(node):
                owners[id(inner)] = roots[node.name]
    for node in ast.walk(tree):
        for name in _identifiers_of(node):
            if name.startswith("_") and not name.startswith("__") and len(name) > 2:
                yield owners.get(id(node), id(tree)), name


def _shorten_parameters(trees: list[ast.Module]) -> None:
    """Parameters become a, b, … as far as nothing else in the function has that name."""
    keywords = {node.arg for tree in trees for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, _FUNCTIONS):
                _shorten_own(node, keywords)


def _shorten_own(node: ast.FunctionDef | ast.AsyncFunctionDef, keywords: set[str | None]) -> None:
    inner = [one for one in ast.walk(node) if isinstance(one, _SCOPES) and one is not node]
    rebound = {name for scope in inner for name in _bound_by(scope)}
    own = [one for one in _parameters(node) if one.arg not in keywords | rebound and len(one.arg) > 1]
    taken = set(_identifiers(node))
    fresh = (one for one in _letters() if one not in taken)
    names = {one.arg: next(fresh) for one in own}
    for argument in own:
        argument.arg = names[argument.arg]
    for child in ast.walk(node):
        if isinstance(child, ast.Name) and child.id in names:
            child.id = names[child.id]
        elif isinstance(child, (ast.Global, ast.Nonlocal)):
            child.names = [names.get(one, one) for one in child.names]


def _bound_by(scope: ast.AST) -> Iterator[str]:
    for node in ast.walk(scope):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id


def _identifiers(tree: ast.AST) -> Iterator[str]:
    """Every name in a tree, as often as it stands there."""
    for node in ast.walk(tree):
        yield from _identifiers_of(node)


def _identifiers_of(node: ast.AST) -> Iterator[str]:
    for field in ("id", "attr", "arg", "name", "asname"):
        word = getattr(node, field, None)
        if isinstance(word, str):
            yield word


def _texts(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _letters() -> Iterator[str]:
    """a, b, … z, aa, ab, …"""
    for length in count(1):
        for letters in product(ascii_lowercase, repeat=length):
            word = "".join(letters)
            if not keyword.iskeyword(word):
                yield word


class _Rename(ast.NodeTransformer):
    """Every occurrence of some names, wherever a name can stand."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def visit(self, node: ast.AST) -> ast.AST:
        for field in ("id", "attr", "arg", "name", "asname"):
            word = getattr(node, field, None)
            if isinstance(word, str):
                setattr(node, field, self._names.get(word, word))
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            node.names = [self._names.get(one, one) for one in node.names]
        self.generic_visit(node)
        return node
