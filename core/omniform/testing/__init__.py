"""Contract tests for mixers and domains, built in or by third parties; pytest is not needed to run them.

`check_mixer(MyMixer)`, `check_domain(MY_DOMAIN)` and `check_task(MyTask())` are a test each.
"""

from omniform.testing.counting import Count, count
from omniform.testing.domain_contract import check_domain, check_task
from omniform.testing.mixer_contract import CHECKS, Check, check_mixer

__all__ = ["CHECKS", "Check", "Count", "check_domain", "check_mixer", "check_task", "count"]
