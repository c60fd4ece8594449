"""What the end-to-end tests share: the bench's tapes and registry, and a real InfluxDB."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.influx_bench import InfluxBench
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.shell.documents import read_registry

BENCH = Path(__file__).parents[2] / "tapes" / "bench"


@pytest.fixture(scope="session")
def bench() -> Path:
    """The folder of the tapes with known truth."""
    return BENCH


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The clinic in which they were recorded."""
    return read_registry(BENCH / "registry.toml")


@pytest.fixture
def influx(tmp_path: Path) -> Iterator[InfluxBench]:
    """An empty InfluxDB behind nginx, running."""
    bench = InfluxBench(tmp_path / "influx")
    bench.start()
    try:
        yield bench
    finally:
        bench.stop()
