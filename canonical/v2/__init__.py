"""Major 2 of the types that needed one. What v1 says, v2 says; `canonical.versions` has the casters both ways."""
