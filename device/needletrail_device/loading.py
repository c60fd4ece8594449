"""Modules that have done their work give back their part of the heap.

Strategy: a module dies when nobody can name it. So what one makes and hands on may be an object of a
class that lives elsewhere, but neither of its own class nor a function of its own. And whoever has
bound one of its names, in a frame that goes on, lets go of that name, too.
"""

import gc
import sys


def forget(*names: str) -> None:
    """Unload these modules, as far as they are loaded. The build reads the names that are literals."""
    for name in names:
        if name in sys.modules:
            package, _, child = name.rpartition(".")
            del sys.modules[name]
            if package and hasattr(sys.modules[package], child):  # a built firmware has no packages
                delattr(sys.modules[package], child)
    gc.collect()
