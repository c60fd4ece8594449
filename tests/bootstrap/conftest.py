"""The set-up is run from the project's folder and never installed: its tests find it there."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
