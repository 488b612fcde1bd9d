"""What needs no I/O: the connectors' configuration and the values that go in and come out."""
