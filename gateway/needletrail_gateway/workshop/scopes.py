"""Which names in a module are local to a function: each gets one that nothing else in the program has.

A local name costs nothing in bytecode, so it may be as long as it likes. After this no local name hides
a global one, and whoever moves code about or renames a global need not look for what is in its way. A
parameter keeps its name if some call in the program gives it by that name.

The rules are Python's: a name that a function binds is its own, unless it says `global` or `nonlocal`;
lambdas and comprehensions are functions; what a class body binds belongs to the class, and functions
within do not see it.
"""

import ast
from collections.abc import Iterator

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SCOPES = (*FUNCTIONS, ast.Lambda, *COMPREHENSIONS)
LOCAL = "local "  # no name of a source contains a space


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """Like ast.walk, several times as quick, and without what a name's context is (ast.Load, …)."""
    found = [tree]
    for node in found:
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                found += [one for one in value if isinstance(one, ast.AST)]
            elif isinstance(value, ast.AST) and field != "ctx":
                found.append(value)
        yield node


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> list[ast.arg]:
    """All of a function's parameters."""
    given = node.args
    rest = [one for one in (given.vararg, given.kwarg) if one is not None]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *rest]


def is_local(name: str) -> bool:
    """True for a name that `separate` has made."""
    return name.startswith(LOCAL)


def separate(tree: ast.Module, keywords: set[str], first: int = 0) -> int:
    """Give every local name of a module one of its own. Returns the number after the last."""
    renamer = _Renamer(keywords, first)
    for node in tree.body:
        renamer.visit(node)
    return renamer.number


def bound_by(node: ast.AST) -> Iterator[str]:
    """The names that a function or a class body binds itself, parameters included."""
    if isinstance(node, (*FUNCTIONS, ast.Lambda)):
        yield from (one.arg for one in parameters(node))
    if isinstance(node, COMPREHENSIONS):
        for generator in node.generators:
            yield from _bound_in(generator.target)
    elif isinstance(node, ast.Lambda):
        yield from _bound_in(node.body)
    else:
        for one in node.body:  # type: ignore[attr-defined]
            yield from _bound_in(one)


def _bound_in(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).split(".")[0]
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name
    if isinstance(node, COMPREHENSIONS):
        for one in walk(node):  # PEP 572: := within binds outside
            if isinstance(one, ast.NamedExpr):
                yield one.target.id
        return
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        children: list[ast.AST] = [*node.decorator_list]
        children += node.bases if isinstance(node, ast.ClassDef) else _defaults(node)
    elif isinstance(node, ast.Lambda):
        children = _defaults(node)
    else:
        children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from _bound_in(child)


def _defaults(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> list[ast.AST]:
    return [*node.args.defaults, *[one for one in node.args.kw_defaults if one is not None]]


def _declared(node: ast.AST, kind: type) -> set[str]:
    """Names that a function, but none within it, declares global or nonlocal."""
    found: set[str] = set()
    waiting = list(ast.iter_child_nodes(node))
    while waiting:
        one = waiting.pop()
        if isinstance(one, kind):
            found.update(one.names)  # type: ignore[attr-defined]
        if not isinstance(one, (*SCOPES, ast.ClassDef)):
            waiting += list(ast.iter_child_nodes(one))
    return found


class _Renamer(ast.NodeVisitor):
    def __init__(self, keywords: set[str], first: int) -> None:
        self._keywords = keywords
        self.number = first
        self._scopes: list[dict[str, str]] = []

    def _new(self, name: str) -> str:
        self.number += 1
        return f"{LOCAL}{self.number} {name}"

    def _found(self, name: str) -> str:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return name

    # ---- names, wherever they stand ----

    def visit_Name(self, node: ast.Name) -> None:
        node.id = self._found(node.id)

    def visit_Global(self, node: ast.Global) -> None:
        pass

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        node.names = [self._found(one) for one in node.names]

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            node.name = self._found(node.name)
        self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> None:
        bound = (node.asname or node.name).split(".")[0]
        new = self._found(bound)
        if new != bound:
            node.asname = new

    # ---- scopes ----

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        for one in _defaults(node):
            self.visit(one)
        if not isinstance(node, ast.Lambda):
            for one in node.decorator_list:
                self.visit(one)
            node.name = self._found(node.name)
        outer = _declared(node, ast.Nonlocal)
        everyones = _declared(node, ast.Global)
        kept = {one.arg for one in parameters(node)} & self._keywords
        names = set(bound_by(node)) - outer - everyones
        scope = {one: one if one in kept else self._new(one) for one in sorted(names)}
        scope |= {one: one for one in everyones}
        self._scopes.append(scope)
        for argument in parameters(node):
            argument.arg = self._found(argument.arg)
        for one in [node.body] if isinstance(node, ast.Lambda) else node.body:
            self.visit(one)
        self._scopes.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for one in (*node.bases, *node.keywords, *node.decorator_list):
            self.visit(one)
        node.name = self._found(node.name)
        own = set(bound_by(node))
        for one in node.body:
            if isinstance(one, FUNCTIONS):
                name = one.name
                self.visit(one)
                one.name = name
            else:
                if own & {part.id for part in walk(one) if _is_load(part)}:  # type: ignore[attr-defined]
                    raise SyntaxError(f"line {one.lineno}: a class body that reads its own names")
                before = [part for part in walk(one) if isinstance(part, ast.Name)]
                kept = {id(part): part.id for part in before if not _is_load(part)}
                self.visit(one)
                for part in before:
                    part.id = kept.get(id(part), part.id)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehension(node)

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    ) -> None:
        self.visit(node.generators[0].iter)  # evaluated outside
        self._scopes.append({one: self._new(one) for one in sorted(set(bound_by(node)))})
        for index, generator in enumerate(node.generators):
            self.visit(generator.target)
            if index:
                self.visit(generator.iter)
            for one in generator.ifs:
                self.visit(one)
        for one in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
            self.visit(one)
        self._scopes.pop()


def _is_load(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
