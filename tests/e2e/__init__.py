"""The running target, driven by initiators that nobody here wrote, and by hostile ones."""
