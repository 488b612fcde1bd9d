"""The parts of `contracts.compatibility`: what documents are written, and who can read them."""
