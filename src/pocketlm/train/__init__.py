"""The only training loop, its losses, and teachers."""
