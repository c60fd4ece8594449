"""What the deployment's tests share: a deployment."""

from collections.abc import Iterator

import pytest

from deploy.bench_deployment import Deployment


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment whose broker runs, with two pens of its clinic and one of another."""
    one = Deployment(tmp_path_factory.mktemp("deployment"))
    one.make_secrets("--clinic", "harbor", "--host", "localhost")
    for clinic, pen in (("harbor", "pen-01"), ("harbor", "pen-02"), ("other", "pen-01")):
        one.add_account(clinic, pen)
    one.make_secrets()
    one.add_observer()
    one.start_broker()
    try:
        yield one
    finally:
        one.stop_broker()
