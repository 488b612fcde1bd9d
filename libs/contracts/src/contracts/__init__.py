"""What the services agree on: envelope, definitions, identifiers, names and generated stubs."""
