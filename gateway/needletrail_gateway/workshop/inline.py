"""What is called in one place goes there: each function costs a pen some fifty bytes besides its code.

A function or method goes where it is called if that is the only place in the program that names it, so
its name can mean nothing else; if it is a plain one (no generator, no decorator, no default that is
needed, no function within); and if the call stands where its statements can stand:

    return f(…)     the body as it is, and `return` behind it
    f(…)            the body, if it returns nothing, and that only at its end
    x = f(…)        the body, if it returns once, at its end
    … f(…) …        an expression, if the body is one, and the arguments can stand in it as they are

A method's name is one that no other class binds, and that no object of Python's or of a board's modules
has: so whatever it is called on is of that class. Local names must be separate (scopes). An argument is
put where its parameter stood if it can not have changed in between; else the parameter becomes a local
name. Coroutines are left as they are, and nothing goes into one: it would keep alive what was made
there, for as long as it waits. Nor do constructors that were taken out (constructors).
"""

import ast
from collections import Counter
from collections.abc import Iterator, Set
from copy import deepcopy
from typing import TypeGuard

from needletrail_gateway.workshop.constructors import constructed
from needletrail_gateway.workshop.files import File, Statement
from needletrail_gateway.workshop.scopes import COMPREHENSIONS, FUNCTIONS, is_local, parameters, walk

_NESTED = (*FUNCTIONS, ast.Lambda, ast.ClassDef, *COMPREHENSIONS)
_NO_PLACE = (ast.Yield, ast.YieldFrom, ast.Await, ast.Global, ast.Nonlocal, ast.Import, ast.ImportFrom)


def inline(files: list[File], roots: set[str], theirs: Set[str]) -> None:
    """Move bodies to their only callers, until there is nothing to move.

    `roots`: names that something outside asks for. `theirs`: attributes of objects that are not ours.
    """
    while _pass(files, roots, theirs):
        pass


def _pass(files: list[File], roots: set[str], theirs: Set[str]) -> bool:
    """One look at every function. True if one was moved."""
    mentions = _mentions(files)
    bound = _stored(files)
    classes = [node for _, _, node in _definitions(files) if isinstance(node, ast.ClassDef)]
    methods = Counter(
        part.name for node in classes for part in node.body if isinstance(part, FUNCTIONS)
    )
    ours = {node.name for node in classes}
    has_moved = False
    callers: dict[str, list[ast.FunctionDef]] = {}
    for _, _, node in _definitions(files[:1]):
        for part in walk(node):
            if isinstance(part, ast.FunctionDef):
                for one in walk(part):
                    if isinstance(one, ast.Attribute):
                        callers.setdefault(one.attr, []).append(part)
    for node in classes:
        if not all(isinstance(base, ast.Name) and base.id in ours for base in node.bases):
            continue  # a class of others may call it
        for method in list(node.body):
            name = method.name if isinstance(method, ast.FunctionDef) else ""
            is_lone = methods[name] == 1 and mentions[name] == 1 and name not in bound
            if is_lone and name not in roots | theirs and _is_plain(method):
                for caller in callers.get(name, ()):
                    if caller is not method and _move(method, caller, name, True):
                        node.body.remove(method)
                        node.body = node.body or [ast.Pass()]
                        has_moved = True
                        break
    users: dict[str, list[Statement]] = {}
    for file in files:
        for user in file.statements:
            for name in _names(user.node):
                users.setdefault(name, []).append(user)
    for file, statement, function in list(_definitions(files)):
        if not isinstance(function, ast.FunctionDef) or mentions[function.name] != 1:
            continue
        if constructed(function.name):  # names.py wants to know whose attributes it binds
            continue
        name = function.name.partition(" ")[0]
        if name in roots or (file is not files[0] and mentions[name]) or not _is_plain(function):
            continue
        for other in users.get(function.name, ()):
            if other is statement or other not in file.statements:
                continue
            if any(_move(function, caller, function.name, False) for caller in walk(other.node)):
                file.statements.remove(statement)
                has_moved = True
                break
    return has_moved


def _definitions(files: list[File]) -> Iterator[tuple[File, Statement, ast.stmt]]:
    for file in files:
        for one in file.statements:
            yield file, one, one.node


def _names(node: ast.AST) -> set[str]:
    return {one.id for one in walk(node) if isinstance(one, ast.Name)}


def _mentions(files: list[File]) -> Counter[str]:
    """How often a name is asked for, or stands in a text."""
    found: Counter[str] = Counter()
    for file in files:
        found.update(file.handed_on)
        for one in file.statements:
            for node in walk(one.node):
                if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
                    found[node.id] += 1
                elif isinstance(node, ast.Attribute):
                    found[node.attr] += 1
                elif isinstance(node, ast.alias):
                    found[node.name] += 1
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found[node.value] += 2
    return found


def _stored(files: list[File]) -> set[str]:
    """Attributes that are assigned to, or that a class body assigns."""
    found = set()
    for file in files:
        for one in file.statements:
            for node in walk(one.node):
                if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
                    found.add(node.attr)
                elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                    found.add(node.id)
    return found


def _is_plain(node: ast.stmt) -> bool:
    if not isinstance(node, ast.FunctionDef) or node.decorator_list:
        return False
    given = node.args
    if given.vararg or given.kwarg or given.kwonlyargs or given.posonlyargs:
        return False
    if node.name.startswith("__") and node.name.endswith("__"):
        return False
    inner = [one for one in walk(node) if one is not node]
    if any(isinstance(one, (*_NESTED, *_NO_PLACE)) for one in inner):
        return False
    if any(isinstance(one, ast.Name) and one.id == "super" for one in inner):
        return False
    return all(is_local(one.arg) for one in parameters(node))


def _move(callee: ast.stmt, caller: ast.AST, name: str, is_method: bool) -> bool:
    """Put the body where the caller calls it, if that can be done."""
    if not isinstance(caller, ast.FunctionDef) or not isinstance(callee, ast.FunctionDef):
        return False
    if not _asks(caller, name):
        return False
    if any(isinstance(one, (ast.Yield, ast.YieldFrom)) for one in walk(caller)):
        return False
    if caller.decorator_list:
        return False
    for body in _bodies(caller):
        for index, statement in enumerate(body):
            if not _asks(statement, name):
                continue
            made = _instead(statement, callee, name, is_method)
            if made is not None:
                body[index : index + 1] = made
                return True
    return False


def _asks(node: ast.AST, name: str) -> bool:
    return any(name in (getattr(one, "attr", ""), getattr(one, "id", "")) for one in walk(node))


def _is_bound(node: ast.AST, name: str) -> bool:
    return any(
        isinstance(one, ast.Name) and one.id == name and not isinstance(one.ctx, ast.Load)
        for one in walk(node)
    )


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Every block of statements in a function, but not of functions within."""
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if isinstance(block, list):
            yield block
            for one in block:
                if not isinstance(one, _NESTED):
                    yield from _bodies(one)
    for handler in getattr(node, "handlers", ()):
        yield from _bodies(handler)


def _instead(
    statement: ast.stmt, callee: ast.FunctionDef, name: str, is_method: bool
) -> list[ast.stmt] | None:
    """The statements that stand for one that calls; None if it does not, or if they can not."""
    value = getattr(statement, "value", None)
    callee = deepcopy(callee)
    returns = [one for one in walk(callee) if isinstance(one, ast.Return)]
    last = callee.body[-1]
    if _is_call(value, name, is_method):
        setting = _setting(value, callee, is_method)
        if setting is None:
            return None
        before, replaced = setting
        body = [_Replace(replaced).visit(one) for one in callee.body]
        if isinstance(statement, ast.Return):
            return [*before, *body, *([] if _ends(last) else [ast.Return(None)])]
        if isinstance(statement, ast.Expr):
            if not returns:
                return [*before, *body]
            if returns == [last] and returns[0].value is None:
                return [*before, *body[:-1]] or [ast.Pass()]
        if (
            isinstance(statement, ast.Assign)
            and returns == [last]
            and returns[0].value is not None
            and _is_simple(statement)
        ):
            return [*before, *body[:-1], ast.Assign(statement.targets, returns[0].value)]
        if not (len(callee.body) == 1 and returns):
            return None
    return _within(statement, callee, name, is_method)


def _is_simple(statement: ast.Assign) -> bool:
    """Its target is evaluated after its value in any case, and depends on nothing."""
    return len(statement.targets) == 1 and (
        isinstance(statement.targets[0], ast.Name)
        or (
            isinstance(statement.targets[0], ast.Attribute)
            and isinstance(statement.targets[0].value, ast.Name)
        )
        or (
            isinstance(statement.targets[0], ast.Tuple)
            and all(isinstance(one, ast.Name) for one in statement.targets[0].elts)
        )
    )


def _ends(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.Return, ast.Raise)):
        return True
    if isinstance(statement, ast.If) and statement.orelse:
        return _ends(statement.body[-1]) and _ends(statement.orelse[-1])
    return False


def _is_call(node: ast.AST | None, name: str, is_method: bool) -> TypeGuard[ast.Call]:
    if not isinstance(node, ast.Call) or node.keywords:
        return False
    if any(isinstance(one, ast.Starred) for one in node.args):
        return False
    if is_method:
        return isinstance(node.func, ast.Attribute) and node.func.attr == name
    return isinstance(node.func, ast.Name) and node.func.id == name


def _given(
    call: ast.Call, callee: ast.FunctionDef, is_method: bool
) -> list[tuple[str, ast.expr]] | None:
    """Pairs of a parameter and its argument; None if a number of arguments is wrong."""
    names = [one.arg for one in callee.args.args]
    values: list[ast.expr] = [call.func.value] if is_method else []  # type: ignore[attr-defined]
    values += call.args
    missing = len(names) - len(values)
    defaults = callee.args.defaults
    if missing < 0 or missing > len(defaults):
        return None
    if missing:
        values += defaults[-missing:]
    if any(not isinstance(one, ast.Constant) for one in defaults):
        return None
    return list(zip(names, values, strict=True))


def _setting(
    call: ast.Call, callee: ast.FunctionDef, is_method: bool
) -> tuple[list[ast.stmt], dict[str, ast.expr]] | None:
    """(assignments before the body, expressions instead of parameters)."""
    pairs = _given(call, callee, is_method)
    if pairs is None:
        return None
    before: list[ast.stmt] = []
    replaced: dict[str, ast.expr] = {}
    for name, value in pairs:
        is_fixed = isinstance(value, ast.Constant) or (
            isinstance(value, ast.Name) and is_local(value.id)
        )
        if is_fixed and not _is_bound(callee, name):
            replaced[name] = value
        else:
            before.append(ast.Assign([ast.Name(name, ast.Store())], value))
    return before, replaced


def _within(
    statement: ast.stmt, callee: ast.FunctionDef, name: str, is_method: bool
) -> list[ast.stmt] | None:
    """The call is part of an expression, and the body is one expression."""
    only = callee.body[0]
    if len(callee.body) != 1 or not isinstance(only, ast.Return) or only.value is None:
        return None
    fields = [
        one for one in ast.iter_child_nodes(statement) if isinstance(one, (ast.expr, ast.withitem))
    ]
    for node in fields:
        for call in _reached(node):
            if _is_call(call, name, is_method):
                setting = _setting(call, callee, is_method)
                if setting is None or setting[0]:
                    return None
                _Put(call, _Replace(setting[1]).visit(only.value)).visit(statement)
                return [statement]
    return None


def _reached(node: ast.AST) -> Iterator[ast.AST]:
    """Every expression, but not those of functions within."""
    yield node
    if isinstance(node, _NESTED):
        return
    for child in ast.iter_child_nodes(node):
        yield from _reached(child)


class _Replace(ast.NodeTransformer):
    """Parameters by their arguments."""

    def __init__(self, values: dict[str, ast.expr]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        value = self._values.get(node.id)
        if value is None:
            return node
        return ast.Name(value.id, node.ctx) if isinstance(value, ast.Name) else value


class _Put(ast.NodeTransformer):
    """One node by another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old = old
        self._new = new

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else self.generic_visit(node)
