"""Constructors that only passing files call leave their class, and are forgotten with those files.

Most objects of a pen are made once, while it starts, by files that are forgotten then (link). But a
constructor in a class stays as long as the class does. So it becomes a function of its own, which goes
where alone it is called:

    class A:                                  class A: …
        def __init__(self, n): …              def init(self, n): …; return self
    A(3)                                      init(A(), 3)

`take_out` does so for every class for which it is sound, and after everything has found its file,
`put_back` undoes it for those that stay in the heap anyway. Sound is: the class and its relatives are
all ours; its name is only called, or a base, or asked for by isinstance; the constructor returns
nothing, makes no function, and calls its base's constructor, if any, as a statement
`super().__init__(…)`. Relatives stay together.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from needletrail_gateway.workshop.files import File, Statement
from needletrail_gateway.workshop.scopes import COMPREHENSIONS, FUNCTIONS, is_local, walk

_NAME = "init_"
_FORBIDDEN = (*FUNCTIONS, *COMPREHENSIONS, ast.Lambda, ast.Return, ast.Yield, ast.YieldFrom, ast.Await)


@dataclass
class Constructor:
    """One that was taken out: where from, what it is now, and the calls that were changed."""

    owner: ast.ClassDef
    at: int
    made: Statement
    family: str
    calls: list[ast.Call] = field(default_factory=list)
    supers: list[tuple[ast.Call, ast.expr]] = field(default_factory=list)  # and what it called before


def constructed(name: str) -> str:
    """The class whose constructor was taken out under this name; "" if the name is none of these."""
    return name.removeprefix(_NAME) if name.startswith(_NAME) and " " in name else ""


def take_out(files: list[File]) -> list[Constructor]:
    """Every constructor that may leave its class, in the joined file behind the class."""
    joined = files[0]
    classes = {one.node.name: one for one in joined.statements if isinstance(one.node, ast.ClassDef)}
    families = _families(classes)
    spoilt = {families[name] for name in _handed_about(files) if name in families}
    for name, one in classes.items():
        if not _is_plain(_class(one)):
            spoilt.add(families[name])
    taken: dict[str, Constructor] = {}
    for name, one in classes.items():
        found = None if families[name] in spoilt else _own(_class(one))
        if found is not None:
            taken[name] = made = _take(one, found, families[name])
            joined.statements.insert(joined.statements.index(one) + 1, made.made)
    for made in taken.values():
        _name_bases(made, taken, classes)
    for call in _calls(files):
        assert isinstance(call.func, ast.Name)
        name = call.func.id
        if name in families and families[name] not in spoilt:
            owner = _inherited(name, taken, classes)
            if owner is not None:
                taken[owner].calls.append(call)
                call.args.insert(0, ast.Call(ast.Name(name, ast.Load()), [], []))
                call.func = ast.Name(_NAME + owner, ast.Load())
    return list(taken.values())


def put_back(files: list[File], taken: Iterable[Constructor]) -> None:
    """Those that are in the joined file still, and their relatives, become methods again."""
    stays = {id(one) for one in files[0].statements}
    families = {one.family for one in taken if id(one.made) in stays}
    gone = set()
    for one in taken:
        if one.family not in families:
            continue
        gone.add(id(one.made))
        node = one.made.node
        assert isinstance(node, ast.FunctionDef)
        node.name = "__init__"
        node.body.pop()
        one.owner.body.insert(one.at, node)
        for call in one.calls:
            first = call.args.pop(0)
            assert isinstance(first, ast.Call)
            call.func = first.func
        for call, before in one.supers:
            call.args.pop(0)
            call.func = before
    for file in files:
        file.statements = [one for one in file.statements if id(one) not in gone]


def _take(one: Statement, at: int, family: str) -> Constructor:
    owner = _class(one)
    node = owner.body.pop(at)
    assert isinstance(node, ast.FunctionDef)
    owner.body = owner.body or [ast.Pass()]
    node.name = _NAME + owner.name
    node.body.append(ast.Return(ast.Name(node.args.args[0].arg, ast.Load())))
    made = Statement(one.module, node, frozenset((node.name,)), True)
    return Constructor(owner, at, made, family)


def _class(one: Statement) -> ast.ClassDef:
    assert isinstance(one.node, ast.ClassDef)
    return one.node


def _families(classes: dict[str, Statement]) -> dict[str, str]:
    """Name of a class: of its family's head."""
    head = {name: name for name in classes}

    def of(name: str) -> str:
        while head[name] != name:
            name = head[name]
        return name

    for name, one in classes.items():
        for base in _class(one).bases:
            if isinstance(base, ast.Name) and base.id in classes:
                head[of(name)] = of(base.id)
    return {name: of(name) for name in classes}


def _is_plain(node: ast.ClassDef) -> bool:
    """Whether the class may lose its constructor, as far as it goes itself."""
    is_ours = all(isinstance(base, ast.Name) and " " in base.id for base in node.bases)
    if not is_ours or len(node.bases) > 1 or node.decorator_list or node.keywords:
        return False
    at = _own(node)
    if at is None:
        return True
    made = node.body[at]
    assert isinstance(made, ast.FunctionDef)
    inner = [one for part in made.body for one in walk(part)]
    if made.decorator_list or any(isinstance(one, _FORBIDDEN) for one in inner):
        return False
    if made.args.vararg or made.args.kwarg or made.args.posonlyargs or not made.args.args:
        return False
    if not all(isinstance(one, ast.Constant) for one in made.args.defaults):
        return False
    supers = [one for one in inner if isinstance(one, ast.Name) and one.id == "super"]
    return len(supers) == len(list(_supers(made))) and is_local(made.args.args[0].arg)


def _own(node: ast.ClassDef) -> int | None:
    for index, one in enumerate(node.body):
        if isinstance(one, ast.FunctionDef) and one.name == "__init__":
            return index
    return None


def _supers(node: ast.FunctionDef) -> Iterator[ast.Call]:
    """`super().__init__(…)`, where that is a statement."""
    for one in walk(node):
        call = one.value if isinstance(one, ast.Expr) else None
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "__init__"
            and ast.unparse(call.func.value) == "super()"
        ):
            yield call


def _name_bases(
    made: Constructor, taken: dict[str, Constructor], classes: dict[str, Statement]
) -> None:
    """`super().__init__(…)` becomes a call of the base's constructor by name."""
    node = made.made.node
    assert isinstance(node, ast.FunctionDef)
    for call in list(_supers(node)):
        base = made.owner.bases[0] if made.owner.bases else None
        owner = _inherited(base.id, taken, classes) if isinstance(base, ast.Name) else None
        made.supers.append((call, call.func))
        call.args.insert(0, ast.Name(node.args.args[0].arg, ast.Load()))
        call.func = ast.Name("bool" if owner is None else _NAME + owner, ast.Load())


def _inherited(name: str, taken: dict[str, Constructor], classes: dict[str, Statement]) -> str | None:
    """The class, this one or its nearest base, that has a constructor; None if none has."""
    while name in classes:
        if name in taken:
            return name
        bases = _class(classes[name]).bases
        if not bases:
            return None
        base = bases[0]
        assert isinstance(base, ast.Name)
        name = base.id
    return None


def _handed_about(files: list[File]) -> set[str]:
    """Names that are used otherwise than to call, to inherit from, or to ask for by isinstance."""
    found: set[str] = set()
    for file in files:
        found |= file.handed_on
        for one in file.statements:
            allowed = set()
            for node in walk(one.node):
                if isinstance(node, ast.Call):
                    allowed.add(id(node.func))
                    if isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                        allowed.add(id(node.args[1]))
                elif isinstance(node, ast.ClassDef):
                    allowed.update(map(id, node.bases))
            for node in walk(one.node):
                if isinstance(node, ast.Name) and id(node) not in allowed:
                    found.add(node.id)
                elif isinstance(node, ast.alias):
                    found.update((node.name, node.asname or ""))
    return found


def _calls(files: list[File]) -> Iterator[ast.Call]:
    for file in files:
        for one in file.statements:
            for node in list(walk(one.node)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    yield node
