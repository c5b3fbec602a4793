"""The archives: what is kept where, in which form, and how it comes back."""
