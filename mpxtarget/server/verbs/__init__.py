"""The verbs: everything that can be asked of an array, live or at rest, in one table.

The control API and the offline command line both go through `VERBS`; a verb that is not here does not exist.
`base` says what a verb is; the other modules have them by noun.
"""

from mpxtarget.server.verbs import (
    apply,
    array,
    controller,
    initiator,
    lun,
    portal,
    reservation,
    session,
    snapshot,
)
from mpxtarget.server.verbs.base import Context, UsageError, Verb, perform, run_offline

__all__ = ["VERBS", "Context", "UsageError", "Verb", "perform", "run_offline"]

VERBS: dict[str, Verb] = {
    verb.name: verb
    for module in (array, controller, portal, lun, snapshot, reservation, initiator, session, apply)
    for verb in module.VERBS
}
