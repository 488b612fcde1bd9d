"""Pure rules of relaying: what to read next, whose shards are whose, and which streams wait."""
