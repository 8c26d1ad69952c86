"""Reporting: the parts of the report page and its templates.

Reads files that the stages wrote. Imports `training` and below; never `pictures`.
"""
