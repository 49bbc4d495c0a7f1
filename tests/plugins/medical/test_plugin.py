"""What the domain tells the host."""

from omniform.testing import check_domain
from omniform_medical.plugin import DOMAIN


def test_everything_it_refers_to_is_there():
    check_domain(DOMAIN)
