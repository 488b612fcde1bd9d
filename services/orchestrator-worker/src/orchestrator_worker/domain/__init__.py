"""What needs no I/O: the values that go in and come out, and what is kept in memory."""
