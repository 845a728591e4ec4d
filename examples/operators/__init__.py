"""Examples of neural operators."""
