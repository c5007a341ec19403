"""A hub on virtual time whose every effect goes through a numbered port: what a connector must survive, and our own tests."""
