"""Falling edges, counted by a state machine of the RP2's PIO while the processor does other things.

Source: RP2040 data sheet, "PIO": the instructions, and the register SMx_INSTR: what is written there is
executed at once, and then the program goes on. The program, in boards/pico.py, takes one from its
register X at each falling edge. To read it, two instructions are slipped in: copy X, and push the
copy into the FIFO, out of which it is taken at once. So the FIFO is never full, nothing waits, and no
edge is missed: the program looks at levels, and misses one only if it is over within those two cycles.

`get` into an array allocates nothing; a word by itself might be too large for a small integer.
"""

from array import array

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

_MOV_ISR_X = 0xA0C1
_PUSH_NOBLOCK = 0x8000


class PioCounter:
    """`value()`: the lower 16 bits of the count. machine: an rp2.StateMachine with the program."""

    def __init__(self, machine: "Any") -> None:
        self._machine = machine
        self._word = array("H", [0])

    def value(self) -> int:
        """Edges so far, modulo 65536. Allocates nothing."""
        machine = self._machine
        machine.exec(_MOV_ISR_X)
        machine.exec(_PUSH_NOBLOCK)
        machine.get(self._word)
        return -self._word[0] & 0xFFFF
