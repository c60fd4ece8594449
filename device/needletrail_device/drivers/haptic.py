"""The haptic motor: on by a pin, or by a PWM with a strength; `steps` gives it its rhythm."""

from needletrail_device.drivers.steps import Steps

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

STRENGTH_MAX = 65535


class Haptic(Steps):
    """output: a Pin, or a PWM (then `strength` is its duty, 16 bits)."""

    def __init__(self, output: "Any", strength: int = STRENGTH_MAX) -> None:
        is_pwm = hasattr(output, "duty_u16")
        self._put = output.duty_u16 if is_pwm else output.value
        self._on = strength if is_pwm else 1
        super().__init__(self._set)
        self.stop()

    def force(self) -> None:
        """Buzz until the next change."""
        self._put(self._on)

    def _set(self, is_on: bool) -> None:
        self._put(self._on if is_on else 0)
