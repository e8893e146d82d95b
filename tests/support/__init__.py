"""A target without sockets, stores that misbehave, and hosts that talk to them: for tests of rules."""
