"""Budgets to a verdict; which engine ships."""
