"""The command line: thin over the verbs.

The rules kept here:

* A command turns words into the arguments of one verb, calls it (in the running target or on the resting
  database, `calls.call` decides) and prints the answer.  What a verb means is written in
  `mpxtarget.server.verbs`.
* Importing a command costs click and nothing else: bodies import what they need, so that `--help` and
  completion are quick.
* Errors are two lines on stderr, what was wrong and what to do; exit code 2 for wrong usage, 1 for a refusal.
"""


def main() -> None:
    """Entry point of `mpxtarget` and `python -m mpxtarget`."""
    from mpxtarget.cli.app import mpxtarget

    mpxtarget.main(prog_name="mpxtarget")
