"""A timer whose interrupt is hard: a state machine of the RP2's PIO, running, that beats by itself.

The program, and how long a beat is, are in boards/pico.py; that file is forgotten after the start
(loading.py), so what lives on is here. So is the ADC whose converter the beat's interrupt uses, too.
"""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable


class Beat:
    """machine: an rp2.StateMachine with the program."""

    def __init__(self, machine: "Any") -> None:
        self._machine = machine

    def deinit(self) -> None:
        """No more calls."""
        self._machine.active(0)


class UndisturbedAdc:
    """An ADC whose reading the beat's own, through the same converter, can not come into.

    disable_irq, enable_irq: those of `machine`.
    """

    def __init__(
        self, adc: "Any", disable_irq: "Callable[[], Any]", enable_irq: "Callable[[Any], object]"
    ) -> None:
        self._adc = adc
        self._disable_irq = disable_irq
        self._enable_irq = enable_irq

    def read_u16(self) -> int:
        """0 to 65535."""
        state = self._disable_irq()
        value: int = self._adc.read_u16()
        self._enable_irq(state)
        return value
