"""MicroPython's `rp2`: an assembler for PIO programs, and state machines that execute their words.

Source: RP2040 data sheet, "PIO", "Instruction Set" (the encodings) and "SMx_INSTR". Executed is what
our programs are made of: JMP, WAIT, PUSH, PULL, MOV and IRQ; anything else is an error. A program that
waits for a pin runs when the pin changes. One that raises its interrupt again and again is run from one
to the next, its cycles are counted, and the world's thread calls from then on at that interval.
"""

import world as _world

MASK = 0xFFFFFFFF
FIFO_WORDS = 4
CYCLES_MAX = 10_000_000
JMP, WAIT, PUSH_PULL, MOV, IRQ = 0, 1, 4, 5, 6
X, NULL, ISR, OSR, PIN_SOURCE, X_DEC = 1, 3, 6, 7, 1, 2
SYSTEM_HZ = 125_000_000


class Program:
    """Its words, and where it wraps."""

    def __init__(self):
        self.words = []
        self.labels = {}
        self.target = 0
        self.end = -1
        self.is_measured = False

    def word(self, word):
        self.words.append(word)


def asm_pio():
    def assemble(function):
        program = Program()
        names = function.__globals__
        before = dict(names)
        names.update(_words(program))
        try:
            function()  # where the labels are
            program.words = []
            program.is_measured = True
            function()
        finally:
            for name in list(names):
                if name not in before:
                    del names[name]
            names.update(before)
        return program

    return assemble


def _words(program):
    def label(name):
        program.labels[name] = len(program.words)

    def wrap_target():
        program.target = len(program.words)

    def wrap():
        program.end = len(program.words) - 1

    def jmp(condition, name):
        assert program.is_measured is False or name in program.labels
        program.word(JMP << 13 | condition << 5 | program.labels.get(name, 0))

    def wait(level, source, index):
        program.word(WAIT << 13 | level << 7 | source << 5 | index)

    def pull():
        program.word(PUSH_PULL << 13 | 1 << 7 | 1 << 5)

    def mov(to, source):
        program.word(MOV << 13 | to << 5 | source)

    def irq(index):
        program.word(IRQ << 13 | index)

    def rel(index):
        return index | 0x10

    return {
        "label": label,
        "wrap_target": wrap_target,
        "wrap": wrap,
        "jmp": jmp,
        "wait": wait,
        "pull": pull,
        "mov": mov,
        "irq": irq,
        "rel": rel,
        "x": X,
        "null": NULL,
        "osr": OSR,
        "pin": PIN_SOURCE,
        "x_dec": X_DEC,
    }


class StateMachine:
    """One state machine of PIO 0."""

    def __init__(self, number, program, freq=SYSTEM_HZ, in_base=None):
        assert 0 <= number < 4
        assert SYSTEM_HZ / 65536 <= freq <= SYSTEM_HZ
        self._number = number
        self._program = program
        self._freq = freq
        self._pin = in_base
        self._is_active = False
        self._pc = self._x = self._isr = self._osr = 0
        self._incoming = []
        self._outgoing = []
        self._flags = 0
        self._handler = None
        self._running = []
        self.cycles = 0  # from one interrupt to the next
        if in_base is not None:
            in_base.listeners.append(self.run)

    def irq(self, handler=None, trigger=1, hard=False):
        assert hard, "a soft one would be late"
        assert trigger == 1
        self._handler = handler

    def put(self, word):
        assert len(self._incoming) < FIFO_WORDS
        assert 0 <= word <= MASK
        self._incoming.append(word)

    def get(self, buffer):
        """Only into an array of 16 bits: a word by itself may have to be allocated."""
        assert self._outgoing, "this would wait for ever"
        buffer[0] = self._outgoing.pop(0) & 0xFFFF
        return buffer

    def exec(self, word):
        self._step(word, False)

    def active(self, is_active):
        self._is_active = bool(is_active)
        self._running.clear()
        if not is_active:
            _world.here().passing.let_go()
            return
        if self._handler is None:
            self.run()
            return
        self._to_interrupt()
        self.cycles = self._to_interrupt()
        period_us = self.cycles * 1_000_000 // self._freq
        self._running = _world.here().every(period_us, lambda: self._handler(self))

    def run(self):
        """Until it waits."""
        while self._is_active and self._advance():
            pass

    def _to_interrupt(self):
        cycles = 0
        self._flags = 0
        while not self._flags:
            is_going_on = self._advance()
            cycles += 1
            assert is_going_on and cycles < CYCLES_MAX, "waits for ever"
        assert self._flags == 1 << self._number
        return cycles

    def _advance(self):
        """One cycle; False if the program waits in it."""
        program = self._program
        before = self._pc
        if not self._step(program.words[before], True):
            return False
        if self._pc == before:
            self._pc = program.target if before == program.end else before + 1
        elif self._pc < 0:  # jumped to where it was
            self._pc = before
        return True

    def _step(self, word, is_own):
        """Execute a word; False if it has to wait. A jump to itself sets a negative place."""
        kind, low, to, source = word >> 13, word & 0xFF, word >> 5 & 7, word & 7
        assert not word >> 8 & 0x1F, "no delays here"
        if kind == JMP and to == X_DEC:
            is_taken = self._x != 0
            self._x = (self._x - 1) & MASK
            if is_taken:
                assert is_own
                self._pc = -1 if word & 0x1F == self._pc else word & 0x1F
        elif kind == WAIT and low >> 5 & 3 == PIN_SOURCE:
            assert not low & 0x1F
            return self._pin.level == low >> 7
        elif kind == PUSH_PULL and low == 0:  # PUSH, not blocking
            if len(self._outgoing) < FIFO_WORDS:
                self._outgoing.append(self._isr)
            self._isr = 0
        elif kind == PUSH_PULL and low == 0xA0:  # PULL, blocking
            if not self._incoming:
                return False
            self._osr = self._incoming.pop(0)
        elif kind == MOV and not low >> 3 & 3:
            value = {X: self._x, NULL: 0, OSR: self._osr}[source]
            if to == X:
                self._x = value
            else:
                assert to == ISR
                self._isr = value
        elif kind == IRQ and low & 0xF0 == 0x10:
            self._flags |= 1 << ((low & 3) + self._number) % 4
        else:
            raise ValueError("not one of our instructions: %04x" % word)
        return True
