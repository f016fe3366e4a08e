"""The tests. A package, because Ciw installs one of this name that would come first otherwise."""
