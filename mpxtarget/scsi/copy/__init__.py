"""Third-party copy: the disk copies by itself what a host would read and write back (SPC-4 5.16, SBC-3 4.28).

Two families of commands share one copy manager, which every disk has:

- EXTENDED COPY names its copy source and destination (CSCD descriptors) and what to copy (segments);
  RECEIVE COPY STATUS and its like ask how it went: `extended`, `results`.
- POPULATE TOKEN turns ranges of a disk into a ROD token; WRITE USING TOKEN writes what a token stands for,
  on any disk; RECEIVE ROD TOKEN INFORMATION hands out the token: `token_commands`.

What a host may not read it cannot copy from, what it may not write it cannot copy to (`access`). Every copy
is one piece of work on blocks: atomic, done in pieces, and given up when nobody wants it any more
(`transfer`). What is remembered of copies that are over (`manager`) and of tokens (`tokens`) is bounded.
"""
