"""Plugins: Python files and installed packages whose classes can be named in configurations like arlab's own.

A checkpoint records the plugins its model was made of by path and content. For its sake they are executed again only
where a file has exactly the recorded content: no checkpoint brings code of its own.
"""

from arlab.plugins.registry import PACKAGE, Plugin, load, offered, record, source_of, used
from arlab.plugins.restoring import restore
from arlab.plugins.sources import FOLDER, found_files, left_out, load_all, load_found, load_named

__all__ = [
    "FOLDER",
    "PACKAGE",
    "Plugin",
    "found_files",
    "left_out",
    "load",
    "load_all",
    "load_found",
    "load_named",
    "offered",
    "record",
    "restore",
    "source_of",
    "used",
]
