"""What the dashboards' tests share: quiet logs and one filled InfluxDB."""

from collections.abc import Iterator

import pytest
import structlog
from end_to_end.influx_bench import InfluxBench
from filled_influx import Filled, fill

from needletrail_gateway.shell.documents import read_policy


@pytest.fixture(autouse=True, scope="session")
def quiet_logs() -> Iterator[None]:
    """A year of sessions is logged; nobody needs to read it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxBench]:
    """A real InfluxDB with nothing in it."""
    found = InfluxBench(tmp_path_factory.mktemp("influx") / "bench")
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def filled(bench: InfluxBench, tmp_path_factory: pytest.TempPathFactory, quiet_logs: None) -> Filled:
    """The same with the year of all clinics in it. One file asks for it, so it is filled once."""
    return fill(bench, tmp_path_factory.mktemp("ledgers"), read_policy("default"))
