"""What a run can reach: named branches of a gateway's behaviour, counted in a history; none of them is right or wrong.

A scenario names those that it is made for, and a run that did not reach them proves nothing ("sometimes" properties).
They are told from what upstreams and callers saw, and from the books where there are any; so a branch may be missed
where the record cannot show it, and is never made up.
"""

from harness.branches.vocabulary import BRANCHES, Branch, branches_reached  # isort: skip - the vocabulary is ordered
from harness.branches import failover, circuits, governor, money, crashes  # isort: skip

__all__ = ["BRANCHES", "Branch", "branches_reached", "circuits", "crashes", "failover", "governor", "money"]
