"""Reporting: the parts of the report page and its templates.

Reads the files that the other stages write. Imports `settings` only.
"""
