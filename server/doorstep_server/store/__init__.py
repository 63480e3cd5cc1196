"""Storage: the schema, the databases it runs on, and one module of functions per noun.

Every function here is synchronous, takes an open `Connection`, and names its tenant in every
statement. `database.Database` decides where such a function runs.
"""

from sqlalchemy import Connection

__all__ = ["Connection"]
