"""The checklist of what the target promises, and which tests prove it.

    checklist.toml     the items
    citations.py       which tests cite which items, read off the sources
    page.py            docs/conformance.md

`python -m tests.conformance` writes the page.
"""
