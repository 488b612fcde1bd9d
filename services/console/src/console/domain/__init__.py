"""Pure: addresses, words and pictures. No clock, no input or output."""
