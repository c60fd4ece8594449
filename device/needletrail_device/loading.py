"""Modules that have done their work give back their part of the heap.

Strategy: a module dies when nobody can name it. So what one makes and hands on may be an object of a
class that lives elsewhere, but neither of its own class nor a function of its own. And whoever has bound
one of its names, in a frame that goes on, lets go of that name, too.
"""

import gc
import sys


def forget(*names: str) -> None:
    """Unload these modules, as far as they are loaded. The build reads their names: literals only."""
    for name in names:
        if name in sys.modules:
            parent, _, child = name.rpartition(".")
            del sys.modules[name]
            if hasattr(sys.modules[parent], child):
                delattr(sys.modules[parent], child)
    gc.collect()
