"""Shrunk programs do what they did: each is run before and after, on CPython and on MicroPython.

A program is a dictionary of modules; its `firmware.main` returns what is compared.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from needletrail_gateway.workshop import build as building
from needletrail_gateway.workshop import names
from needletrail_gateway.workshop.shrink import shrink

STUBS = Path(sys.prefix) / "stubs"
PORTS = ("esp32", "rp2")
OF_BOARDS = ("machine", "network", "neopixel", "rp2", "micropython", "tls")
RUN = "import sys, json; sys.path[:] = [{!r}] + sys.path; import firmware; "
RUN += "print(json.dumps(firmware.main()))"


class Bench:
    """Where programs are shrunk and run."""

    def __init__(self, folder: Path, micropython: Path) -> None:
        self._folder = folder
        self._interpreters = ([sys.executable], [str(micropython), "-X", "heapsize=1m"])

    def shrink(self, sources: dict[str, str], *own: str, **given: bool) -> dict[str, str]:
        return {one.path: one.source for one in shrink(sources, ("main",), own, given)}

    def same(self, sources: dict[str, str], *own: str) -> dict[str, str]:
        """The shrunk program, after four runs that must agree."""
        small = self.shrink(sources, *own)
        outcomes = [self._run(name, made) for name, made in (("old", sources), ("new", small))]
        assert outcomes[0] == outcomes[1]
        return small

    def _run(self, name: str, sources: dict[str, str]) -> object:
        folder = self._folder / name
        for path, text in sources.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        found = []
        for interpreter in self._interpreters:
            command = [*interpreter, "-c", RUN.format(str(folder))]
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
            assert done.returncode == 0, done.stdout + done.stderr
            found.append(json.loads(done.stdout))
        assert found[0] == found[1]
        assert found[0] is not None
        return found[0]


@pytest.fixture
def bench(tmp_path: Path, micropython: Path) -> Bench:
    return Bench(tmp_path, micropython)


def package(**modules: str) -> dict[str, str]:
    """`firmware`, and modules of the package `pen`."""
    found = {f"pen/{name}.py": text for name, text in modules.items() if name != "firmware"}
    return {"firmware.py": modules["firmware"], "pen/__init__.py": "", **found}


# ---- one file ----


def test_modules_are_one_file_and_mean_what_they_meant(bench: Bench) -> None:
    sources = package(
        firmware="""
from pen import one, two
from pen.two import value as other
from pen.three import again
LIMIT = 3

def value():
    return "firmware"

def main():
    from pen.one import late
    return [value(), one.value(), two.value(), other(), again(), late(), LIMIT, two.LIMIT]
""",
        one="""
import json
from pen import two
LIMIT = 5
def value():
    return json.dumps([LIMIT, two.LIMIT, "one"])
def late():
    value = two.value
    return value()
""",
        two="LIMIT = 7\nTABLE = {}\ndef value():\n    TABLE['n'] = LIMIT\n    return TABLE\n",
        three="from pen.two import value as again\n",
    )
    assert list(bench.same(sources)) == ["firmware.py"]


def test_a_module_that_is_forgotten_stays_a_file_and_takes_along_what_it_alone_uses(
    bench: Bench,
) -> None:
    sources = package(
        firmware="""
import sys
from pen.kinds import Plain

def forget(*names):
    for name in names:
        sys.modules.pop(name)

def main():
    from pen import setup
    made = setup.make()
    forget("pen.setup")
    return [made.size(), isinstance(made, Plain), "pen.setup" in sys.modules]
""",
        setup="""
from pen.kinds import Kept, helper
from pen.only_here import Tool
def make():
    return Kept(helper(Tool().size()))
""",
        kinds="""
class Plain:
    def size(self):
        return 1
class Kept(Plain):
    def __init__(self, n):
        self.n = n
    def size(self):
        return self.n
def helper(n):
    result = n
    for one in range(3):
        result += one
    return result
""",
        only_here="class Tool:\n    def size(self):\n        return len(str(self.__class__)[:3])\n",
    )
    small = bench.same(sources)
    assert set(small) == {"firmware.py", "setup.py"}
    firmware, setup = small["firmware.py"], small["setup.py"]
    assert "range(3)" in setup and "range(3)" not in firmware  # the function went along
    assert "__class__" in setup and "__class__" not in firmware  # and a module's class
    assert firmware.count("class ") == 2  # but none whose objects would keep the file in the heap


def test_what_a_forgotten_module_hands_on_does_not_go_with_it(bench: Bench) -> None:
    sources = package(
        firmware="""
import sys
from pen.clocks import start
def forget(*names):
    for name in names:
        sys.modules.pop(name)
def main():
    from pen import setup
    made, clock = setup.make()
    forget("pen.setup")
    return [made.now(), clock(), start()]
""",
        setup="""
from pen.clocks import once, ticks
def make():
    from pen.kinds import Kept
    return Kept(once()), ticks
""",
        clocks="""
def start():
    return 9
def ticks():
    result = 0
    for one in range(4):
        result += one
    return result
def once():
    result = 1
    for one in range(5):
        result += one
    return result
""",
        kinds="""
class Kept:
    def __init__(self, n):
        self._n = n
    def now(self):
        return self._n
""",
    )
    small = bench.same(sources)
    assert set(small) == {"firmware.py", "setup.py"}
    assert "range(4)" in small["firmware.py"]  # a function that outlives it
    assert "range(5)" in small["setup.py"]  # one that it only calls
    assert "class " in small["firmware.py"]  # what it imports within a function


# ---- constructors ----

SET_UP = """
import sys
from pen import kinds
def forget(*names):
    for name in names:
        sys.modules.pop(name)
def main():
    from pen import setup
    made = setup.make()
    forget("pen.setup")
    return [one.told() for one in made] + [LATER]
"""


def constructors(kinds: str, make: str, main: str = "") -> dict[str, str]:
    """`pen.setup` makes objects of `pen.kinds`, and is forgotten; `main` is what stays."""
    setup = f"from pen.kinds import *\ndef make():\n    return {make}\n"
    names = "A, B" if "class B" in kinds else "A"
    return package(
        firmware=SET_UP.replace("LATER", main or "isinstance(made[0], kinds.A)"),
        setup=setup.replace("*", names),
        kinds=kinds,
    )


ONE = """
class A:
    def __init__(self, n, step=3):
        self.n = n
        self.step = step
        self.seen = []
    def told(self):
        self.seen.append(self.n + self.step)
        return self.seen
"""
DERIVED = """
class Base:
    def __init__(self, call):
        self.call = call
        self.kind = "base"
    def told(self):
        return [self.kind, self.call(2), self.n]
class A(Base):
    def __init__(self, n):
        super().__init__(self.twice)
        self.n = n
    def twice(self, n):
        return n * 2
class B(Base):
    def __init__(self):
        self.n = 9
        super().__init__(abs)
"""


@pytest.mark.parametrize(
    ("kinds", "make"),
    [(ONE, "[A(1), A(2, step=5), A(n=7, step=1)]"), (DERIVED, "[A(4), B()]")],
    ids=["alone", "derived"],
)
def test_a_constructor_goes_where_alone_it_is_called(kinds: str, make: str, bench: Bench) -> None:
    small = bench.same(constructors(kinds, make))
    assert "__init__" not in small["firmware.py"] + small["setup.py"]
    assert small["firmware.py"].count("class ") == kinds.count("class ")
    assert small["setup.py"].count("return") == 1 + kinds.count("def __init__")


@pytest.mark.parametrize(
    ("kinds", "make", "main"),
    [
        (ONE, "[A(1)]", "kinds.A(2).told()"),
        (DERIVED, "[A(4), B()]", "kinds.B().told()"),
        (ONE, "[A(1)]", "[kind(3).told() for kind in (kinds.A,)]"),
        (
            ONE.replace("self.seen = []", "self.seen = [] if n else list()\n        return"),
            "[A(1)]",
            "",
        ),
        (ONE.replace("self.seen = []", "self.call = lambda: n\n        self.seen = []"), "[A(1)]", ""),
    ],
    ids=["made later, too", "a relative made later", "handed about", "returns", "makes a function"],
)
def test_a_constructor_that_can_not_go_stays(kinds: str, make: str, main: str, bench: Bench) -> None:
    small = bench.same(constructors(kinds, make, main))
    found = kinds.count("def __init__")
    assert small["firmware.py"].count("def __init__") == found
    assert "__init__" not in small["setup.py"]


def test_a_class_that_is_asked_for_by_isinstance_still_loses_its_constructor(bench: Bench) -> None:
    small = bench.same(constructors(ONE, "[A(1)]", "isinstance(made[0], kinds.A)"))
    assert "__init__" not in small["firmware.py"]


def test_what_moves_into_a_file_is_not_taken_for_one_of_its_own(bench: Bench) -> None:
    """Two functions of one name: the file's own, asked for as an attribute, and one that came."""
    sources = package(
        firmware=SET_UP.replace("made = setup.make()", "made = [setup.make(2)]")
        .replace("one.told()", "one")
        .replace("LATER", "0"),
        setup="from pen import kinds\ndef make(n):\n    return [kinds.make(), kinds.make() + n]\n",
        kinds="def make():\n    total = 0\n    for one in range(4):\n        total += one\n"
        "    return total\n",
    )
    assert set(bench.same(sources)) == {"firmware.py", "setup.py"}


# ---- what the build knows ----


def test_a_condition_that_the_build_knows_is_decided(bench: Bench) -> None:
    sources = package(
        firmware="IS_PEN = [1]\ndef main():\n    if len(IS_PEN) > 3:\n        return 'rarely'\n"
        "    return 'always' if len(IS_PEN) > 3 else 'else'\n"
    )
    small = bench.shrink(sources, **{"len(IS_PEN) > 3": False})["firmware.py"]
    assert "rarely" not in small and "always" not in small and "else" in small
    assert "rarely" in bench.shrink(sources)["firmware.py"]


@pytest.mark.parametrize("board", ["esp32_s3", building.VIRTUAL])
def test_what_the_build_knows_is_asked(board: str) -> None:
    given = building.IN_A_SLOT if board == building.VIRTUAL else building.ON_A_PEN
    asked = {
        ast.unparse(node.test)
        for text in building.sources(board, building.device_folder()).values()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.If, ast.IfExp))
    }
    assert set(given) <= asked


def test_a_board_s_file_keeps_only_what_is_of_boards(bench: Bench) -> None:
    sources = {
        "firmware.py": """
import sys
def main():
    __import__("boards.one")
    return sys.modules["boards.one"].parts()
""",
        "boards/__init__.py": "",
        "boards/one.py": '__all__ = ("parts",)\nfrom boards import wires\nfrom pen.chip import Chip\n'
        "def parts():\n    return Chip(wires.pin(2)).read()\n",
        "boards/wires.py": "def pin(n):\n    x = 0\n    for y in range(n):\n        x += y + 3\n"
        "    return x\n",
        "pen/__init__.py": "",
        "pen/chip.py": "class Chip:\n    def __init__(self, n):\n        self.n = n\n"
        "    def read(self):\n        return self.n\n",
    }
    small = bench.same(sources, "boards.one")
    assert set(small) == {"firmware.py", "boards/one.py"}
    assert "class " in small["firmware.py"] and "class " not in small["boards/one.py"]
    assert "range(" in small["boards/one.py"] and "range(" not in small["firmware.py"]


def test_two_files_may_not_have_the_same_name(bench: Bench) -> None:
    firmware = "from pen import one\nfrom pen.deep import one as two\n"
    firmware += "def main():\n    return [str(one), str(two)]\n"
    sources = package(firmware=firmware, one="X = 1\n")
    sources |= {"pen/deep/__init__.py": "", "pen/deep/one.py": "Y = 1\n"}
    with pytest.raises(SyntaxError, match="same name"):
        bench.shrink(sources)


def test_what_the_interpreter_decides_is_decided_at_the_build(bench: Bench) -> None:
    small = bench.shrink(
        package(
            firmware="""
import sys
import time
from pen.only import Never, Zero
SIZE = 0
def main():
    if sys.implementation.name != "micropython":
        return Never()
    if SIZE:
        return Zero()
    if not hasattr(time, "ticks_ms"):
        return 0
    made = 1 if hasattr(sys, "print_exception") else 2
    if hasattr(sys, "unheard"):
        made += 3
    return made
""",
            only="class Never:\n    pass\nclass Zero:\n    pass\n",
        )
    )["firmware.py"]
    assert "class" not in small and "implementation" not in small and "hasattr(time" not in small
    assert "print_exception" not in small
    assert "hasattr(sys, 'unheard')" in small  # what is not known is asked


SWAPS = """
try:
    from micropython import heap_lock, heap_unlock
except ImportError:
    def heap_lock():
        pass
    heap_unlock = heap_lock
def sort(a, b, c):
    if a > b:
        a, b = b, a
    a, b, c = c, a, b
    return a * 100 + b * 10 + c
def main():
    found = -1
    heap_lock()
    try:
        found = sort(3, 2, 1) * 1000 + sort(1, 2, 3)
    except MemoryError:
        pass
    heap_unlock()
    return found
"""


def test_a_swap_makes_no_tuple(bench: Bench) -> None:
    """The guard sorts five readings within a hard interrupt, where nothing may be allocated."""
    bench.same({"firmware.py": SWAPS})


def test_a_deleted_function_is_still_a_name(bench: Bench) -> None:
    sources = {
        "firmware.py": "def once():\n    return 3\n\n\ndef main():\n    global once\n"
        "    found = once()\n    del once\n    return [found, 'once' in globals()]\n"
    }
    bench.same(sources)


def test_a_module_that_is_handed_about_stays_a_file(bench: Bench) -> None:
    sources = package(
        firmware="""
from pen import tool, other
def use(module):
    return module.work(2)
def main():
    return [use(tool), tool.work(1), other.work(3)]
""",
        tool="from pen.other import work as base\ndef work(n):\n    return ['tool', base(n)]\n",
        other="def work(n):\n    return n + 1\n",
    )
    assert set(bench.same(sources)) == {"firmware.py", "tool.py"}


def test_a_board_is_a_file_and_hands_on_what_it_says(bench: Bench) -> None:
    sources = {
        "firmware.py": """
import sys
def main():
    __import__("boards.one")
    board = sys.modules["boards.one"]
    return [board.NAME, board.parts(), board.timer()]
""",
        "boards/__init__.py": "",
        "boards/one.py": """
from boards.shared import timer
from boards import shared
__all__ = ("NAME", "parts", "timer")
NAME = "one"
def parts():
    return shared.unit(4)
""",
        "boards/shared.py": """
def timer():
    return unit(5)
def unit(n):
    total = []
    for one in range(n):
        total.append(one)
    return total
""",
    }
    assert set(bench.same(sources, "boards.one")) == {"firmware.py", "boards/one.py"}


def test_the_name_of_a_joined_module_means_its_file(bench: Bench) -> None:
    sources = package(
        firmware="""
LARGE = ("pen.one",)
def main():
    for name in LARGE:
        __import__(name)
    from pen import one
    return one.value()
""",
        one="def value():\n    return [1, 'pen', 'one']\n",
    )
    assert list(bench.same(sources)) == ["firmware.py"]


def test_definitions_on_a_condition_stay_what_they_are(bench: Bench) -> None:
    sources = package(
        firmware="from pen import one\ndef main():\n    return [one.lock() is None, one.two(3)]\n",
        one="""
try:
    from nowhere import lock
except ImportError:
    def lock():
        return None
try:
    import json as two_json
except ImportError:
    two_json = None
def two(n):
    return two_json.loads(str(n))
""",
    )
    bench.same(sources)


# ---- names ----


def test_names_that_never_meet_share_a_word_and_those_that_do_not(bench: Bench) -> None:
    sources = package(
        firmware="""
class Base:
    kind = "base"
    def __init__(self):
        self.first = 1
        self.second = 2
    def total(self):
        return self.first + self.second
class Derived(Base):
    def __init__(self):
        super().__init__()
        self.third = 3
    def total(self):
        return super().total() * 10 + self.third
class Other:
    def __init__(self):
        self.fourth = 4
        self.items = []
    def add(self, one):
        self.items.append(one)
        self.items.append(self.fourth)
        return self.items
class Broken(Exception):
    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason
def told(thing):
    thing.from_outside = 7
    return thing
def named(count=1, *, value_ms=2):
    return [count, value_ms]
def main():
    derived = told(Derived())
    other = told(Other())
    try:
        raise Broken("why")
    except Broken as error:
        caught = [error.reason, error.args[0], str(error)]
    return [derived.total(), derived.first, derived.kind, derived.from_outside, other.add(5),
            other.from_outside, caught, named(value_ms=3), named(4, value_ms=5), Base().total()]
""",
    )
    small = bench.same(sources)["firmware.py"]
    attributes = {node.attr for node in ast.walk(ast.parse(small)) if isinstance(node, ast.Attribute)}
    assert not attributes & {"first", "second", "third", "fourth", "kind", "total", "from_outside"}
    in_rom = {*names.FREE, *names.FOR_PARAMETERS, "__init__"}
    assert attributes - in_rom == {"add", "reason"}  # Python has such names, too


def test_a_name_that_a_text_says_stays(bench: Bench) -> None:
    sources = package(
        firmware="""
class Message:
    def __init__(self):
        self.hidden = 9
ROWS = ("depth_um", "limit_um")
def main():
    message = Message()
    for index, name in enumerate(ROWS):
        setattr(message, name, index)
    return [message.depth_um, message.limit_um, hasattr(message, "depth_um"), message.hidden,
            hasattr(message, "lateness")]
""",
    )
    bench.same(sources)


def test_names_of_python_and_of_boards_stay(bench: Bench) -> None:
    sources = package(
        firmware="""
from array import array
class Dial:
    def __init__(self, out):
        self.out = out
    def read(self):
        self.out.extend(b"ab")
        return self.out.decode()
    def append(self, n):
        return n + 1
    def tick(self):
        return 3
def main():
    numbers = array("H", [1])
    numbers.append(2)
    dial = Dial(bytearray())
    return [dial.read(), dial.append(1), dial.tick(), list(numbers), "{}".format(1), "A".lower()]
""",
    )
    small = bench.same(sources)["firmware.py"]
    assert ".tick(" not in small
    for name in (".read(", ".append(", ".decode(", ".format(", ".lower("):
        assert name in small


def test_what_is_local_hides_nothing(bench: Bench) -> None:
    sources = package(
        firmware="""
from pen import one
def self_named(self, key, value):
    return [self, key, value]
def closures(n):
    count = 0
    def step(by=n):
        nonlocal count
        count += by
        return count
    step()
    step(5)
    return [count, (lambda n, m=2: n * m + count)(3), [n for n in range(n) if n != count]]
TOTAL = 0
def counts():
    global TOTAL
    TOTAL += 2
    return TOTAL
def caught():
    try:
        [][1]
    except IndexError as error:
        return str(type(error).__name__)
def loops(values):
    found = {}
    for key, value in values:
        found[key] = value
    with_walrus = 0
    while (with_walrus := with_walrus + 1) < 4:
        pass
    return [sorted(found.items()), with_walrus, {a: b for a, b in values}, any(one == 2 for one in [2])]
def main():
    step = one.step
    return [self_named(1, 2, 3), closures(4), counts(), counts(), caught(), loops([("a", 1)]), step()]
""",
        one="def step(values=(1, 2)):\n    a, *rest = values\n    del a\n    return list(rest)\n",
    )
    bench.same(sources)


def test_every_word_is_in_micropythons_rom(tmp_path: Path) -> None:
    """mpy-cross writes the number of such a name, never its text."""
    words = [*names.FOR_PARAMETERS, *names.FREE]
    assert len(words) == len(set(words))
    (tmp_path / "words.py").write_text("".join(f"x.{word}\n" for word in words))
    command = [*building.find_compiler(), "-s", "x", "-o", "words.mpy", "words.py"]
    subprocess.run(command, cwd=tmp_path, check=True)
    made = (tmp_path / "words.mpy").read_bytes()
    assert sorted(texts_of(made)) == ["x"]


def texts_of(mpy: bytes) -> list[str]:
    """The names that a .mpy file spells out (MicroPython's documentation, ".mpy files")."""
    at = 4

    def number() -> int:
        nonlocal at
        value = 0
        while True:
            byte = mpy[at]
            at += 1
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value

    found = []
    count = number()
    number()
    for _ in range(count):
        length = number()
        if not length & 1:
            found.append(mpy[at : at + (length >> 1)].decode())
            at += (length >> 1) + 1
    return found


@pytest.mark.parametrize("port", PORTS)
def test_no_name_of_a_boards_own_modules_is_taken_for_ours(port: str) -> None:
    device = building.device_folder()
    bound: set[str] = set()
    for board in building.boards(device):
        for text in building.sources(board, device).values():
            bound |= bindings(ast.parse(text))
    theirs: set[str] = set()
    for module in OF_BOARDS:
        for path in (STUBS / port / f"{module}.pyi", *(STUBS / port / module).glob("*.pyi")):
            theirs |= bindings(ast.parse(path.read_text())) if path.is_file() else set()
    assert len(theirs) > 250
    assert not {one for one in bound & theirs if not one.startswith("_")} - names.of_python()


def bindings(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found - {"TYPE_CHECKING"}


# ---- what is called once ----

INLINED = {
    "a method of another object": """
class A:
    def __init__(self):
        self.n = [1]
    def double(self, k):
        self.n = self.n * k
        self.n.append(k)
class B:
    def __init__(self):
        self.a = A()
    def run(self):
        self.a.double(3)
        return self.a.n
def main():
    return B().run()
""",
    "a tail": """
class A:
    def __init__(self):
        self.n = 0
    def run(self, k):
        if k > 5:
            return -1
        return self._look(k + 1, k)
    def _look(self, a, b):
        for one in range(a):
            if one == 3:
                return [one, b]
        self.n += 1
def main():
    return [A().run(1), A().run(4), A().run(9)]
""",
    "a statement": """
class A:
    def __init__(self):
        self.n = []
    def run(self, k):
        for one in range(k):
            self._note(one, self.n)
            one = 100
        return self.n
    def _note(self, one, out):
        one += 1
        out.append(one)
def main():
    return A().run(3)
""",
    "a value": """
def half(n, base=10):
    n = n // 2
    return n + base
def main():
    n = 8
    result = half(n)
    return [n, result]
""",
    "an expression": """
def over(a, b):
    return a > b or b == 9
def main():
    found = []
    for one in (1, 9, 5):
        if over(4, one):
            found.append(one)
    return found
""",
    "within try": """
def risky(n):
    if n:
        raise ValueError("no")
    return "fine"
def run(n):
    try:
        return risky(n)
    except ValueError:
        return "caught"
    finally:
        DONE.append(n)
DONE = []
def main():
    return [run(0), run(1), DONE]
""",
}


@pytest.mark.parametrize("what", sorted(INLINED))
def test_what_is_called_once_goes_where_it_is_called(what: str, bench: Bench) -> None:
    before = INLINED[what].count("def ")
    small = bench.same(package(firmware=INLINED[what]))["firmware.py"]
    assert small.count("def ") == before - 1


LEFT = {
    "a name that other objects have": """
class A:
    def append(self, n):
        return n + 1
    def other(self):
        return 5
def main():
    found = []
    found.append(3)
    return [found, A().other(), A().other()]
""",
    "an early return": """
def note(out, n):
    if n == 1:
        return
    out.append(n)
def main():
    out = []
    for one in range(3):
        note(out, one)
    return out
""",
    "two callers": """
def one(out):
    out.append(1)
    out.append(2)
def main():
    out = []
    one(out)
    one(out)
    return out
""",
    "an override": """
class A:
    def run(self):
        return self._name()
    def _name(self):
        return "a"
class B(A):
    def _name(self):
        return "b"
def main():
    return [A().run(), B().run()]
""",
    "a class of others": """
class Words(Exception):
    def text(self):
        return self._make()
    def _make(self):
        return "made"
def main():
    return Words().text()
""",
    "a generator": """
def numbers():
    for one in (1, 2):
        yield one
def main():
    return list(numbers())
""",
    "an argument that must be evaluated first": """
LOG = []
def said(n):
    LOG.append(n)
    return n
def second(a, b):
    return b if a else LOG
def main():
    return [LOG[:], second(said(1), said(2)), LOG]
""",
    "a callback": """
class A:
    def __init__(self):
        self.call = self._work
    def _work(self):
        return 3
def main():
    return A().call()
""",
    "a function that is itself": """
def down(n):
    return 0 if n == 0 else down(n - 1)
def main():
    again = down
    return again(3)
""",
}


@pytest.mark.parametrize("what", sorted(LEFT))
def test_what_can_not_go_there_stays(what: str, bench: Bench) -> None:
    before = LEFT[what].count("def ")
    small = bench.same(package(firmware=LEFT[what]))["firmware.py"]
    assert small.count("def ") == before


def test_a_coroutine_keeps_nothing_alive_that_a_function_would_let_go(bench: Bench) -> None:
    sources = package(
        firmware="""
import asyncio
def work(out):
    big = [1] * 5
    out.append(len(big))
async def run():
    out = []
    work(out)
    await asyncio.sleep(0)
    return out
def main():
    return asyncio.run(run())
""",
    )
    assert bench.same(sources)["firmware.py"].count("def ") == 3


# ---- what is refused ----


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import pen.one\ndef main():\n    return pen.one.x()\n", "from … import"),
        (
            "def main():\n    try:\n        main.x\n    except AttributeError:\n        return 1\n",
            "AttributeError",
        ),
        ("class A:\n    n = 1\n    m = n\ndef main():\n    return A.m\n", "own names"),
        ("from pen import one\ndef main():\n    one.x = 3\n    return one.x\n", "assigned to"),
    ],
)
def test_what_it_can_not_see_through_is_refused(text: str, why: str, bench: Bench) -> None:
    with pytest.raises(SyntaxError, match=why):
        bench.shrink(package(firmware=text, one="x = [1]\n"))


# ---- the firmware itself ----


@pytest.mark.parametrize("board", ["esp32_s3", building.VIRTUAL])
def test_a_boards_firmware_is_shrunk_the_same_way_twice(board: str) -> None:
    sources = building.sources(board, building.device_folder())
    own = (f"boards.{board}",)
    given = building.IN_A_SLOT if board == building.VIRTUAL else building.ON_A_PEN
    first, again = (shrink(sources, building.ROOTS, own, given) for _ in range(2))
    assert first == again
    assert {"firmware.py", f"boards/{board}.py"} <= {one.path for one in first}
    modules = {module for one in first for module, _ in one.parts}
    assert {"firmware", "needletrail_device.uplink", "needletrail_protocol.cbor"} <= modules
