"""Programs that are not ours and that tests rely on: which they are, and what to do without them.

A test is marked by `@require_tool("iscsi-ls")`, a module by `pytestmark = require_tool("iscsi-ls")`. Where
the program is missing, the test is left out and named in the summary at the end of the run; under CI (the
environment variable `CI` is set) it fails.
"""

from tools.requirement import require_tool

__all__ = ["require_tool"]
