"""Short names, and few of them: a name that any MicroPython has in ROM costs a pen nothing.

A name costs a pen its text, an entry in a table, and two bytes in each file that uses it. Some hundred
and fifty words are in every MicroPython's own table, in ROM, for they are part of the .mpy format. So
our names become such words: one word serves for as many of our names as never meet.

An attribute's name goes by name, never by guesses about types. It may change if this program binds it,
and if nothing else could mean it: no attribute of Python's own objects or of a board's modules is
called so, no text says it, no call gives a parameter by it. Two of them may become the same word if no
object has both: an object has the names that its class and its class's relatives bind, by a definition
or by `self.name = …`. A name that is given to an object from outside could be anybody's, so it shares
with none.

The rules that the firmware keeps so that this is sound: nothing asks by AttributeError whether
something has a name; nothing of our own is reached by a computed name.
"""

import ast
import asyncio
import builtins
import io
import json
import os
import random
import select
import socket
import ssl
import struct
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import count, product
from keyword import iskeyword
from string import ascii_lowercase

from needletrail_gateway.workshop.constructors import constructed
from needletrail_gateway.workshop.files import File
from needletrail_gateway.workshop.scopes import FUNCTIONS, is_local, parameters, walk

# In ROM everywhere: names of the .mpy format. First those for parameters, in their order.
_FOR_PARAMETERS = "self key value index count step sep end start stop args items get set"
_FREE = """
id pop read next open send find join keys copy sort clear close format insert append extend remove
replace reverse update values write lower upper split strip throw main little locals dir map sum hash
round repr print abs all any rfind rindex lstrip rstrip rsplit readinto readline popitem setdefault
startswith endswith from_bytes to_bytes isalpha isdigit islower isspace isupper builtins bytecode
micropython callable classmethod staticmethod issubclass divmod eval exec globals iter object ord chr
pow super hasattr getattr setattr isinstance sorted bool bytes bytearray dict int len list range str
tuple type zip ArithmeticError AssertionError AttributeError BaseException EOFError Ellipsis Exception
GeneratorExit ImportError IndentationError IndexError KeyError KeyboardInterrupt LookupError MemoryError
NameError NoneType NotImplementedError OSError OverflowError RuntimeError StopIteration SyntaxError
SystemExit TypeError ValueError ZeroDivisionError
"""
# What boards' modules call theirs, and MicroPython's own modules where they differ from CPython's.
_OF_BOARDS = """
ADC I2C PWM Pin RTC SPI SoftI2C SoftSPI TouchPad Timer UART WDT PCNT Counter Encoder Partition NeoPixel
WLAN IF_STA STA_IF AP_IF IN OUT OPEN_DRAIN ANALOG PULL_UP PULL_DOWN IRQ_RISING IRQ_FALLING ONE_SHOT
PERIODIC ATTN_0DB ATTN_2_5DB ATTN_6DB ATTN_11DB MSB LSB atten width active bitstream boot callback chain
config config_touch connect country deepsleep deinit disable_irq disconnect duty duty_ns duty_u16
enable_irq feed fill filter freq hostname id idle ifconfig info init invert ipconfig irq isconnected
lightsleep max mem_alloc mem_free mem_info min mode off on opt_level period power pull put get machine
network neopixel rp2 esp esp32 read read_u16 read_uv readfrom readfrom_into readfrom_mem
readfrom_mem_into readinto reset reset_cause resume scan schedule settime sleep_ms sleep_us start status
stop stepping alloc_emergency_exception_buf ticks_add ticks_diff ticks_ms ticks_us toggle trigger
unique_id value wait write write_readinto writeto writeto_mem writevto gc_collect threshold collect
statvfs urandom sync mount umount ilistdir implementation print_exception ntptime host verify_mode
load_verify_locations wrap_socket PROTOCOL_TLS_CLIENT CERT_REQUIRED pixels buf bpp timeout_char timing
state_machine rx_fifo tx_fifo restart exec exit IDLE alarm board high low shift channel heap_lock
heap_unlock out word pin
"""
FOR_PARAMETERS = tuple(_FOR_PARAMETERS.split())
FREE = tuple(_FREE.split())
OF_BOARDS = frozenset(_OF_BOARDS.split())
_INTERNED = 10  # mpy-cross makes a name of any text up to this length
_ONE_BYTE = 120  # of 128: the names of the file and the module come first, and what stands at the top


def of_python() -> set[str]:
    """Attributes of Python's own objects, as far as a firmware can meet them."""
    things: list[object] = [
        *(asyncio, io, json, os, random, select, socket, ssl, struct, sys, time, builtins),
        *(array("I"), sha256(), io.BytesIO(), io.StringIO(), sys.stdout, socket.socket),
        *(asyncio.Task, asyncio.StreamReader, asyncio.StreamWriter, asyncio.Event, asyncio.Lock),
        *(ssl.SSLContext, struct.Struct, os.stat_result),
        *(getattr(builtins, name) for name in dir(builtins)),
    ]
    return {name for one in things for name in dir(one)} | OF_BOARDS


def shorten(files: list[File], roots: set[str]) -> None:
    """Rename what is ours, in all files at once. Local names must be separate (scopes, link)."""
    trees = [one.node for file in files for one in file.statements]
    attributes = _Attributes(files, roots)
    for file in files:
        for one in file.statements:
            _check(one.node)
    names = attributes.names()
    globals_ = _globals(files, attributes, names)
    for tree in trees:
        _Rename(attributes, names, globals_).visit(tree)
    for tree in trees:
        _name_locals(tree)


def _check(tree: ast.AST) -> None:
    for node in walk(tree):
        if not isinstance(node, ast.ExceptHandler) or node.type is None:
            continue
        if "AttributeError" in {one.id for one in walk(node.type) if isinstance(one, ast.Name)}:
            raise SyntaxError(f"line {node.lineno}: AttributeError says nothing in a shrunk firmware")


# ---- attributes ----


class _Attributes:
    """Every attribute's name: where it is bound, and whether it may change."""

    def __init__(self, files: list[File], roots: set[str]) -> None:
        trees = [one.node for file in files for one in file.statements]
        self.roots = roots
        self.uses: dict[str, int] = {}
        self._files = {file.name for file in files}
        self._plain = set().union(*map(_plain_names, files))
        self._places: dict[str, set[object]] = {}  # that bind it
        self._strangers: set[str] = set()  # given to an object from outside its class
        self._foreign: set[object] = set()  # classes with a base that is not ours
        self.texts: set[str] = set()
        self.keywords: set[str] = set()
        self.exported = _exported(files)
        for tree in trees:
            self._look(tree)
        self._find_classes(trees)
        for name, file in self.exported.values():
            self._places.setdefault(name, set()).add(file)
            self.uses[name] = self.uses.get(name, 0) + 1
        fixed = of_python() | self.texts | self.keywords | roots
        self.ours = {
            one
            for one in self._places
            if one not in fixed and not (one.startswith("__") and one.endswith("__"))
        }

    def there(self, names: Mapping[str, str]) -> list[str]:
        """Words that the program has anyway: a global of that name costs nothing more."""
        kept = {one for one in self.uses if names.get(one, one) == one}
        short = {one for one in self.texts if len(one) <= _INTERNED}
        return sorted(
            one
            for one in kept | short
            if one.isascii() and one.isidentifier() and not iskeyword(one) and not one.startswith("__")
        )

    def _look(self, tree: ast.AST) -> None:
        for node in walk(tree):
            if isinstance(node, ast.Attribute):
                self.uses[node.attr] = self.uses.get(node.attr, 0) + 1
            elif isinstance(node, ast.keyword) and node.arg:
                self.keywords.add(node.arg)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                self.texts.add(node.value)

    def _find_classes(self, trees: list[ast.stmt]) -> None:
        classes = {
            node.name: node for tree in trees for node in walk(tree) if isinstance(node, ast.ClassDef)
        }
        family: dict[str, str] = {name: name for name in classes}

        def head(name: str) -> str:
            while family[name] != name:
                name = family[name]
            return name

        foreign = set()
        for name, node in classes.items():
            for base in node.bases:
                if isinstance(base, ast.Name) and base.id in classes:
                    family[head(name)] = head(base.id)
                else:
                    foreign.add(name)
        self._foreign = {head(one) for one in foreign}
        own: set[int] = set()
        for name, node in classes.items():
            for word in _bound_in_class(node):
                self._places.setdefault(word, set()).add(head(name))
            for target in _bound_on_self(node.body):
                own.add(id(target))
                self._places.setdefault(target.attr, set()).add(head(name))
        for tree in trees:
            name = constructed(tree.name) if isinstance(tree, ast.FunctionDef) else ""
            for target in _bound_on_self([tree]) if name in classes else ():
                own.add(id(target))
                self._places.setdefault(target.attr, set()).add(head(name))
        for tree in trees:
            for one in walk(tree):
                if not isinstance(one, ast.Attribute) or isinstance(one.ctx, ast.Load):
                    continue
                if id(one) not in own:
                    self._strangers.add(one.attr)
                    self._places.setdefault(one.attr, set())

    def names(self) -> dict[str, str]:
        """The new name of each attribute that may change."""
        found: dict[str, str] = {}
        at: dict[str, list[str]] = {}  # new name: whose it is already
        unusable = self.texts | self.keywords
        kept = {one: one for one in self._places if one not in self.ours}
        for one in kept:
            at.setdefault(one, []).append(one)
        order = sorted(self.ours, key=lambda one: (-self.uses.get(one, 0), one))
        for name in sorted(order, key=lambda one: one not in self._strangers):
            is_global = bool(self._places[name] & self._files)
            is_foreign = bool(self._places[name] & self._foreign)
            words = () if is_foreign else FREE if is_global else FOR_PARAMETERS + FREE
            for word in _then(words, _made()):
                if word in unusable or (is_global and word in self._plain):
                    continue
                if not any(self._meet(name, one) for one in at.get(word, ())):
                    break
            found[name] = word
            at.setdefault(word, []).append(name)
        return found

    def _meet(self, one: str, other: str) -> bool:
        if one in self._strangers or other in self._strangers:
            return True
        return bool(self._places[one] & self._places[other])


def _bound_in_class(node: ast.ClassDef) -> Iterator[str]:
    for one in node.body:
        if isinstance(one, (*FUNCTIONS, ast.ClassDef)):
            yield one.name
        else:
            for part in walk(one):
                if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
                    yield part.id


def _bound_on_self(methods: Iterable[ast.stmt]) -> Iterator[ast.Attribute]:
    """self.name = …, in methods, `self` being the first parameter and never bound again."""
    for method in methods:
        if not isinstance(method, FUNCTIONS) or not method.args.args or method.decorator_list:
            continue
        me = method.args.args[0].arg
        inner = [part for part in walk(method) if isinstance(part, ast.Name) and part.id == me]
        if any(not isinstance(part.ctx, ast.Load) for part in inner):
            continue
        for part in walk(method):
            if (
                isinstance(part, ast.Attribute)
                and not isinstance(part.ctx, ast.Load)
                and isinstance(part.value, ast.Name)
                and part.value.id == me
            ):
                yield part


def _exported(files: list[File]) -> dict[str, tuple[str, str]]:
    """Unique name of a global that other files may ask for as an attribute: (its name, its file)."""
    attributes = {
        node.attr
        for file in files
        for one in file.statements
        for node in walk(one.node)
        if isinstance(node, ast.Attribute)
    }
    found = {}
    for file in files[1:]:
        for unique in file.handed_on.union(*(one.binds for one in file.statements)):
            name, _, module = unique.partition(" ")
            is_own = file.name in (module, module.rpartition(".")[2])  # not one that moved here
            if name in attributes and (is_own or unique in file.handed_on):
                found[unique] = (name, file.name)
    return found


# ---- globals ----


def _globals(files: list[File], attributes: _Attributes, names: Mapping[str, str]) -> dict[str, str]:
    """New names of what files bind; the same in each file that imports it."""
    found = {unique: names.get(name, name) for unique, (name, _) in attributes.exported.items()}
    uses: dict[str, int] = {}
    seen: dict[str, set[str]] = {}
    for file in files:
        for one in file.statements:
            for node in walk(one.node):
                for name in _global_names(node):
                    uses[name] = uses.get(name, 0) + 1
                    seen.setdefault(name, set()).add(file.name)
    plain = {file.name: _plain_names(file) for file in files}
    words = {
        file.name: {found[one] for one in found if file.name in seen.get(one, ())} for file in files
    }
    for unique in uses:
        name, _, module = unique.partition(" ")
        if name in attributes.roots and module in plain and unique not in found:
            found[unique] = name
            for place in seen[unique]:
                words[place].add(name)
    there = attributes.there(names)
    for name in sorted(uses, key=lambda one: (-uses[one], one)):
        if name in found:
            continue
        for word in _then(_then(FREE, there), _made()):
            if word in attributes.keywords:
                continue
            if not any(word in words[place] or word in plain[place] for place in seen[name]):
                break
        found[name] = word
        for place in seen[name]:
            words[place].add(word)
    return found


def _global_names(node: ast.AST) -> Iterator[str]:
    """Names that link has made unique, wherever they stand."""
    for word in _words(node):
        if " " in word and not is_local(word):
            yield word


def _plain_names(file: File) -> set[str]:
    """Builtins that a file uses, and what it imports from outside: no global may be called so."""
    found = set()
    for one in file.statements:
        for node in walk(one.node):
            if isinstance(node, (ast.Name, ast.alias)):
                found |= {word for word in _words(node) if " " not in word}
    return found


def _words(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.alias):
        yield node.name
        if node.asname:
            yield node.asname
    elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Global, ast.Nonlocal)):
        yield from node.names
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name


class _Rename(ast.NodeTransformer):
    def __init__(
        self, attributes: _Attributes, names: Mapping[str, str], globals_: Mapping[str, str]
    ) -> None:
        self._attributes = attributes
        self._names = names
        self._globals = globals_

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        node.attr = self._names.get(node.attr, node.attr)
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._globals.get(node.id, node.id)
        return node

    def visit_alias(self, node: ast.alias) -> ast.AST:
        node.name = self._globals.get(node.name, node.name)
        if node.asname:
            node.asname = self._globals.get(node.asname, node.asname)
        if node.asname == node.name:
            node.asname = None
        return node

    def visit_Global(self, node: ast.Global) -> ast.AST:
        node.names = [self._globals.get(one, one) for one in node.names]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        for one in node.body:
            if isinstance(one, (*FUNCTIONS, ast.ClassDef)):
                one.name = self._names.get(one.name, one.name)
            else:
                for part in walk(one):
                    if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
                        part.id = self._names.get(part.id, part.id)
        return self._definition(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._definition(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._definition(node)

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        node.name = self._globals.get(node.name, node.name)
        return self.generic_visit(node)


# ---- the order in a file's own table ----


def often_first(file: File) -> ast.stmt | None:
    """A statement that does nothing but mention a file's names first that its functions use most.

    mpy-cross numbers names as it meets them, first those at the top of the file. The first 128 take one
    byte wherever they are used, the others two. None if there are not so many.
    """
    uses: Counter[str] = Counter()
    for one in file.statements:
        for function in walk(one.node):
            if isinstance(function, FUNCTIONS):
                _count(function, uses)
    if len(uses) < _ONE_BYTE:
        return None
    mention: ast.expr = ast.Name("__name__", ast.Load())
    for name, _ in sorted(uses.items(), key=lambda one: (-one[1], one[0]))[:_ONE_BYTE]:
        mention = ast.Attribute(mention, name, ast.Load())
    return ast.Expr(ast.BoolOp(ast.Or(), [ast.Name("__name__", ast.Load()), mention]))


def _count(function: ast.AST, uses: Counter[str]) -> None:
    """Where bytecode of a function names something."""
    own = {
        part.id
        for part in walk(function)
        if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load)
    }
    if isinstance(function, FUNCTIONS):
        uses[function.name] += 1
        own |= {one.arg for one in parameters(function)}
        uses.update(one.arg for one in parameters(function))
    for part in walk(function):
        if isinstance(part, ast.Attribute):
            uses[part.attr] += 1
        elif isinstance(part, ast.Name) and part.id not in own:
            uses[part.id] += 1


# ---- locals ----


def _name_locals(tree: ast.AST) -> None:
    """Parameters get the first words, in every function the same; then come other local names.

    These cost nothing in bytecode, but as much as any name in a source that the pen compiles.
    """
    names: dict[str, str] = {}
    used = {
        word
        for node in walk(tree)
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef))
        for word in _words(node)
        if not is_local(word)
    }
    _name_parameters(tree, names, frozenset(used))
    for node in walk(tree):
        for field in ("id", "arg", "name", "asname"):
            word = getattr(node, field, None)
            if isinstance(word, str) and is_local(word):
                setattr(node, field, names.get(word) or f"v{word.split(' ')[1]}")
        if isinstance(node, ast.Nonlocal):
            node.names = [names.get(one) or f"v{one.split(' ')[1]}" for one in node.names]


def _name_parameters(node: ast.AST, names: dict[str, str], taken: frozenset[str]) -> None:
    """`taken`: what the functions around this one and the file's globals are called."""
    if isinstance(node, (*FUNCTIONS, ast.Lambda)):
        given = [argument.arg for argument in parameters(node)]
        given += [one.name for one in walk(node) if isinstance(one, FUNCTIONS) and one is not node]
        given += [word for one in walk(node) for word in _words(one) if is_local(word)]
        taken |= {one for one in given if not is_local(one)}
        ready = _then(FOR_PARAMETERS, _then(FREE, _made()))
        words = (one for one in ready if one not in taken)
        for name in given:
            if is_local(name) and name not in names:
                names[name] = next(words)
        taken |= {names.get(one, one) for one in given}
    for child in ast.iter_child_nodes(node):
        _name_parameters(child, names, taken)


def _then(first: Iterable[str], rest: Iterable[str]) -> Iterator[str]:
    yield from first
    yield from rest


def _made() -> Iterator[str]:
    """_a, _b, … _z, _aa, _ab, …"""
    for length in count(1):
        for letters in product(ascii_lowercase, repeat=length):
            word = "_" + "".join(letters)
            if not iskeyword(word):
                yield word
