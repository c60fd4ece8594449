"""Join modules that stay in a pen's heap anyway: one table of names instead of fifty.

Every module costs a dictionary, a table of names and a name for each thing that others import from it.
So all modules become one file, `firmware`, but for those that must be files of their own: a board's,
those that the firmware forgets when they have done their work, and any that is handed about as a value.
They take what they need from `firmware`, which is loaded before them. A definition that one of them
alone uses goes there, and is forgotten with it; but no class that its module has for others, too, and
no function that it hands on: what is made of them would outlive the file, and keep all of it in the
heap. Nor does anything go there of a module that a forgotten one imports within a function: that is
what it puts together for the others. A board's file is forgotten, too: it keeps only what is of boards.

What is relied on, and refused with SyntaxError where it is not so: nothing assigns to another module's
names; no star imports; a module is imported by `from … import …`. A text that is the full name of a
joined module means the file that it is now in. Order within a file: first what others need while they
load.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from needletrail_gateway.workshop.constructors import put_back, take_out
from needletrail_gateway.workshop.files import File, Statement
from needletrail_gateway.workshop.scopes import FUNCTIONS, is_local, walk

JOINED = "firmware"
FORGET = "forget"  # what the firmware calls with the names of modules that have done their work
_BOARDS = "boards."


def link(
    modules: Mapping[str, ast.Module],
    roots: set[str],
    own: Iterable[str],
    exports: Mapping[str, set[str]],
) -> list[File]:
    """The files, `firmware` first. The modules' trees are used up: their local names are separate.

    `roots`: names that something outside asks for. `own`: modules that it asks for.
    `exports`: what a module says in its `__all__`.
    """
    passing = _forgotten(modules) | set(own)
    apart = (passing | _chosen(modules) | _values(modules)) - {JOINED}
    linker = _Linker(modules, apart, passing, exports)
    files = linker.files()
    taken = take_out(files)
    _settle(files, roots, passing)
    put_back(files, taken)
    for file in files:
        _import_from_elsewhere(file, files, linker.outside)
    files = [file for file in files if file.statements]
    _flatten(files, apart)
    return files


# ---- a file's name ----


def _flatten(files: list[File], apart: set[str]) -> None:
    """Files lie beside `firmware`, by their last name: a package is a module more, and long names."""
    names = {one: one.rpartition(".")[2] for one in sorted(apart) if not one.startswith(_BOARDS)}
    if len(set(names.values()) | {JOINED}) <= len(names):
        raise SyntaxError(f"two of these have the same name: {', '.join(names)}")
    flattener = _Flattener(names)
    for file in files:
        file.name = names.get(file.name, file.name)
        for one in file.statements:
            one.node = flattener.visit(one.node)


class _Flattener(ast.NodeTransformer):
    """Imports and texts follow."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.stmt]:
        module = node.module or ""
        node.module = self._names.get(module, module)
        made: list[ast.stmt] = []
        for alias in list(node.names):
            flat = self._names.get(f"{module}.{alias.name}")
            if flat is not None:
                node.names.remove(alias)
                bound = alias.asname or alias.name
                made.append(ast.Import([ast.alias(flat, None if bound == flat else bound)]))
        made += [node] if node.names else []
        return made if len(made) > 1 else made[0]

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            node.value = self._names.get(node.value, node.value)
        return node


# ---- which modules stay apart ----


def _forgotten(modules: Mapping[str, ast.Module]) -> set[str]:
    return {
        argument.value
        for tree in modules.values()
        for node in walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == FORGET
        for argument in node.args
        if isinstance(argument, ast.Constant)
        and isinstance(argument.value, str)
        and argument.value in modules
    }


def _chosen(modules: Mapping[str, ast.Module]) -> set[str]:
    """Modules in the boards' folder that a function imports: one of them, or none, is loaded."""
    found = set()
    for tree in modules.values():
        for node in walk(tree):
            if isinstance(node, ast.ImportFrom) and node not in tree.body and node.module:
                for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                    if name in modules and name.startswith(_BOARDS):
                        found.add(name)
    return found


def _values(modules: Mapping[str, ast.Module]) -> set[str]:
    """Modules that are used otherwise than by `module.name`."""
    found = set()
    for tree in modules.values():
        names = {}
        for node in walk(tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if f"{node.module}.{alias.name}" in modules:
                        names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        used = {
            id(node.value)
            for node in walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
        }
        for node in walk(tree):
            if isinstance(node, ast.Name) and node.id in names and id(node) not in used:
                found.add(names[node.id])
    return found


# ---- one name for each thing ----


class _Linker:
    def __init__(
        self,
        modules: Mapping[str, ast.Module],
        apart: set[str],
        passing: set[str],
        exports: Mapping[str, set[str]],
    ) -> None:
        self._modules = modules
        self._passing = passing
        self._exports = exports
        self._apart = apart
        self.outside: dict[str, ast.stmt] = {}  # name that a file binds: the import that binds it
        self._order = list(_by_need(modules))
        # For each module: what its names stand for. A text is a unique name, a Module a module.
        self._meanings: dict[str, dict[str, str | _Module]] = {}

    def files(self) -> list[File]:
        files = {JOINED: File(JOINED)}
        homes = self._homes()
        for name in self._order:
            self._meanings[name] = {}
            self._define(name)
        for name in self._order:
            self._define_within(name)
        for name in self._order:
            for file in (name if name in self._apart else JOINED, homes[name]):
                files.setdefault(file, File(file))
            for one in self._statements(name):
                one.home = homes[name]
                files[JOINED if one.is_free else homes[name]].statements.append(one)
        for name in self._apart:
            for word in self._exports.get(name, ()):
                meaning = self._meaning(name, word)
                if isinstance(meaning, str) and meaning != self._unique(name, word):
                    files[name].handed_on.add(meaning)
        return list(files.values())

    def _homes(self) -> dict[str, str]:
        """For each module the one file that alone needs it, or the joined one."""
        places: dict[str, set[str]] = {name: set() for name in self._modules}
        for file in (*self._apart, JOINED):
            waiting = [file]
            if file == JOINED:
                waiting += [one for name in self._passing for one in self._lasting(name)]
            while waiting:
                name = waiting.pop()
                if file in places[name] or (name in self._apart and name != file):
                    continue
                places[name].add(file)
                needs = {*self._needs(name, True), *self._needs(name, False)}
                if file in self._passing:
                    needs -= set(self._lasting(name))
                waiting += needs
        return {
            name: next(iter(found)) if len(found) == 1 else JOINED for name, found in places.items()
        }

    def _lasting(self, name: str) -> Iterator[str]:
        """What a module that is to be forgotten imports for what outlives it.

        A board's file: all but the boards' own. Others: what they import within functions.
        """
        if name.startswith(_BOARDS):
            yield from (one for one in self._needs(name, True) if not one.startswith(_BOARDS))
        else:
            yield from self._needs(name, False)

    def _needs(self, name: str, is_top: bool) -> Iterator[str]:
        """The modules that one imports, at its top or within its functions."""
        tree = self._modules[name]
        for node in walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and (node in tree.body) == is_top:
                for one in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                    if one in self._modules:
                        yield one

    def _unique(self, module: str, name: str) -> str:
        return f"{name} {module}"

    def _define(self, module: str) -> None:
        meanings = self._meanings[module]
        for node in self._modules[module].body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self._import(node, meanings)
            else:
                for name in _bound_at_top(node):
                    meanings[name] = self._unique(module, name)

    def _define_within(self, module: str) -> None:
        top = self._modules[module].body
        for node in walk(self._modules[module]):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and node not in top:
                self._import_within(node, self._meanings[module])

    def _import(self, node: ast.Import | ast.ImportFrom, meanings: dict[str, "str | _Module"]) -> None:
        """An import at a module's top."""
        for alias in list(node.names):
            bound = alias.asname or alias.name
            meaning = self._ours(node, alias)
            if meaning is None:
                if isinstance(node, ast.Import):
                    if alias.name.split(".")[0] in {one.split(".")[0] for one in self._modules}:
                        raise SyntaxError(f"import {alias.name}: say from … import …")
                    self.outside[bound.split(".")[0]] = ast.Import([alias])
                    meanings[bound.split(".")[0]] = bound.split(".")[0]
                else:
                    self.outside[bound] = ast.ImportFrom(node.module, [alias], node.level)
                    meanings[bound] = bound
            else:
                meanings[bound] = meaning

    def _import_within(
        self, node: ast.Import | ast.ImportFrom, meanings: dict[str, "str | _Module"]
    ) -> None:
        """An import in a function: its name is separate. Of a module apart it stays where it is."""
        for alias in list(node.names):
            meaning = self._ours(node, alias)
            if meaning is None:
                continue
            if isinstance(meaning, _Module) and meaning.name in self._apart:
                continue
            if isinstance(node, ast.ImportFrom) and node.module in self._apart:
                alias.asname = alias.asname or alias.name
                alias.name = str(meaning)
                continue
            meanings[alias.asname or alias.name] = meaning
            node.names.remove(alias)

    def _ours(self, node: ast.Import | ast.ImportFrom, alias: ast.alias) -> "str | _Module | None":
        """What an imported name stands for, or None if it is nothing of ours."""
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            return None
        whole = f"{node.module}.{alias.name}"
        if whole in self._modules:
            return _Module(whole)
        if node.module not in self._modules:
            return None
        if node.module in self._apart:
            return self._unique(node.module, alias.name)
        if alias.name not in self._meanings[node.module]:
            return None  # a module that is not built in
        return self._meaning(node.module, alias.name)

    def _meaning(self, module: str, name: str) -> "str | _Module":
        try:
            return self._meanings[module][name]
        except KeyError:
            raise SyntaxError(f"{module} has no {name}, or gets it too late") from None

    def _statements(self, module: str) -> Iterator[Statement]:
        rewriter = _Rewriter(self, self._meanings[module])
        for node in self._modules[module].body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            names = frozenset(str(self._meanings[module][one]) for one in _bound_at_top(node))
            made = rewriter.visit(node)
            is_free = isinstance(node, (*FUNCTIONS, ast.ClassDef)) or (
                isinstance(node, ast.Assign) and not any(map(_is_effect, walk(node.value)))
            )
            is_free = is_free and not getattr(node, "decorator_list", None)
            yield Statement(module, made, names, is_free and module not in self._apart)

    def attribute(self, module: str, name: str) -> str | None:
        """The unique name of a joined module's `name`; None: it is reached through the module."""
        if module in self._apart:
            return None
        meaning = self._meaning(module, name)
        if isinstance(meaning, _Module):
            raise SyntaxError(f"{module}.{name} is a module")
        return meaning

    def text(self, value: str) -> str:
        """A text, or where the joined module is that it names."""
        is_joined = "." in value and value in self._modules and value not in self._apart
        return JOINED if is_joined else value


@dataclass(frozen=True)
class _Module:
    name: str


class _Rewriter(ast.NodeTransformer):
    """Every name of a module becomes the unique one."""

    def __init__(self, linker: _Linker, meanings: Mapping[str, str | _Module]) -> None:
        self._linker = linker
        self._meanings = meanings

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name):
            meaning = self._meanings.get(node.value.id)
            if isinstance(meaning, _Module):
                if not isinstance(node.ctx, ast.Load):
                    raise SyntaxError(f"line {node.lineno}: another module's name is assigned to")
                name = self._linker.attribute(meaning.name, node.attr)
                if name is not None:
                    return ast.copy_location(ast.Name(name, node.ctx), node)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        meaning = self._meanings.get(node.id)
        if isinstance(meaning, _Module):
            node.id = f"{meaning.name.rpartition('.')[2]} {meaning.name}"
        elif meaning is not None:
            node.id = meaning
        return node

    def visit_Global(self, node: ast.Global) -> ast.AST:
        node.names = [str(self._meanings.get(one, one)) for one in node.names]
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            node.value = self._linker.text(node.value)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._definition(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._definition(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        own = [one for one in node.body if isinstance(one, (*FUNCTIONS, ast.ClassDef))]
        names = [one.name for one in own]
        targets = [
            (one, one.id)
            for statement in node.body
            if not isinstance(statement, (*FUNCTIONS, ast.ClassDef))
            for one in walk(statement)
            if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load)
        ]
        made = self._definition(node)
        for inner, name in zip(own, names, strict=True):
            inner.name = name
        for target, name in targets:
            target.id = name
        return made

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        node.name = str(self._meanings.get(node.name, node.name))
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        self.generic_visit(node)
        return node if node.names else None

    def visit_alias(self, node: ast.alias) -> ast.AST:
        meaning = self._meanings.get(node.asname or node.name)
        if isinstance(meaning, str) and " " in meaning and not is_local(meaning):
            node.asname = meaning
        return node


def _bound_at_top(node: ast.AST) -> Iterator[str]:
    """Names that a module's own statement binds."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).split(".")[0]
    else:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load) and not is_local(node.id):
            yield node.id
        for child in ast.iter_child_nodes(node):
            yield from _bound_at_top(child)


def _is_effect(node: ast.AST) -> bool:
    return isinstance(node, (ast.Call, ast.Await, ast.Yield, ast.YieldFrom))


def _by_need(modules: Mapping[str, ast.Module]) -> Iterator[str]:
    """Each module after those that it imports at its top."""
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> Iterator[str]:
        if name in done or name in above:
            return
        for node in modules[name].body:
            if isinstance(node, ast.ImportFrom) and node.module:
                for one in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                    if one in modules:
                        yield from visit(one, (*above, name))
        done.add(name)
        yield name

    for name in sorted(modules):
        yield from visit(name, ())


# ---- what goes where ----


def _used(node: ast.AST) -> set[str]:
    return {one.id for one in walk(node) if isinstance(one, ast.Name)}


def _called(node: ast.AST) -> set[str]:
    """Names that are only called here, never handed on as a value."""
    calls = [one.func for one in walk(node) if isinstance(one, ast.Call)]
    functions = {id(one) for one in calls}
    names = [one for one in walk(node) if isinstance(one, ast.Name)]
    return {one.id for one in names} - {one.id for one in names if id(one) not in functions}


def _settle(files: list[File], roots: set[str], passing: set[str]) -> None:
    """Definitions of the joined file go where alone they are used; those nobody uses go altogether."""
    joined = files[0]
    bindings = {name: one for one in joined.statements for name in one.binds}
    users: dict[int, set[str]] = {}
    kept: set[int] = set()

    def use(node: ast.AST, file: str) -> None:
        waiting = [(node, file)]
        while waiting:
            user, place = waiting.pop()
            called = _called(user)
            for name in _used(user):
                found = bindings.get(name)
                if found is None:
                    continue
                at = place
                is_lasting = isinstance(found.node, ast.ClassDef) or name not in called
                if is_lasting and place in passing and found.home != place:
                    at = JOINED
                places = users.setdefault(id(found), set())
                if at not in places:
                    places.add(at)
                    kept.add(id(found))
                    waiting.append((found.node, at))

    for file in files:
        for one in file.statements:
            is_root = not one.is_free or any(name.split(" ")[0] in roots for name in one.binds)
            if file is not joined:
                use(one.node, file.name)
                for name in file.handed_on:
                    use(ast.Name(name, ast.Load()), file.name)
            elif is_root:
                users.setdefault(id(one), set()).add(JOINED)
                kept.add(id(one))
                use(one.node, JOINED)
    moved: dict[str, list[Statement]] = {}
    stay = []
    for one in joined.statements:
        places = users.get(id(one), set())
        if one.is_free and len(places) == 1 and JOINED not in places:
            moved.setdefault(next(iter(places)), []).append(one)
        elif id(one) in kept:
            stay.append(one)
    joined.statements = stay
    for file in files[1:]:
        file.statements = moved.get(file.name, []) + file.statements


def _import_from_elsewhere(file: File, files: list[File], outside: Mapping[str, ast.stmt]) -> None:
    """The import statements that a file needs, each before what needs it first.

    So `firmware` has what another file takes from it before it asks for that file.
    """
    own = {name for one in file.statements for name in one.binds}
    homes = {name: other.name for other in files for one in other.statements for name in one.binds}
    users = [(_used(one.node), index) for index, one in enumerate(file.statements)]
    first: dict[str, int] = {name: 0 for name in file.handed_on}
    for names, index in reversed(users):
        first.update((name, index) for name in names)
    made: list[tuple[int, ast.stmt]] = []
    elsewhere: dict[str, list[str]] = {}
    for name in sorted(first.keys() - own):
        bound, _, module = name.partition(" ")
        if name in outside:
            made.append((0, outside[name]))
        elif name in homes:
            elsewhere.setdefault(homes[name], []).append(name)
        elif module and not is_local(name):  # a module apart, by its own name
            package = module.rpartition(".")[0]
            made.append((first[name], ast.ImportFrom(package, [ast.alias(bound, name)], 0)))
    for home, taken in sorted(elsewhere.items()):
        at = min(first[name] for name in taken)
        made.append((at, ast.ImportFrom(home, [ast.alias(name) for name in taken], 0)))
    for at, node in sorted(made, key=lambda one: -one[0]):
        file.statements.insert(
            at, Statement(file.statements[at].module if file.statements else "", node)
        )
