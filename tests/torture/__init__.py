"""Power cuts and flipped bits for the pen's journal, on the real littlefs over a simulated NOR flash.

`flash` is the medium and what a cut leaves of it, `filesystem` mounts it, `workload` is what a pen does
meanwhile, `verdict` what must hold afterwards, `cuts` and `bits` are where cuts and flips are
made, and `campaign` runs them in their millions. All but `bits` and `campaign` run on MicroPython too,
with its own littlefs.
"""
