"""On and off by a row of durations of 10 ms each: what makes the haptic motor buzz and the light blink.

`play` switches on at once, within the call; `tick` goes on from there by the clock it is given, so a
late tick shortens what follows and nothing drifts. Never waits, allocates nothing.
"""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Callable


class Steps:
    """switch: called with True or False when the output is to change."""

    def __init__(self, switch: "Callable[[bool], None]") -> None:
        self._switch = switch
        self._steps = b""
        self._is_endless = False
        self._at = 0
        self._from_ms = 0
        self.is_playing = False

    def play(self, steps: bytes, now_ms: int, is_endless: bool = False) -> None:
        """Begin with `steps`: on, off, on, ... in 10 ms. No steps: on until something else."""
        self._steps = steps
        self._is_endless = is_endless
        self._at = 0
        self._from_ms = now_ms
        self.is_playing = True
        self._switch(True)

    def stop(self) -> None:
        """Off."""
        self.is_playing = False
        self._switch(False)

    def tick(self, now_ms: int) -> None:
        """Switch if it is time to."""
        steps = self._steps
        at = self._at
        while self.is_playing and steps and now_ms - self._from_ms >= steps[at] * 10:
            self._from_ms += steps[at] * 10
            at += 1
            if at == len(steps):
                at = 0
                if not self._is_endless:
                    self.stop()
        if self.is_playing and at != self._at:
            self._switch(at & 1 == 0)
        self._at = at
