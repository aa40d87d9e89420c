"""The recipe: schema, loading, checks, upgrades."""
