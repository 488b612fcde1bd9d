"""What a resource is, what is wrong with it and how it changes: pure, without I/O or clock.

Reading a document, from text to model, with a place for everything: `tokens`, `documents`,
`positions`, then `shapes`, `across`, `wording` and `characters` for what is wrong with its shape,
and `salvage` with `standins` and `forgiveness` for checking the rest all the same.

Checking a set of documents as a whole: `validation`, `known_types`, `event_types`, `dependencies`.

What a change means: `differences`, `sameness`, `phrases`, `summaries`, `due_changes`.

Changing: `resources`, `heads`, `planning`, `proposals`, and `materialisation` for what follows.
"""
