"""`python -m tests.conformance`: write docs/conformance.md."""

from .page import FILE, page

FILE.write_text(page())
