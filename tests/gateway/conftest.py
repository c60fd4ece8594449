"""What the gateway's tests share: quiet logs, a ledger with a clinic in it, an intake on it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from gateway_clinic import KEYS, NOW_UTC_MS, clinic
from gateway_desk import Desk, NewLedger

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import read_policy


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """A refused message is logged; a hundred thousand of them need not be read."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def policy() -> Policy:
    """The pack that a clinic starts with."""
    return read_policy("default")


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The small clinic."""
    return clinic()


@pytest.fixture(scope="session")
def clinic_file(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    """A ledger's file into which the small clinic has been imported; copy it."""
    path = tmp_path_factory.mktemp("clinic") / "ledger.sqlite"
    ledger = Ledger.open(path)
    ledger.import_registry(registry, KEYS, NOW_UTC_MS)
    ledger.close()
    return path


@pytest.fixture
def new_ledger(clinic_file: Path, tmp_path: Path) -> Iterator[NewLedger]:
    """Makes ledgers that hold the small clinic and nothing else."""
    opened: list[Ledger] = []

    def make() -> Ledger:
        path = tmp_path / f"ledger-{len(opened)}.sqlite"
        shutil.copyfile(clinic_file, path)
        opened.append(Ledger.open(path))
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(new_ledger: NewLedger) -> Ledger:
    """A ledger that holds the small clinic."""
    return new_ledger()


@pytest.fixture
def desk(ledger: Ledger, policy: Policy) -> Desk:
    """An intake on a ledger that holds the small clinic."""
    return Desk(ledger, policy)
