"""Forgetting a module: it is gone, whoever imports it again gets a new one, and others stay."""

import sys

from needletrail_device import loading


def test_a_forgotten_module_is_gone_from_its_package_too():
    from needletrail_device import contact

    package = sys.modules["needletrail_device"]
    loading.forget("needletrail_device.contact")
    assert "needletrail_device.contact" not in sys.modules
    assert not hasattr(package, "contact")
    from needletrail_device import contact as again

    assert again is not contact
    assert again.Contact is not contact.Contact
    sys.modules["needletrail_device.contact"] = package.contact = contact


def test_what_was_never_loaded_is_no_error_and_others_stay():
    before = sorted(sys.modules)
    loading.forget("needletrail_device.nothing_of_that_name", "nothing_at_all")
    assert sorted(sys.modules) == before


def test_a_module_without_a_package_is_forgotten():
    sys.modules["lonely"] = loading
    loading.forget("lonely")
    assert "lonely" not in sys.modules
