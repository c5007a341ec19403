"""Errors of the database driver, for callers outside the store."""

from sqlalchemy.exc import DatabaseError

__all__ = ["DatabaseError"]
