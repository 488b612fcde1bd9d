"""Pure rules of relaying."""
