"""Networks: a declaration, the module built from it, and the catalogue of names."""
